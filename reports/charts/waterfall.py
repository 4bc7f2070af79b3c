"""Step by step as a waterfall: where the reference stood, what each step took or added, where the result stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import altair as alt

from reports.charts.mark import Mark, tooltip
from reports.charts.theme import Spec, colour_of, colours, data, extent, finished, whiskers

Kind = Literal["reference", "better", "worse", "no change shown", "result"]

_WIDTH, _ROW = 190, 27
_COLOURS: dict[Kind, str] = {
    "reference": colour_of("baseline"),
    "better": colour_of("better"),
    "worse": colour_of("worse"),
    "no change shown": colour_of("step"),
    "result": colour_of("result"),
}


@dataclass(frozen=True)
class Step:
    """A line of a panel: a total, or what a step changed.

    A total has no `before`; a change has the figure before it, and `mark` is the figure after it with the interval of
    the change. `text` stands beside the bar, `change` says more of it on pointing.
    """

    label: str
    kind: Kind
    mark: Mark
    before: float | None = None
    text: str = ""
    change: str = ""


@dataclass(frozen=True)
class Panel:
    """One figure from the reference to the result. Bars of totals start at zero where zero means something."""

    title: str
    steps: tuple[Step, ...]
    from_zero: bool = True


def waterfall(panels: Sequence[Panel]) -> Spec:
    """A panel for each figure, its lines in the order of the work."""
    kinds = {step.kind for panel in panels for step in panel.steps}
    shown = {kind: colour for kind, colour in _COLOURS.items() if kind in kinds}
    return finished(alt.concat(*(_view(panel, shown) for panel in panels), columns=len(panels)))


def _view(panel: Panel, shown: Mapping[Kind, str]) -> alt.LayerChart | alt.FacetChart:
    rows = [_row(step, from_zero=panel.from_zero) for step in panel.steps]
    # Layers hold some of the lines each: the order is said, not found.
    order = alt.Scale(domain=[step.label for step in panel.steps])
    base = alt.Chart(data(rows)).encode(y=alt.Y("label:N", scale=order, title=None))
    axis = alt.Axis(tickCount=3)
    x = alt.X("start:Q", title=None, axis=axis, scale=alt.Scale(domain=_domain(panel, rows), nice=False, zero=False))
    colour = colours("kind", shown)
    told = tooltip(alt.Tooltip("label:N", title="step"), alt.Tooltip("change:N", title="change"), figure="after it")
    # What has no length is a place on the axis: a total without a zero, or a step that changed nothing.
    bars = base.transform_filter("datum.start != datum.value").mark_bar(height=15)
    dots = base.transform_filter("datum.start == datum.value").mark_point(filled=True, size=90, opacity=1)
    return alt.layer(
        bars.encode(x=x, x2="value:Q", color=colour, tooltip=told),
        dots.encode(x=x, color=colour, tooltip=told),
        whiskers(base),
        base.mark_text(align="left", dx=9).encode(x="end:Q", text="beside:N"),
    ).properties(width=_WIDTH, height=_ROW * len(rows), title=panel.title)


def _domain(panel: Panel, rows: Sequence[dict[str, Any]]) -> list[float]:
    """All that is drawn, with room on the right for what is written."""
    ends = [row[name] for row in rows for name in ("start", "value", "low", "high") if row[name] is not None]
    low, high = extent([0.0, *ends] if panel.from_zero else ends, high=0.45)
    return [0.0 if panel.from_zero and min(ends) >= 0 else low, high]


def _row(step: Step, *, from_zero: bool) -> dict[str, Any]:
    total = 0.0 if from_zero else step.mark.value
    start = total if step.before is None else step.before
    end = max(each for each in (start, step.mark.value, step.mark.high) if each is not None)
    told = {"beside": step.text or step.mark.text, "change": step.change or "none"}
    return {"label": step.label, "kind": step.kind, "start": start, "end": end, **told, **step.mark.row()}
