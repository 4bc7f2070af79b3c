"""The report: `index.html` that opens from disk, `report.md`, `summary.csv` and the charts as SVG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from compress.errors import DataError
from evaluation.measurement import Across, Run
from reports.comparison import sections_over
from reports.markdown import as_markdown
from reports.outline import SVG_OPENING, Section, charts_in
from reports.story import sections_of
from reports.summary import OPENING, summary_csv


class Drawing(NamedTuple):
    """A chart, drawn: the spec that the page's script takes, and the SVG that is its file."""

    spec: dict[str, Any]
    still: str

    @property
    def spec_on_page(self) -> str:
        """The spec as the page carries it: no font plays a part in it."""
        from reports.charts.script import as_data

        return as_data(self.spec)

    @property
    def still_on_page(self) -> str:
        """The SVG as the page carries it, in the page's colours."""
        from reports.charts.still import themed

        return themed(self.still)


def write_report(
    runs: Sequence[Run],
    folder: Path,
    *,
    formats: Sequence[str] = ("html", "markdown"),
    across: Across | None = None,
) -> Path:
    """Write the report over one or several runs into `folder`, which is made if need be.

    `across` is what comparing the runs pair by pair said.

    An earlier report in the folder goes, charts included; files that are no part of a report stay.

    Returns the page's path, or that of the Markdown where `formats` leaves the page out.

    Raises:
        DataError: there are no runs.
    """
    return write_sections(_title(runs), runs, _sections(runs, across), folder, formats=formats)


def write_sections(
    title: str, runs: Sequence[Run], sections: list[Section], folder: Path, *, formats: Sequence[str]
) -> Path:
    """Write sections about the runs under a title, as `write_report` does its own."""
    drawings = _drawings(sections)
    folder.mkdir(parents=True, exist_ok=True)
    _clear(folder)
    page, text, summary = folder / "index.html", folder / "report.md", folder / "summary.csv"
    summary.write_text(summary_csv(runs), encoding="utf-8")  # first: by it a report that was cut short is known
    for name, drawing in drawings.items():
        (folder / f"{name}.svg").write_text(drawing.still, encoding="utf-8")
    if "markdown" in formats:
        text.write_text(_markdown(title, runs, sections), encoding="utf-8")
    if "html" in formats:
        page.write_text(_html(title, sections, drawings), encoding="utf-8")
    return page if "html" in formats else text


def render_html(runs: Sequence[Run], across: Across | None = None, *, drawn: bool = True) -> str:
    """The page as one string that needs no other file: style, script and charts are inside, nothing is fetched.

    With `drawn` false the drawings and the script are left out, which take most of the time: the words are the same.

    Raises:
        DataError: there are no runs.
    """
    sections = _sections(runs, across)
    return _html(_title(runs), sections, _drawings(sections) if drawn else {})


def render_markdown(runs: Sequence[Run], across: Across | None = None) -> str:
    """The same report as Markdown. Its charts are the SVG files that `write_report` puts beside it.

    Raises:
        DataError: there are no runs.
    """
    return _markdown(_title(runs), runs, _sections(runs, across))


def drawings_of(runs: Sequence[Run], across: Across | None = None) -> dict[str, Drawing]:
    """Every chart of a report over the runs by its name, drawn, in reading order.

    Raises:
        DataError: there are no runs.
    """
    return _drawings(_sections(runs, across))


def _clear(folder: Path) -> None:
    """Remove an earlier report. It is known by its summary, and its charts by how they begin: the user may have asked
    for a report in a folder with pages and drawings of their own."""
    summary = folder / "summary.csv"
    if not _begins(summary, OPENING):
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


def _sections(runs: Sequence[Run], across: Across | None) -> list[Section]:
    if not runs:
        raise DataError("no runs were given, wanted at least one; a run is a folder with a run.json in it")
    return sections_of(runs[0]) if len(runs) == 1 else sections_over(runs, across)


def _markdown(title: str, runs: Sequence[Run], sections: list[Section]) -> str:
    return as_markdown(title, sections, runs[0] if len(runs) == 1 else None)


def _title(runs: Sequence[Run]) -> str:
    return runs[0].name if len(runs) == 1 else f"{len(runs)} runs compared"


def _drawings(sections: list[Section]) -> dict[str, Drawing]:
    from reports.charts.still import still

    drawings = {}
    for chart in charts_in(sections):
        spec = chart.draw()
        drawings[chart.name] = Drawing(spec, still(chart.name, chart.alt, spec))
    return drawings


def _html(title: str, sections: list[Section], drawings: dict[str, Drawing]) -> str:
    from reports.charts.script import as_data, dark_pairs, digest, script
    from reports.charts.theme import COLOURS

    text = script(charts=bool(drawings))
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Drawings and specs are ours and escape what they hold; all else is data and is escaped by the template.
    return environment.get_template("page.html").render(
        title=title,
        sections=sections,
        stills={name: Markup(drawing.still_on_page) for name, drawing in drawings.items()},
        specs={name: Markup(drawing.spec_on_page) for name, drawing in drawings.items()},
        colours=COLOURS,
        dark_pairs=Markup(as_data(dark_pairs())),
        script=Markup(text),
        digest=digest(text),
    )
