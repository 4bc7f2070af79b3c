"""What a report is made of: sections of paragraphs, figures, tables, charts and folded parts.

The page and the Markdown are two ways to write one outline, so they cannot tell different things.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from reports.number import Reading
from reports.table import Table

Tone = Literal["plain", "good", "bad", "note"]

SVG_OPENING = '<svg role="img" aria-label="'
"""How the file of every chart of ours begins."""


@dataclass(frozen=True)
class Paragraph:
    """A few sentences; `bad` and `good` stand in a box of their own, `note` is small print."""

    text: str
    tone: Tone = "plain"
    kind: ClassVar[str] = "paragraph"


@dataclass(frozen=True)
class Tile:
    """One headline figure: what it is, the figure with its interval, and what it means in words."""

    name: str
    reading: Reading
    words: str = ""
    tone: Tone = "plain"


@dataclass(frozen=True)
class Tiles:
    """Headline figures side by side."""

    tiles: tuple[Tile, ...]
    kind: ClassVar[str] = "tiles"


@dataclass(frozen=True)
class Grid:
    """A table in its place in a section."""

    table: Table
    kind: ClassVar[str] = "grid"


@dataclass(frozen=True)
class Chart:
    """A drawing. `name` is its file's stem, `alt` says in words what it shows, `draw` makes its Vega-Lite spec.

    A `narrow` one has no use for the page's whole width. `table` holds its figures, where no table beside it does.
    `label` is its name among others of a `Switch`.
    """

    name: str
    caption: str
    alt: str
    draw: Callable[[], dict[str, Any]] = field(compare=False)
    narrow: bool = False
    table: Table | None = None
    label: str = ""
    kind: ClassVar[str] = "chart"


@dataclass(frozen=True)
class Switch:
    """Charts of one kind, of which the page shows one at a time; all of them in print and in Markdown."""

    title: str
    charts: tuple[Chart, ...]
    kind: ClassVar[str] = "switch"


@dataclass(frozen=True)
class Code:
    """Text to copy as it is."""

    text: str
    language: str
    kind: ClassVar[str] = "code"


@dataclass(frozen=True)
class Fold:
    """Blocks that are shut until a reader opens them."""

    title: str
    blocks: tuple[Block, ...]
    kind: ClassVar[str] = "fold"


Block = Paragraph | Tiles | Grid | Chart | Switch | Code | Fold


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it. `name` is the anchor, `level` 2 or 3 is the heading's."""

    name: str
    title: str
    blocks: tuple[Block, ...]
    level: int = 2


def charts_in(sections: list[Section]) -> list[Chart]:
    """Every chart of the sections, those in folds and switches included, in reading order."""
    return [chart for section in sections for chart in _charts(section.blocks)]


def _charts(blocks: tuple[Block, ...]) -> list[Chart]:
    found: list[Chart] = []
    for block in blocks:
        if isinstance(block, Chart):
            found.append(block)
        elif isinstance(block, Switch):
            found.extend(block.charts)
        elif isinstance(block, Fold):
            found.extend(_charts(block.blocks))
    return found
