"""The series that stages recorded while they trained, as charts and tables."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any

from evaluation.measurement import Run
from reports import cast
from reports.layers import file_name
from reports.outline import Block, Chart, Fold, Grid
from reports.record import cell_of
from reports.table import Table, table_of

if TYPE_CHECKING:
    from reports.charts.curves import Curve

_MOST_ROWS = 12
_MOST_POINTS = 400  # drawn of a series; a curve of more looks the same


def training_charts(run: Run, prefix: str) -> Iterator[Block]:
    """The series that each stage recorded: one chart per stage, and its values at some of the steps."""
    series = [(name, value) for name, value in run.series.items() if _is_series(value)]
    for stage, group in groupby(series, key=lambda each: _stage(each[0])):  # recorded stage by stage, in order
        members = list(group)
        name = f"{prefix}training-{file_name(stage)}"
        titles = ", ".join(_curve_title(each) for each, _ in members)
        yield _curves_chart(name, f"Recorded in {stage}: {titles}", members)
        yield Fold(f"Values recorded in {stage}", tuple(Grid(_curve_table(each, value)) for each, value in members))


def _curves_chart(name: str, alt: str, members: list[tuple[str, dict[str, Any]]]) -> Chart:
    def draw() -> dict[str, Any]:
        from reports.charts.curves import curves

        return curves([_curve(each, value) for each, value in members])

    return Chart(name, f"{alt}.", alt, draw)


def _curve(name: str, value: dict[str, Any]) -> Curve:
    from reports.charts.curves import Curve

    places = _spread(len(value["x"]), _MOST_POINTS)
    x, y = (tuple(float(value[axis][place]) for place in places) for axis in ("x", "y"))
    return Curve(_curve_title(name), x, y, str(value.get("x_unit", "")), str(value.get("y_unit", "")))


def _curve_table(name: str, value: dict[str, Any]) -> Table:
    """The series at evenly spread points, the first and the last among them."""
    places = _spread(len(value["x"]), _MOST_ROWS)
    rows = [(str(cell_of(value["x"][place])), cell_of(value["y"][place])) for place in places]
    return table_of(name, [str(value.get("x_unit", "x")), str(value.get("y_unit", "y"))], rows)


def _spread(length: int, most: int) -> list[int]:
    """Indices of a series: at most `most`, evenly spread, the first and the last among them."""
    count = min(length, most)
    return [round((length - 1) * place / (count - 1)) for place in range(count)] if count > 1 else [0]


def _is_series(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    x, y = value.get("x"), value.get("y")
    if not isinstance(x, list) or not isinstance(y, list) or not x or len(x) != len(y):
        return False
    return all(isinstance(number, int | float) for number in (*x, *y))


def _stage(name: str) -> str:
    return name.partition(".")[0]


def _curve_title(name: str) -> str:
    """What a series is of; a sweep puts the variant behind it in brackets, told here by its values."""
    title, bracket, variant = (name.partition(".")[2] or name).partition(" (")
    return f"{title} ({cast.short_name(variant.removesuffix(')'))})" if bracket else title
