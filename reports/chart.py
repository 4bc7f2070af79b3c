"""Charts as SVG: the headline, what each step did, quality against latency, anatomy, training curves.

Each function takes plain values and returns the text of an SVG that is readable on white. `themed` turns one into the
form that a page embeds, whose colours follow the page. Equal input gives equal bytes: no dates, no random ids.
"""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from reports.labels import Box, place
from reports.outline import SVG_OPENING

_WIDTH = 720.0  # points; the page shows one point as one pixel
_NARROW = 350.0  # fits a phone at a size that can be read
_INK, _MUTED, _GRID, _PAPER = "#1f2328", "#626c76", "#dfe3e8", "#fefefe"
_BASELINE, _STEP, _RESULT = "#8b939c", "#3b7dbb", "#c2410c"
# Okabe and Ito's colours, which colour-blind readers can tell apart, for several runs in one chart.
_RUNS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_ROLES = {"baseline": _BASELINE, "step": _STEP, "result": _RESULT}
_THEME = {
    _INK: "ink",
    _MUTED: "muted",
    _GRID: "grid",
    _PAPER: "paper",
    _BASELINE: "baseline",
    _STEP: "step",
    _RESULT: "result",
    **{colour: f"run-{place}" for place, colour in enumerate(_RUNS)},
}
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: it can be searched, selected and read aloud
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib, so that the layout is the same everywhere
    "font.size": 11.0,
    "text.color": _INK,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _MUTED,
    "axes.titlesize": 11.0,
    "axes.titlecolor": _INK,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "xtick.color": _GRID,
    "ytick.color": _GRID,
    "xtick.labelcolor": _MUTED,
    "ytick.labelcolor": _MUTED,
    "xtick.labelsize": 10.0,
    "ytick.labelsize": 10.0,
    "figure.facecolor": _PAPER,
    "grid.color": _GRID,
}


@dataclass(frozen=True)
class Mark:
    """A value with the ends of its interval, where it has one, and the text to write beside it."""

    value: float
    low: float | None
    high: float | None
    text: str


@dataclass(frozen=True)
class Row:
    """One figure of the headline, and the limit that a gate sets it, if one does, as a number and in words."""

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


@dataclass(frozen=True)
class Panel:
    """One figure of every step. Bars start at zero; dots are for what has no meaningful zero."""

    title: str
    marks: tuple[Mark | None, ...]
    bars: bool = True


@dataclass(frozen=True)
class Point:
    """A target in the chart of quality against latency. `role` is baseline, step or result; `run` counts from 0.

    A point without a label is drawn small.
    """

    label: str
    role: str
    latency: Mark
    quality: Mark
    run: int = 0


@dataclass(frozen=True)
class Curve:
    """A series that a stage recorded."""

    title: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    x_unit: str
    y_unit: str


def headline(name: str, alt: str, scales: Sequence[Scale]) -> str:
    """A dot for each figure with its interval, and a mark where a gate's limit is; one axis below the other."""
    counts = [len(scale.rows) for scale in scales]
    with _style(name):
        figure = _figure(64 * len(scales) + 30 * sum(counts), _NARROW)
        figure.set_layout_engine("constrained", h_pad=7 / 72)
        grid = figure.subplots(len(scales), 1, squeeze=False, height_ratios=counts)
        for scale, axes in zip(scales, grid[:, 0], strict=True):
            _draw_scale(axes, scale)
        return _svg(figure, name, alt)


def steps(name: str, alt: str, labels: Sequence[str], roles: Sequence[str], panels: Sequence[Panel]) -> str:
    """One row per target and one panel per figure, with intervals as whiskers."""
    with _style(name):
        figure = _figure(52 + 27 * len(labels))
        grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)
        for axes, panel in zip(grid[0], panels, strict=True):
            _draw_panel(axes, panel, roles)
        first = grid[0][0]
        first.set_yticks(range(len(labels)), labels)
        first.tick_params(axis="y", length=0, labelcolor=_INK, labelsize=10.5)
        first.set_ylim(len(labels) - 0.4, -0.6)
        return _svg(figure, name, alt)


def tradeoff(
    name: str,
    alt: str,
    points: Sequence[Point],
    *,
    x_title: str,
    y_title: str,
    several_runs: bool = False,
    front: Sequence[int] | None = None,
) -> str:
    """Quality against a cost, each point named beside it.

    A line joins reference, steps and result of a run; or, where `front` says which points are on it, in the order of
    their cost, the Pareto front is drawn as stairs: what is reached for a cost, until the next point is paid for.
    """
    with _style(name):
        figure = _figure(400)
        axes = figure.subplots()
        axes.grid(visible=True, linewidth=0.7)
        _scale_latency(axes, points)
        colours = [_point_colour(point, several_runs) for point in points]
        lines = _paths(points) if front is None else {0: _stairs([points[place] for place in front])}
        for run, line in lines.items():
            _join(axes, line, _RUNS[run % 6] if several_runs else _STEP if front is None else _RESULT)
        for point, colour in zip(points, colours, strict=True):
            _draw_point(axes, point, colour)
        axes.set_xlabel(x_title)
        axes.set_ylabel(y_title)
        axes.margins(x=0.12, y=0.14)
        _name_points(figure, axes, points, list(lines.values()))
        return _svg(figure, name, alt)


def anatomy(name: str, alt: str, rows: Sequence[tuple[str, str, dict[str, dict[int, int]]]]) -> str:
    """Units per layer. A row is a target, its role, and for each axis the units of each layer by its number."""
    titles = list(dict.fromkeys(axis for _, _, axes in rows for axis in axes))
    last = max(layer for _, _, axes in rows for units in axes.values() for layer in units)
    with _style(name):
        figure = _figure(34 + 92 * len(rows))
        grid = figure.subplots(len(rows), len(titles), sharex=True, sharey="col", squeeze=False)
        for (label, role, axes_of), line in zip(rows, grid, strict=True):
            for title, axes in zip(titles, line, strict=True):
                _draw_units(axes, axes_of.get(title, {}), _ROLES[role], last)
            line[0].set_ylabel(label, rotation=0, ha="right", va="center", color=_INK)
        for title, top, bottom in zip(titles, grid[0], grid[-1], strict=True):
            top.set_title(f"{title} per layer")
            bottom.set_xlabel("layer")
        return _svg(figure, name, alt)


def curves(name: str, alt: str, drawn: Sequence[Curve]) -> str:
    """Training curves, three side by side."""
    columns = min(3, len(drawn))
    lines = math.ceil(len(drawn) / columns)
    with _style(name):
        figure = _figure(30 + 170 * lines)
        grid = figure.subplots(lines, columns, squeeze=False).flatten()
        for curve, axes in zip(drawn, grid, strict=False):
            axes.plot(curve.x, curve.y, color=_STEP, linewidth=1.6, marker="o" if len(curve.x) < 12 else "", ms=4)
            axes.set_title(curve.title)
            axes.set_xlabel(curve.x_unit)
            axes.set_ylabel(curve.y_unit)
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=all(x.is_integer() for x in curve.x)))
            axes.yaxis.set_major_locator(MaxNLocator(5))
            axes.grid(visible=True, axis="y", linewidth=0.7)
        for axes in grid[len(drawn) :]:
            axes.set_visible(False)
        return _svg(figure, name, alt)


def themed(svg: str) -> str:
    """The chart for a page: colours are the page's own (`var(--ink)` and so on), the size follows the page."""
    names = "|".join(_THEME)
    coloured = re.sub(names, lambda found: f"var(--{_THEME[found[0]]})", svg)
    return re.sub(r' (?:width|height)="[\d.]+pt"', "", coloured)


@contextmanager
def _style(name: str) -> Iterator[None]:
    """Matplotlib's settings are ours, whatever the user's own are, and theirs again afterwards."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({**_SETTINGS, "svg.hashsalt": name})
        yield


def _figure(height: float, width: float = _WIDTH) -> Figure:
    return Figure(figsize=(width / 72, height / 72), dpi=72, layout="constrained")


def _draw_scale(axes: Axes, scale: Scale) -> None:
    neutral = 1.0 if scale.log else 0.0
    axes.set_title(scale.title)
    if scale.log:
        axes.set_xscale("log")
        _tick_log(axes, "x")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.set_xlim(_limits(scale, neutral))
    axes.axvline(neutral, color=_BASELINE, linewidth=0.9, linestyle=(0, (3, 3)), zorder=1)
    for line, row in enumerate(scale.rows):
        _draw_mark(axes, line, row.mark, _RESULT, bars=False, limit=row.limit)
        if row.limit is not None:
            _write_above(axes, row.wanted, (row.limit, line))
    axes.set_yticks(range(len(scale.rows)), [row.label for row in scale.rows])
    axes.tick_params(axis="y", length=0, labelcolor=_INK, labelsize=11.0)
    axes.set_ylim(len(scale.rows) - 0.5, -0.5)
    axes.spines["left"].set_visible(False)


def _write_above(axes: Axes, text: str, place: tuple[float, float]) -> None:
    axes.annotate(
        text, place, xytext=(0, 8), textcoords="offset points", ha="center", va="bottom", fontsize=8.5, color=_MUTED
    )


def _limits(scale: Scale, neutral: float) -> tuple[float, float]:
    """An axis that shows every figure, interval and limit, and has room for a figure's text on the right."""
    ends = [e for r in scale.rows for e in (r.mark.value, r.mark.low, r.mark.high, r.limit) if e is not None]
    if not scale.log:
        low, high = min(neutral, *ends), max(neutral, *ends)
        room = (high - low) or 1.0
        return low - 0.06 * room, high + 0.42 * room
    ends = [end for end in ends if end > 0]  # an interval that reaches below zero is cut at the edge
    low, high = min(neutral, *ends), max(2.0, *ends)  # so that there are at least two ticks
    return low / (high / low) ** 0.06, high * (high / low) ** 0.42


def _draw_panel(axes: Axes, panel: Panel, roles: Sequence[str]) -> None:
    shown = [(row, mark) for row, mark in enumerate(panel.marks) if mark]
    ends = [end for _, mark in shown for end in (mark.value, mark.low, mark.high) if end is not None]
    start = min(0.0, *ends) if panel.bars else min(ends)
    room = (max(ends) - start) or abs(max(ends)) or 1.0
    axes.set_title(panel.title)
    axes.set_xlim(start if panel.bars else start - 0.08 * room, max(ends) + 0.42 * room)
    for row, mark in shown:
        _draw_mark(axes, row, mark, _ROLES[roles[row]], bars=panel.bars)
    axes.tick_params(axis="y", length=0, labelleft=axes.get_subplotspec().is_first_col())  # type: ignore[union-attr]
    axes.spines["bottom"].set_visible(not panel.bars)
    if panel.bars:
        axes.xaxis.set_major_locator(NullLocator())  # the values stand beside the bars
        return
    axes.axvline(shown[0][1].value, color=_BASELINE, linewidth=0.9, linestyle=(0, (3, 3)), zorder=1)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(4))


def _draw_mark(axes: Axes, row: int, mark: Mark, colour: str, *, bars: bool, limit: float | None = None) -> None:
    if bars:
        axes.barh(row, mark.value, height=0.62, color=colour)
    else:
        axes.plot([mark.value], [row], "o", color=colour, ms=6.5)
    if mark.low is not None and mark.high is not None:
        axes.plot([mark.low, mark.high], [row, row], color=_INK if bars else colour, linewidth=1.3)
    if limit is not None:
        axes.plot([limit], [row], "|", color=_INK, ms=14, mew=1.6)
    end = max(each for each in (mark.value, mark.high, limit) if each is not None)
    axes.annotate(
        mark.text, (end, row), xytext=(5 if bars else 7, 0), textcoords="offset points", va="center", fontsize=10
    )


def _scale_latency(axes: Axes, points: Sequence[Point]) -> None:
    latencies = [point.latency.value for point in points]
    if min(latencies) <= 0 or max(latencies) / min(latencies) < 3:
        return  # a log axis over so little would carry hardly a tick
    axes.set_xscale("log")
    _tick_log(axes)


def _tick_log(axes: Axes, unit: str = "") -> None:
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}{unit}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_minor_locator(NullLocator())


def _point_colour(point: Point, several_runs: bool) -> str:
    return _RUNS[point.run % len(_RUNS)] if several_runs and point.role != "baseline" else _ROLES[point.role]


def _join(axes: Axes, line: Sequence[tuple[float, float]], colour: str) -> None:
    axes.plot([x for x, _ in line], [y for _, y in line], color=colour, linewidth=1.0, alpha=0.45, zorder=1)


def _paths(points: Sequence[Point]) -> dict[int, list[tuple[float, float]]]:
    """Each run's way from its reference, which comes first, to its result."""
    paths: dict[int, list[tuple[float, float]]] = {}
    for point in points:
        if point.run not in paths or point.role != "baseline":
            paths.setdefault(point.run, []).append((point.latency.value, point.quality.value))
    return dict(sorted(paths.items()))


def _stairs(points: Sequence[Point]) -> list[tuple[float, float]]:
    """Across at what is reached so far, then up, or down where less is better, at the next point's cost."""
    corners = [(point.latency.value, point.quality.value) for point in points]
    between = [(after[0], before[1]) for before, after in pairwise(corners)]
    return [corner for pair in zip(corners, [*between, corners[-1]], strict=True) for corner in pair]


def _draw_point(axes: Axes, point: Point, colour: str) -> None:
    x, y = point.latency, point.quality
    axes.plot([x.value], [y.value], "o", color=colour, ms=8 if point.label else 5, zorder=3)
    if x.low is not None and x.high is not None:
        axes.plot([x.low, x.high], [y.value, y.value], color=colour, linewidth=1.2, zorder=2)
    if y.low is not None and y.high is not None:
        axes.plot([x.value, x.value], [y.low, y.high], color=colour, linewidth=1.2, zorder=2)


def _name_points(
    figure: Figure, axes: Axes, points: Sequence[Point], lines: Sequence[Sequence[tuple[float, float]]]
) -> None:
    """Write the labels once the layout is known: their places depend on where the points are on paper."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    figure.set_layout_engine("none")
    named = sorted((point for point in points if point.label), key=lambda point: point.role != "result")
    anchors = [_on_paper(axes, point.latency.value, point.quality.value) for point in named]
    sizes = []
    for point in named:
        text = figure.text(0, 0, point.label, fontsize=10.5, weight=_weight(point))
        extent = text.get_window_extent(canvas.get_renderer())
        sizes.append((extent.width + 2, extent.height))
        text.remove()
    frame = axes.get_window_extent()
    bounds = Box(frame.x0 + 2, frame.y0 + 2, frame.x1, frame.y1)
    obstacles = [box for point in points for box in _drawn_boxes(axes, point)]
    for line in lines:
        places = [_on_paper(axes, *corner) for corner in line]
        obstacles += [box for ends in pairwise(places) for box in _line_boxes(*ends)]
    for point, anchor, placed in zip(named, anchors, place(anchors, sizes, obstacles, bounds), strict=True):
        _write_label(axes, point, anchor, placed.box, joined=placed.far)


def _write_label(axes: Axes, point: Point, anchor: tuple[float, float], box: Box, *, joined: bool) -> None:
    middle = (box.left + box.right) / 2, (box.bottom + box.top) / 2
    if joined:
        edge = min(max(anchor[0], box.left), box.right), min(max(anchor[1], box.bottom), box.top)
        ends = axes.transData.inverted().transform([anchor, edge])
        axes.plot(ends[:, 0], ends[:, 1], color=_MUTED, linewidth=0.8, linestyle=(0, (1, 2)), zorder=2)
    x, y = axes.transData.inverted().transform(middle)
    colour = _MUTED if point.role == "baseline" else _INK
    axes.text(x, y, point.label, ha="center", va="center", fontsize=10.5, color=colour, weight=_weight(point), zorder=4)


def _weight(point: Point) -> str:
    return "bold" if point.role == "result" else "normal"


def _on_paper(axes: Axes, x: float, y: float) -> tuple[float, float]:
    across, up = axes.transData.transform((x, y))
    return float(across), float(up)


def _drawn_boxes(axes: Axes, point: Point) -> list[Box]:
    """What a point and its whiskers cover, in points of the paper."""
    x, y = _on_paper(axes, point.latency.value, point.quality.value)
    boxes = [Box(x - 5, y - 5, x + 5, y + 5)]
    for mark, upright in ((point.latency, False), (point.quality, True)):
        if mark.low is None or mark.high is None:
            continue
        ends = [(point.latency.value, end) if upright else (end, point.quality.value) for end in (mark.low, mark.high)]
        (left, bottom), (right, top) = (_on_paper(axes, *end) for end in ends)
        boxes.append(Box(left - 1.5, bottom - 1.5, right + 1.5, top + 1.5))
    return boxes


def _line_boxes(start: tuple[float, float], end: tuple[float, float]) -> list[Box]:
    """A slanting line as a chain of small boxes."""
    pieces = max(1, math.ceil(math.dist(start, end) / 4))
    shares = [piece / pieces for piece in range(pieces + 1)]
    middles = [tuple(a + (b - a) * share for a, b in zip(start, end, strict=True)) for share in shares]
    return [Box(x - 2, y - 2, x + 2, y + 2) for x, y in middles]


def _draw_units(axes: Axes, units: dict[int, int], colour: str, last: int) -> None:
    axes.bar(list(units), list(units.values()), color=colour, width=0.72)
    for layer, count in units.items():
        axes.annotate(
            f"{count}", (layer, count), xytext=(0, 2), textcoords="offset points", ha="center", fontsize=9, color=_MUTED
        )
    axes.set_xlim(-0.6, last + 0.6)
    axes.margins(y=0.24)
    axes.yaxis.set_major_locator(NullLocator())  # the counts stand on the bars
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(min(last + 1, 13), integer=True))
    axes.tick_params(axis="x", length=0)


def _svg(figure: Figure, name: str, alt: str) -> str:
    """The figure as SVG, with ids that are unique on a page of many charts, and its description inside."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    body = text.getvalue()
    body = body[body.index("<svg") :]  # the prologue names an address on the web, and browsers do without it
    body = re.sub(r'id="|(?<=")#|(?<=url\()#', lambda found: f"{found[0]}{name}-", body)
    described = f'{SVG_OPENING}{html.escape(alt)}"'
    return body.replace("<svg", described, 1)
