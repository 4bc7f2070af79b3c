"""From a figure to its conditions: readings in tables and tiles lead to the row of their record in All measurements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from reports.number import Reading
from reports.outline import Block, Chart, Fold, Grid, Section, Switch, Tile, Tiles
from reports.table import Table

Cell = TypeVar("Cell", str, Reading, str | Reading)


def linked(sections: Sequence[Section], prefix: str) -> list[Section]:
    """The sections with `prefix` before every anchor, so that the rows of several runs stay apart.

    A reading whose record has no row in these sections leads nowhere.
    """
    known = {f"{prefix}{anchor}" for section in sections for anchor in _anchors(section.blocks) if anchor}
    return [replace(section, blocks=_blocks(section.blocks, prefix, known)) for section in sections]


def led(cells: Sequence[Cell], prefix: str) -> list[Cell]:
    """The cells of one run's row in a table over several runs."""
    return [replace(cell, at=f"{prefix}{cell.at}") if isinstance(cell, Reading) and cell.at else cell for cell in cells]


def _anchors(blocks: Sequence[Block]) -> Iterator[str]:
    for block in blocks:
        if isinstance(block, Grid):
            yield from block.table.anchors
        elif isinstance(block, Fold):
            yield from _anchors(block.blocks)


def _blocks(blocks: Sequence[Block], prefix: str, known: set[str]) -> tuple[Block, ...]:
    return tuple(_block(block, prefix, known) for block in blocks)


def _block(block: Block, prefix: str, known: set[str]) -> Block:
    match block:
        case Grid():
            return Grid(_table(block.table, prefix, known))
        case Fold():
            return Fold(block.title, _blocks(block.blocks, prefix, known))
        case Tiles():
            return Tiles(tuple(_tile(tile, prefix, known) for tile in block.tiles))
        case Chart():
            return replace(block, table=_table(block.table, prefix, known)) if block.table else block
        case Switch():
            return replace(block, charts=tuple(_chart(chart, prefix, known) for chart in block.charts))
        case _:
            return block


def _chart(chart: Chart, prefix: str, known: set[str]) -> Chart:
    return replace(chart, table=_table(chart.table, prefix, known)) if chart.table else chart


def _tile(tile: Tile, prefix: str, known: set[str]) -> Tile:
    return replace(tile, reading=_reading(tile.reading, prefix, known))


def _table(table: Table, prefix: str, known: set[str]) -> Table:
    rows = tuple(
        tuple(_reading(cell, prefix, known) if isinstance(cell, Reading) else cell for cell in row)
        for row in table.rows
    )
    return replace(table, rows=rows, anchors=tuple(anchor and f"{prefix}{anchor}" for anchor in table.anchors))


def _reading(reading: Reading, prefix: str, known: set[str]) -> Reading:
    at = f"{prefix}{reading.at}"
    return reading if not reading.at else replace(reading, at=at if at in known else "")
