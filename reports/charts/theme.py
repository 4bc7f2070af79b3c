"""How every chart looks and answers: colours in pairs for light and dark, sizes, legend toggles, zoom.

A chart is made in the light colours. The page replaces each by its dark pair, so a chart uses no other colour.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import altair as alt

Spec = dict[str, Any]

WIDE, NARROW = 640, 300  # pixels of a view in the SVG file; the page fits it to its own width

# name: light, dark. Roles and runs are Okabe and Ito's colours, which colour-blind readers can tell apart; the dark
# ones are lighter shades of the same. Every light colour is there once, so that each has one pair.
COLOURS: dict[str, tuple[str, str]] = {
    "ink": ("#1f2328", "#e4e7ea"),
    "muted": ("#5c6670", "#9ca6b0"),
    "grid": ("#dfe3e8", "#343b43"),
    "paper": ("#ffffff", "#14171a"),
    "baseline": ("#7b848d", "#8b959f"),
    "run-0": ("#0072b2", "#4ba3dc"),
    "run-1": ("#d55e00", "#f2853f"),
    "run-2": ("#009e73", "#2fc29a"),
    "run-3": ("#cc79a7", "#dc93bb"),
    "run-4": ("#56b4e9", "#7cc7ee"),
    "run-5": ("#e69f00", "#e0b04a"),
}
INK, MUTED, GRID, PAPER = (COLOURS[name][0] for name in ("ink", "muted", "grid", "paper"))
ROLES: dict[str, str] = {
    "baseline": COLOURS["baseline"][0],
    "step": COLOURS["run-0"][0],
    "result": COLOURS["run-1"][0],
    "better": COLOURS["run-2"][0],
    "worse": COLOURS["run-3"][0],
}
_RUNS = tuple(light for name, (light, _) in COLOURS.items() if name.startswith("run-"))
SHAPES = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "triangle-right", "triangle-left")
_LEGEND_COLUMN = 180
_MOST_POWERS = 9  # of ten, on a log axis with ticks between them
# Metrics of Arial, which the SVG maker brings with it, so that the layout is the same on every machine.
_FONT = "Arial, Helvetica, sans-serif"


def colour_of(role: str) -> str:
    """The colour of a baseline, a step, a result, of what got better or worse."""
    return ROLES[role]


def run_colour(place: int) -> str:
    """The colour of a run among several, or of a series among several; after six they come again."""
    return _RUNS[place % len(_RUNS)]


def colours(field: str, named: Mapping[Any, str], *, legend: bool = True) -> alt.Color:
    """The colour channel by a field of the rows: what may stand there, with its colour, in the legend's order."""
    scale = alt.Scale(domain=list(named), range=list(named.values()))
    return alt.Color(f"{field}:N", title=None, scale=scale, legend=alt.Legend() if legend else None)


def data(rows: Iterable[Mapping[str, Any]]) -> alt.Data:
    """Rows as the data of a chart, written into its spec. What is not a finite number is a gap: JSON knows no other."""
    return alt.Data(values=[{name: _finite(value) for name, value in row.items()} for row in rows])


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def legend_toggle(field: str) -> alt.Parameter:
    """A click on the legend shows one `field` alone, further clicks add others or take them away."""
    return alt.selection_point(name="shown", fields=[field], bind="legend", toggle="true")


def shown_if(shown: alt.Parameter) -> Any:
    """The opacity of marks under a legend toggle: what is not chosen is hardly there."""
    return alt.condition(shown, alt.value(1.0), alt.value(0.08))


def zoom(*channels: Literal["x", "y"], name: str = "zoom") -> alt.Parameter:
    """Zoom with the wheel while Ctrl or Cmd is held, so that the page still scrolls; drag to pan; double click undoes.

    Only a mouse drags: a finger scrolls the page.
    """
    return alt.selection_interval(
        name=name,
        bind="scales",
        encodings=list(channels),
        zoom="wheel![event.ctrlKey || event.metaKey]",
        translate="[pointerdown[event.pointerType === 'mouse'], window:pointerup] > window:pointermove!",
    )


def whiskers(
    base: alt.Chart, *, low: str = "low", high: str = "high", upright: bool = False, **channels: Any
) -> alt.Chart:
    """Error bars between two fields, for a chart whose other axis is among `channels` or set already."""
    rule = base.transform_filter(f"isValid(datum.{low}) && isValid(datum.{high})").mark_rule(strokeWidth=1.5)
    ends: dict[str, Any] = {"y": low, "y2": high} if upright else {"x": low, "x2": high}
    return rule.encode(**{axis: f"{field}:Q" for axis, field in ends.items()}, **channels)


def extent(values: Sequence[float | None], *, low: float = 0.06, high: float = 0.06) -> tuple[float, float]:
    """The range of the values that are there, widened at both ends by a part of it."""
    there = [value for value in values if value is not None and math.isfinite(value)] or [0.0]
    room = (max(there) - min(there)) or abs(max(there)) or 1.0
    return min(there) - low * room, max(there) + high * room


def log_ticks(low: float, high: float) -> list[float]:
    """The ticks of a log axis: 1, 2 and 5 times each power of ten, or the powers alone where those are very many.

    >>> log_ticks(0.9, 12)
    [1.0, 2.0, 5.0, 10.0]
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if len(powers) <= _MOST_POWERS else (1,)
    found = [float(f"{step}e{power}") for power in powers for step in steps]
    return [tick for tick in found if low <= tick <= high]


def log_axis(ticks: Sequence[float], **options: Any) -> alt.Axis:
    """An axis with a label at each of the ticks, where Vega would leave out what is more than it counted on."""
    return alt.Axis(values=list(ticks), tickCount=len(ticks), labelOverlap=False, **options)


def finished(view: Any) -> Spec:
    """The chart as a dict that stands for itself: data and looks are inside."""
    spec: Spec = view.to_dict(validate=False)  # that takes most of the time, and the tests see to it
    return {**spec, "config": _CONFIG}


_CONFIG: dict[str, Any] = {
    "aria": False,  # the drawing is described as a whole, and its figures stand in a table
    "background": PAPER,
    "concat": {"spacing": 28},
    "font": _FONT,
    "padding": 4,
    "view": {"stroke": None},
    "title": {"anchor": "start", "color": INK, "fontSize": 13, "fontWeight": "bold", "offset": 8},
    "text": {"color": INK, "fontSize": 12},
    "rule": {"color": MUTED},
    "axis": {
        "domainColor": GRID,
        "gridColor": GRID,
        "labelColor": MUTED,
        "labelFontSize": 12,
        "tickColor": GRID,
        "titleColor": MUTED,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
    },
    "axisX": {"tickCount": 5, "labelOverlap": "greedy"},
    "axisYBand": {"domain": False, "grid": False, "ticks": False, "labelColor": INK, "labelLimit": 170},
    "legend": {
        "columns": WIDE // _LEGEND_COLUMN,
        "gradientStrokeColor": GRID,
        "labelColor": INK,
        "labelFontSize": 12,
        "labelLimit": _LEGEND_COLUMN - 30,
        "orient": "bottom",
        "symbolSize": 90,
        "titleColor": MUTED,
    },
}
