"""Figures along a setting: one line a target, each with its intervals and its name at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt

from reports.charts.mark import Mark, tooltip
from reports.charts.theme import (
    INK,
    MUTED,
    PAPER,
    WIDE,
    Spec,
    colours,
    data,
    extent,
    finished,
    legend_toggle,
    run_colour,
    shown_if,
    zoom,
)

_HEIGHT = 380
_LINE = 15.0  # pixels from one name to the next
_BEFORE = 0.08  # of the way between the first and the last points, before the first
_STEP = 3.5  # pixels that whiskers of neighbouring lines stand apart
_LEADER = 30.0  # pixels from a line's end to its name
_LETTER = 6.7  # pixels of a letter on average, at the size that names are written in
_FEWEST_PIXELS = 440  # in a narrower drawing names would cover lines: there the legend alone tells who is who


@dataclass(frozen=True)
class Line:
    """A target's figures, each with where it stands along the axis.

    Lines of a `group` share a colour and an entry of the legend; a `dashed` one differs from the other of its group.
    """

    name: str
    group: str
    dashed: bool
    points: tuple[tuple[float, Mark], ...]


def lines(
    drawn: Sequence[Line],
    *,
    x_title: str,
    y_title: str,
    ticks: Sequence[float],
    levels: Sequence[tuple[str, float]] = (),
    falling: bool = False,
) -> Spec:
    """A line for each target, with whiskers at its points.

    Args:
        ticks: where the axis has its labels.
        levels: what all are beside, each a text and a figure, drawn from side to side.
        falling: the axis runs from its largest value to its smallest.
    """
    marks = [mark for line in drawn for _, mark in line.points]
    ends = [end for mark in marks for end in (mark.low, mark.value, mark.high)]
    bounds = extent([*ends, *(value for _, value in levels)], low=0.06, high=0.1)
    places = sorted({x for line in drawn for x, _ in line.points}, reverse=falling)
    way = places[-1] - places[0] or (-1.0 if falling else 1.0)
    named = _STEP * len(drawn) / 2 + _LEADER + _LETTER * max(len(line.name) for line in drawn)
    room = (1 + _BEFORE) * named / (WIDE - named)
    across = places[0] - _BEFORE * way, places[-1] + room * way
    x = alt.X(
        "x:Q",
        title=x_title,
        scale=alt.Scale(domain=list(across), nice=False, zero=False),
        axis=alt.Axis(values=list(ticks), labelOverlap=False, labelExpr="datum.value"),  # a format would round it
    )
    y = alt.Y("value:Q", title=y_title, scale=alt.Scale(domain=list(bounds), nice=False, zero=False))
    groups = list(dict.fromkeys(line.group for line in drawn))
    colour, shown = colours("group", {name: run_colour(at) for at, name in enumerate(groups)}), legend_toggle("group")
    middle = (len(drawn) - 1) / 2
    views = [_views(line, _STEP * (at - middle), x, y, colour, shown) for at, line in enumerate(drawn)]
    views[0][0] = views[0][0].add_params(shown, zoom("x", "y"))
    layers = [*(view for parts in views for view in parts), *_levels(levels, across[0], x, y)]
    layers += _names(drawn, bounds, x, y, shown)
    return finished(alt.layer(*layers).properties(width=WIDE, height=_HEIGHT))


def _views(line: Line, aside: float, x: alt.X, y: alt.Y, colour: alt.Color, shown: alt.Parameter) -> list[alt.Chart]:
    """The line, its whiskers and its points, all so many pixels aside that whiskers do not hide each other."""
    rows = [{"line": line.name, "group": line.group, "x": place, **mark.row()} for place, mark in line.points]
    base = alt.Chart(data(rows)).encode(x=x, color=colour, opacity=shown_if(shown))
    told = tooltip(alt.Tooltip("line:N", title="target"), alt.Tooltip("x:Q", title="at", format=".3f"))
    ranges = base.transform_filter("isValid(datum.low) && isValid(datum.high)")
    inside = PAPER if line.dashed else alt.Undefined
    return [
        base.mark_line(strokeDash=[5, 3] if line.dashed else [1, 0], strokeWidth=1.8, xOffset=aside).encode(y=y),
        ranges.mark_rule(strokeWidth=1.3, strokeOpacity=0.6, xOffset=aside).encode(y="low:Q", y2="high:Q"),
        base.mark_point(filled=not line.dashed, fill=inside, size=42, xOffset=aside).encode(y=y, tooltip=told),
    ]


def _levels(levels: Sequence[tuple[str, float]], at: float, x: alt.X, y: alt.Y) -> list[alt.Chart]:
    base = alt.Chart(data([{"text": text, "value": value, "x": at} for text, value in levels])).encode(y=y)
    rule = base.mark_rule(color=MUTED, strokeDash=[4, 3])
    text = base.mark_text(color=MUTED, align="left", dx=4, dy=-7).encode(x=x, text="text:N")
    return [rule, text] if levels else []


def _names(
    drawn: Sequence[Line], bounds: tuple[float, float], x: alt.X, y: alt.Y, shown: alt.Parameter
) -> list[alt.Chart]:
    """Each line's name behind its end, moved up or down to where it covers no other, and a dotted line from there."""
    ends = [line.points[-1] for line in drawn]
    pixel = (bounds[1] - bounds[0]) / _HEIGHT
    written = apart([mark.value / pixel for _, mark in ends], _LINE)
    rows = [
        {"line": line.name, "group": line.group, "x": place, "value": mark.value, "written": at * pixel}
        for line, (place, mark), at in zip(drawn, ends, written, strict=True)
    ]
    roomy, wide = f"width < {_FEWEST_PIXELS} ? 0 : 1", _STEP * len(drawn) / 2
    base = alt.Chart(data(rows)).encode(x=x, opacity=shown_if(shown))
    leader = base.mark_rule(
        color=MUTED,
        strokeDash=[1, 2],
        strokeWidth=1,
        strokeOpacity=alt.expr(roomy),
        xOffset=wide + 5,
        x2Offset=wide + _LEADER - 3,
    )
    text = base.mark_text(color=INK, align="left", dx=wide + _LEADER, fillOpacity=alt.expr(roomy))
    return [
        leader.encode(y=y, x2="x:Q", y2="written:Q"),
        text.encode(y="written:Q", text="line:N"),
    ]


def apart(places: Sequence[float], least: float) -> list[float]:
    """The nearest places, by squares, that are `least` apart or more, in the same order.

    >>> apart([10.0, 12.0, 50.0], 6.0)
    [8.0, 14.0, 50.0]
    """
    import numpy as np
    from scipy.optimize import isotonic_regression

    order = np.argsort(places, kind="stable")
    steps = least * np.arange(len(places))
    moved = np.empty(len(places))
    moved[order] = isotonic_regression(np.asarray(places)[order] - steps).x + steps
    return [float(place) for place in moved]
