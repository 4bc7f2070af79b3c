"""The headline: how much smaller, how much faster, what it cost in quality, with intervals and the gates' limits."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from reports.charts.mark import Mark, tooltip
from reports.charts.theme import (
    GRID,
    INK,
    MUTED,
    NARROW,
    Spec,
    colour_of,
    data,
    extent,
    finished,
    log_axis,
    log_ticks,
    whiskers,
)

_ROW = 44  # pixels: three lines of a label, or one for the dot and its figure with room above for a limit in words
_ROOM = 0.55  # of what the figures span, for the words on their right
_LABEL, _LETTERS = 150, 24  # a line of a label: pixels at most, and letters


@dataclass(frozen=True)
class Row:
    """One figure, and the limit that a gate sets it, if one does, as a number and in words."""

    label: str
    mark: Mark
    limit: float | None = None
    wanted: str = ""


@dataclass(frozen=True)
class Scale:
    """Figures on one axis: ratios on a log axis, where 1 means no change, or losses, where 0 does."""

    title: str
    rows: tuple[Row, ...]
    log: bool = False


def headline(scales: Sequence[Scale]) -> Spec:
    """A dot for each figure with its interval, and an upright mark where a gate's limit is; one axis below another."""
    return finished(alt.concat(*(_view(scale) for scale in scales), columns=1, bounds="flush", spacing=74))


def _view(scale: Scale) -> alt.LayerChart | alt.FacetChart:
    neutral = 1.0 if scale.log else 0.0
    rows = [_row(row, log=scale.log) for row in scale.rows]
    lines = alt.Axis(labelExpr="split(datum.label, '\\n')", labelLimit=_LABEL)
    order = alt.Scale(domain=[row["label"] for row in rows])
    base = alt.Chart(data(rows)).encode(y=alt.Y("label:N", scale=order, title=None, axis=lines))
    ends = _span(scale, neutral)
    axes = alt.Scale(type="log" if scale.log else "linear", domain=list(ends), nice=False)
    x = alt.X("value:Q", scale=axes, axis=_ticks(*ends) if scale.log else alt.Axis(title=None))
    told = tooltip(alt.Tooltip("what:N", title="what"), alt.Tooltip("wanted:N", title="limit"))
    colour = alt.value(colour_of("result"))
    limits = base.transform_filter("isValid(datum.limit)")
    return alt.layer(
        alt.Chart(data([{"at": neutral}])).mark_rule(color=GRID, strokeDash=[4, 3], strokeWidth=1.5).encode(x="at:Q"),
        whiskers(base, color=colour),
        limits.mark_tick(color=INK, thickness=2, size=18, orient="vertical").encode(x="limit:Q", tooltip=told),
        limits.mark_text(color=MUTED, fontSize=11, dx=3, dy=-15, align="right").encode(x="limit:Q", text="wanted:N"),
        base.mark_point(filled=True, size=80, opacity=1).encode(x=x, color=colour, tooltip=told),
        base.mark_text(align="left", dx=9).encode(x="end:Q", text="text:N"),
    ).properties(width=NARROW, height=_ROW * len(rows), title=scale.title)


def _ticks(low: float, high: float) -> alt.Axis:
    return log_axis(log_ticks(low, high), title=None, labelExpr="datum.value + 'x'")


def _row(row: Row, *, log: bool) -> dict[str, Any]:
    mark = row.mark.row()
    if log and row.mark.low is not None and row.mark.low <= 0:
        mark["low"] = None  # a log axis has no room for an end that is not above zero; the tooltip tells it
    ends = [end for end in (row.mark.value, row.mark.high, row.limit) if end is not None]
    unbroken = row.label.replace(" x ", "\u00a0x\u00a0")  # a shape stays on one line
    label = "\n".join(textwrap.wrap(unbroken, _LETTERS))
    return {
        "what": row.label,
        "label": label,
        "limit": row.limit,
        "wanted": row.wanted or "none",
        "end": max(ends),
        **mark,
    }


def _span(scale: Scale, neutral: float) -> tuple[float, float]:
    """The ends of an axis that shows every figure, interval and limit, and has room for words on the right."""
    ends = [end for row in scale.rows for end in (row.mark.value, row.mark.low, row.mark.high, row.limit)]
    if not scale.log:
        return extent([neutral, *ends], high=_ROOM)
    above = [end for end in ends if end is not None and end > 0]
    low, high = min(neutral, *above), max(2.0, *above)  # so that there are at least two ticks
    room = high / low
    return low / room**0.06, high * room**_ROOM
