"""The report as Markdown: what a reviewer has to see, short enough for a comment; below it all the rest, folded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from evaluation.measurement import Run
from reports.broke import broke_in_brief
from reports.headline import comparison_tiles, gate_notice, gates_table, source_note
from reports.outline import Block, Chart, Code, Fold, Grid, Paragraph, Section, Switch, Tile, Tiles
from reports.study import is_study
from reports.table import Table, escape, method_of, table_of, to_markdown

ON_THE_PAGE_ALONE = ("measurements",)
"""Sections that are left out: every record is in `summary.csv` too, and a comment has room for some 65,000 letters."""

ROOM = 65_000
"""Bytes: GitHub takes 65,536 letters in a comment."""

HEADLINE = "headline"
_TOP = 2  # the level of a section's heading that is about all runs


def as_markdown(title: str, sections: Sequence[Section], run: Run | None) -> str:
    """The sections under a title. With the one `run` that they are about, it opens in brief and the sections fold.

    Of several runs, what is told of each alone is folded. Charts are the SVG files that stand beside the text. Where
    all of it is more than a comment takes, folded parts inside a section are left to the page, the longest first; then
    whole sections.
    """
    text = _whole(title, sections, run)
    while len(text.encode()) > ROOM and (longest := _longest_fold(sections)):
        sections = [_without(section, longest) for section in sections]
        text = _whole(title, sections, run)
    while len(text.encode()) > ROOM and (rest := _longest_section(sections)):
        named = replace(rest, blocks=(Paragraph("On the page.", "note"),))
        sections = [named if section is rest else section for section in sections]
        text = _whole(title, sections, run)
    return text


def _whole(title: str, sections: Sequence[Section], run: Run | None) -> str:
    opening = list(in_brief(run)) if run else []
    lines = [f"# {escape(title)}", *map(written, opening)]
    for section in sections:
        if _left_out(section):
            continue
        if opening and section.name == HEADLINE:  # its figures have been told, but for the chart
            lines += [written(block) for block in section.blocks if isinstance(block, Chart)]
        else:
            lines += _folded(section) if opening or section.level > _TOP else _open(section)
    return "\n\n".join(lines) + "\n"


def _longest_fold(sections: Sequence[Section]) -> Fold | None:
    folds = [block for each in sections if not _left_out(each) for block in each.blocks if isinstance(block, Fold)]
    return max(folds, key=lambda fold: len(written(fold)), default=None)


def _longest_section(sections: Sequence[Section]) -> Section | None:
    """Of those that can be left to the page: not the headline, nor one that is left already."""
    long = [each for each in sections if not _left_out(each) and each.name != HEADLINE and len(each.blocks) > 1]
    return max(long, key=lambda each: sum(len(written(block)) for block in each.blocks), default=None)


def _without(section: Section, fold: Fold) -> Section:
    """The section with a line in the place of that part."""
    line = Paragraph(f"{fold.title}: on the page.", "note")
    return replace(section, blocks=tuple(line if block is fold else block for block in section.blocks))


def _left_out(section: Section) -> bool:
    return section.name.endswith(ON_THE_PAGE_ALONE)


def in_brief(run: Run) -> Iterator[Block]:
    """The result against the reference, the gates, and what broke; nothing for a run that is about no one target."""
    subject, reference = run.subject, run.reference
    if is_study(run) or subject is None or reference is None or subject == reference:
        return
    yield from gate_notice(run)
    tiles = comparison_tiles(run, subject, reference)
    if tiles:
        rows = [(tile.name, tile.reading, tile.words) for tile in tiles]
        yield Grid(table_of(f"{subject} against {reference}", ["what", "figure", "in words"], rows))
        yield from source_note(run)
    if run.gates:
        yield Grid(_short_gates(gates_table(run)))
    yield from broke_in_brief(run)
    yield Paragraph(method_of(run), "note")


def written(block: Block) -> str:
    """A block as Markdown that GitHub and the hub show."""
    match block:
        case Paragraph():
            text = escape(block.text)
            return f"> **{text}**" if block.tone == "bad" else f"*{text}*" if block.tone == "note" else text
        case Tiles():
            lines = (f"- **{escape(tile.name)}: {escape(tile.reading.figure)}** {_told(tile)}" for tile in block.tiles)
            return "\n".join(line.rstrip() for line in lines)
        case Grid():
            return f"**{escape(block.table.caption)}**\n\n{to_markdown(block.table)}"
        case Chart() | Switch():
            return "\n\n".join(map(_drawing, block.charts if isinstance(block, Switch) else [block]))
        case Code():
            fence = _fence(block.text)
            return f"{fence}{block.language}\n{block.text}\n{fence}"
        case Fold():
            inner = "\n\n".join(written(each) for each in block.blocks)
            return f"<details><summary>{escape(block.title)}</summary>\n\n{inner}\n\n</details>"


def _short_gates(table: Table) -> Table:
    """The gates without what only explains them."""
    kept = [place for place, column in enumerate(table.columns) if column not in ("what it promises", "detail")]
    rows = [[row[place] for place in kept] for row in table.rows]
    return table_of(table.caption, [table.columns[place] for place in kept], rows, accent=table.accent)


def _open(section: Section) -> list[str]:
    return [f"{'#' * section.level} {escape(section.title)}", *map(written, section.blocks)]


def _folded(section: Section) -> list[str]:
    inner = map(written, section.blocks)
    return [f"<details><summary><b>{escape(section.title)}</b></summary>", *inner, "</details>"]


def _drawing(chart: Chart) -> str:
    return f"![{escape(chart.alt)}]({chart.name}.svg)\n\n*{escape(chart.caption)}*"


def _told(tile: Tile) -> str:
    return ", ".join(escape(part) for part in (tile.reading.spread, tile.words) if part)


def _fence(text: str) -> str:
    """A fence that the text cannot close."""
    fence = "```"
    while fence in text:
        fence += "`"
    return fence
