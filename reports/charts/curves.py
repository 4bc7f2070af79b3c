"""Training curves: each series that a stage recorded, over its steps or epochs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt

from reports.charts.theme import Spec, colour_of, data, finished, zoom

_WIDTH, _HEIGHT = 190, 130
_MOST_DOTS = 12
_MOST_TICKS = 5


@dataclass(frozen=True)
class Curve:
    """A series that a stage recorded."""

    title: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    x_unit: str
    y_unit: str


def curves(drawn: Sequence[Curve]) -> Spec:
    """A panel for each series, three side by side."""
    return finished(alt.concat(*(_view(place, curve) for place, curve in enumerate(drawn)), columns=min(3, len(drawn))))


def _view(place: int, curve: Curve) -> alt.Chart:
    rows = [{"x": x, "y": y} for x, y in zip(curve.x, curve.y, strict=True)]
    few = list(curve.x) if len(curve.x) <= _MOST_TICKS else None  # between whole epochs there is nothing to mark
    axis = alt.Axis(tickCount=4) if few is None else alt.Axis(values=few)
    x = alt.X("x:Q", title=curve.x_unit, axis=axis, scale=alt.Scale(zero=False, nice=False))
    y = alt.Y("y:Q", title=curve.y_unit, axis=alt.Axis(tickCount=4), scale=alt.Scale(zero=False))
    told = [alt.Tooltip("x:Q", title=curve.x_unit or "x"), alt.Tooltip("y:Q", title=curve.y_unit or "y", format=".4g")]
    # Points are what a reader points at: small where they would hide the line.
    dots = {"size": 30 if len(rows) <= _MOST_DOTS else 8, "color": colour_of("step"), "filled": True}
    line = alt.Chart(data(rows)).mark_line(color=colour_of("step"), strokeWidth=1.6, point=dots, clip=True)
    view = line.encode(x=x, y=y, tooltip=told).add_params(zoom("x", "y", name=f"zoom_{place}"))
    return view.properties(width=_WIDTH, height=_HEIGHT, title=curve.title)
