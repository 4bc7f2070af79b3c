"""A study: what several runs come to together, as sentences and as lines of one figure along a setting.

Its run holds a table `study`: `told`, the sentences; and `charts`, each with a `name`, a `caption`, the `measurement`
that it shows, the condition that it runs `along`, its `lines`, each a `target` with the `group` that it shares a colour
with, and the `levels` that these are beside: a target, or a name and a value. Figures stand in the measurements alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from evaluation.measurement import Measurement, Run
from reports.headline import gate_notice
from reports.marks import mark_of
from reports.number import read_measurement
from reports.outline import Block, Chart, Paragraph
from reports.table import Table, table_of

if TYPE_CHECKING:
    from reports.charts.lines import Line

TABLE = "study"


def is_study(run: Run) -> bool:
    return isinstance(run.tables.get(TABLE), Mapping)


def study_blocks(run: Run, prefix: str) -> Iterator[Block]:
    """Which promises were kept, what was found, and the charts."""
    yield from gate_notice(run)
    study = run.tables[TABLE]
    for told in study.get("told", ()):
        yield Paragraph(str(told))
    for chart in study.get("charts", ()):
        yield _chart(run, chart, prefix)
    for told in study.get("notes", ()):
        yield Paragraph(str(told), "note")


def _chart(run: Run, about: Mapping[str, Any], prefix: str) -> Chart:
    wanted = [line for line in about["lines"] if _points(run, about, line["target"])]
    alt = f"{about['y_title']} along {about['x_title']}. "
    alt += "; ".join(f"{line['target']}: {_in_words(_points(run, about, line['target']))}" for line in wanted)
    levels = [_level(run, about, level) for level in about.get("levels", ())]
    alt += "".join(f"; {text}" for text, _ in levels)

    def draw() -> dict[str, Any]:
        from reports.charts.lines import lines

        return lines(
            [_line(run, about, line) for line in wanted],
            x_title=about["x_title"],
            y_title=about["y_title"],
            ticks=about["ticks"],
            levels=levels,
            falling=about.get("falling", False),
        )

    return Chart(f"{prefix}{about['name']}", about["caption"], f"{alt}.", draw, table=_table(run, about, wanted))


def _line(run: Run, about: Mapping[str, Any], line: Mapping[str, Any]) -> Line:
    from reports.charts.lines import Line

    points = tuple((place, mark_of(m)) for place, m in _points(run, about, line["target"]))
    return Line(line["target"], line["group"], bool(line.get("dashed")), points)


def _level(run: Run, about: Mapping[str, Any], level: Mapping[str, Any]) -> tuple[str, float]:
    """A target's figure, or a value that was set."""
    if "target" not in level:
        return level["name"], float(level["value"])
    found = next(m for m in run.measurements if (m.target, m.name) == (level["target"], about["measurement"]))
    return f"{found.target}: {read_measurement(found).figure}", found.value


def _points(run: Run, about: Mapping[str, Any], target: str) -> list[tuple[float, Measurement]]:
    """The target's figures with where they stand, in the order that the axis runs."""
    found = [
        (float(m.conditions[about["along"]]), m)
        for m in run.measurements
        if (m.target, m.name) == (target, about["measurement"]) and about["along"] in m.conditions
    ]
    return sorted(found, key=lambda point: point[0], reverse=about.get("falling", False))


def _in_words(points: Sequence[tuple[float, Measurement]]) -> str:
    return ", ".join(f"{read_measurement(m).figure} at {place:.3f}" for place, m in points)


def _table(run: Run, about: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> Table:
    rows = [
        (line["target"], f"{place:.3f}", read_measurement(m))
        for line in lines
        for place, m in _points(run, about, line["target"])
    ]
    return table_of(about["y_title"], ["target", about["x_title"], about["y_title"]], rows)
