"""Latency by batch and length: the targets side by side at every shape, median and 95th percentile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt

from reports.charts.mark import Mark, tooltip
from reports.charts.theme import INK, ROLES, Spec, colours, data, finished, legend_toggle, shown_if, whiskers

_WIDTH, _ROW = 190, 24


@dataclass(frozen=True)
class Timed:
    """A target's median latency at a shape, in milliseconds, and its 95th percentile where that was measured."""

    target: str
    role: str
    median: Mark
    slow: float | None = None


def latency(panels: Sequence[tuple[str, Sequence[Timed]]]) -> Spec:
    """A panel for each shape: bars from zero to the median, a tick at the 95th percentile, error bars at the median."""
    present = {timed.role for _, panel in panels for timed in panel}
    shown = legend_toggle("role")
    first, *others = (_view(title, panel, present, shown) for title, panel in panels)
    return finished(alt.concat(first.add_params(shown), *others, columns=min(3, len(panels))))


def _view(
    title: str, panel: Sequence[Timed], present: set[str], shown: alt.Parameter
) -> alt.LayerChart | alt.FacetChart:
    rows = [_row(timed) for timed in panel]
    base = alt.Chart(data(rows)).encode(y=alt.Y("target:N", sort=None, title=None), opacity=shown_if(shown))
    widest = max(_end(timed) for timed in panel)
    x = alt.X("value:Q", title="ms", scale=alt.Scale(domain=[0, 1.42 * widest], nice=False), axis=alt.Axis(tickCount=3))
    colour = colours("role", {role: hexes for role, hexes in ROLES.items() if role in present})
    told = tooltip(
        alt.Tooltip("target:N", title="target"), alt.Tooltip("slow_text:N", title="p95"), figure="median (p50)"
    )
    slow = base.transform_filter("isValid(datum.slow)").mark_tick(color=INK, thickness=1.5, size=13)
    return alt.layer(
        base.mark_bar(height=14).encode(x=x, color=colour, tooltip=told),
        whiskers(base),
        slow.encode(x="slow:Q", tooltip=told),
        base.mark_text(align="left", dx=6).encode(x="end:Q", text="text:N"),
    ).properties(width=_WIDTH, height=_ROW * len(rows), title=title)


def _row(timed: Timed) -> dict[str, object]:
    slow = {"slow": timed.slow, "slow_text": "not measured" if timed.slow is None else f"{timed.slow:.3g} ms"}
    return {"target": timed.target, "role": timed.role, "end": _end(timed), **slow, **timed.median.row()}


def _end(timed: Timed) -> float:
    """Where the marks end and the figure is written."""
    return max(end for end in (timed.median.value, timed.median.high, timed.slow) if end is not None)
