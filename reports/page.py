"""The report: `index.html` that opens from disk, `report.md`, `summary.csv` and the charts as SVG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jinja2
from markupsafe import Markup

from compress.errors import DataError
from evaluation.measurement import Run
from reports.comparison import sections_over
from reports.outline import SVG_OPENING, Block, Chart, Code, Fold, Grid, Paragraph, Section, Tile, Tiles, charts_in
from reports.story import sections_of
from reports.summary import COLUMNS, summary_csv
from reports.table import escape, to_markdown


def write_report(runs: Sequence[Run], folder: Path, *, formats: Sequence[str] = ("html", "markdown")) -> Path:
    """Write the report over one or several runs into `folder`, which is made if need be.

    An earlier report in the folder goes, charts included; files that are no part of a report stay.

    Returns the page's path, or that of the Markdown where `formats` leaves the page out.

    Raises:
        DataError: there are no runs.
    """
    sections = _sections(runs)
    drawings = {chart.name: chart.draw() for chart in charts_in(sections)}
    folder.mkdir(parents=True, exist_ok=True)
    _clear(folder)
    page, text, summary = folder / "index.html", folder / "report.md", folder / "summary.csv"
    summary.write_text(summary_csv(runs), encoding="utf-8")  # first: by it a report that was cut short is known
    for name, svg in drawings.items():
        (folder / f"{name}.svg").write_text(svg, encoding="utf-8")
    if "markdown" in formats:
        text.write_text(render_markdown(runs), encoding="utf-8")
    if "html" in formats:
        page.write_text(_html(_title(runs), sections, drawings), encoding="utf-8")
    return page if "html" in formats else text


def render_html(runs: Sequence[Run]) -> str:
    """The page as one string that needs no other file: style and charts are inside, nothing is fetched.

    Raises:
        DataError: there are no runs.
    """
    sections = _sections(runs)
    return _html(_title(runs), sections, {chart.name: chart.draw() for chart in charts_in(sections)})


def render_markdown(runs: Sequence[Run]) -> str:
    """The same report as Markdown. Its charts are the SVG files that `write_report` puts beside it.

    Raises:
        DataError: there are no runs.
    """
    lines = [f"# {escape(_title(runs))}"]
    for section in _sections(runs):
        lines.append(f"{'#' * section.level} {escape(section.title)}")
        lines += [_markdown(block) for block in section.blocks]
    return "\n\n".join(lines) + "\n"


def _clear(folder: Path) -> None:
    """Remove an earlier report. It is known by its summary, and its charts by how they begin: the user may have asked
    for a report in a folder with pages and drawings of their own."""
    summary = folder / "summary.csv"
    if not _begins(summary, ",".join(COLUMNS)):
        return
    charts = [path for path in folder.glob("*.svg") if _begins(path, SVG_OPENING)]
    for path in (*charts, folder / "index.html", folder / "report.md", summary):
        path.unlink(missing_ok=True)


def _begins(file: Path, opening: str) -> bool:
    wanted = opening.encode()
    if not file.is_file():
        return False
    with file.open("rb") as content:
        return content.read(len(wanted)) == wanted


def _sections(runs: Sequence[Run]) -> list[Section]:
    if not runs:
        raise DataError("no runs were given, wanted at least one; a run is a folder with a run.json in it")
    return sections_of(runs[0]) if len(runs) == 1 else sections_over(runs)


def _title(runs: Sequence[Run]) -> str:
    return runs[0].name if len(runs) == 1 else f"{len(runs)} runs compared"


def _html(title: str, sections: list[Section], drawings: dict[str, str]) -> str:
    from reports.chart import themed

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # The drawings are ours and escape their own text; all else is data and is escaped by the template.
    charts = {name: Markup(themed(svg)) for name, svg in drawings.items()}
    return environment.get_template("page.html").render(title=title, sections=sections, charts=charts)


def _markdown(block: Block) -> str:
    match block:
        case Paragraph():
            text = escape(block.text)
            return f"> **{text}**" if block.tone == "bad" else f"*{text}*" if block.tone == "note" else text
        case Tiles():
            lines = (f"- **{escape(tile.name)}: {escape(tile.reading.figure)}** {_told(tile)}" for tile in block.tiles)
            return "\n".join(line.rstrip() for line in lines)
        case Grid():
            return f"**{escape(block.table.caption)}**\n\n{to_markdown(block.table)}"
        case Chart():
            return f"![{escape(block.alt)}]({block.name}.svg)\n\n*{escape(block.caption)}*"
        case Code():
            fence = _fence(block.text)
            return f"{fence}{block.language}\n{block.text}\n{fence}"
        case Fold():
            inner = "\n\n".join(_markdown(each) for each in block.blocks)
            return f"<details><summary>{escape(block.title)}</summary>\n\n{inner}\n\n</details>"


def _told(tile: Tile) -> str:
    return ", ".join(escape(part) for part in (tile.reading.spread, tile.words) if part)


def _fence(text: str) -> str:
    """A fence that the text cannot close."""
    fence = "```"
    while fence in text:
        fence += "`"
    return fence
