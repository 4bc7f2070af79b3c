"""Quality against a cost: every target as a point with its intervals, the Pareto front as stairs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import altair as alt

from reports.charts.mark import Mark, tooltip
from reports.charts.theme import (
    INK,
    MUTED,
    SHAPES,
    WIDE,
    Spec,
    colour_of,
    data,
    extent,
    finished,
    legend_toggle,
    log_axis,
    log_ticks,
    run_colour,
    shown_if,
    whiskers,
    zoom,
)
from reports.labels import Box, place

_HEIGHT = 360
_LETTER, _LINE = 6.4, 14.0  # pixels of a letter on average and of a line, at the size that names are written in
_FEWEST_PIXELS = 440  # in a narrower drawing names would cover points: there the legend alone tells who is who


@dataclass(frozen=True)
class Point:
    """A target between quality and a cost. `role` is baseline, step or result; `run` counts from 0.

    `name` shows on pointing, `group` stands in the legend, and `label` beside the point, where there is one.
    """

    name: str
    group: str
    label: str
    role: str
    cost: Mark
    quality: Mark
    run: int = 0


def tradeoff(
    points: Sequence[Point],
    *,
    x_title: str,
    y_title: str,
    front: Sequence[int],
    paths: Sequence[Sequence[int]] = (),
    several_runs: bool = False,
) -> Spec:
    """Quality over cost. `front` are the points on the Pareto front, the cheapest first; each of `paths` are the points
    that one run went through, in order.

    The front is drawn as stairs: what is reached for a cost, until the next point is paid for.
    """
    frame = _Frame.around(points)
    rows = [_row(point, label) for point, label in zip(points, _labels(points, frame, front, paths), strict=True)]
    x = alt.X("cost:Q", title=x_title, scale=frame.x, axis=frame.ticks)
    y = alt.Y("value:Q", title=y_title, scale=frame.y, axis=alt.Axis(tickCount=6))
    shown, looks = legend_toggle("group"), _looks(points, several_runs=several_runs)
    colour, shape = (_by_group(channel, looks) for channel in (alt.Color, alt.Shape))
    base = alt.Chart(data(rows)).encode(opacity=shown_if(shown))
    told = tooltip(alt.Tooltip("target:N", title="target"), alt.Tooltip("cost_text:N", title="cost"), figure="quality")
    dots = base.mark_point(filled=True, size=90).encode(x=x, y=y, color=colour, shape=shape, tooltip=told)
    view = alt.layer(
        *_lines(points, front, paths),
        dots.add_params(shown, zoom("x", "y")),  # first of those in the legend: by it the legend can be clicked
        whiskers(base, upright=True, x=x, color=colour),
        whiskers(base, low="cost_low", high="cost_high", y=y, color=colour),
        *_names(base, x, y),
    )
    return finished(view.properties(width=WIDE, height=_HEIGHT))


@dataclass(frozen=True)
class _Frame:
    """What the axes span, and where a value lies between them in the SVG file."""

    costs: tuple[float, float]
    qualities: tuple[float, float]
    log: bool

    @classmethod
    def around(cls, points: Sequence[Point]) -> _Frame:
        values = [point.cost.value for point in points]
        # A log axis over less would carry hardly a tick.
        log = min(values) > 0 and max(values) / min(values) >= 3
        ends = [end for point in points for end in _ends(point.cost) if end > 0 or not log]
        low, high = extent([math.log(end) for end in ends] if log else ends, low=0.08, high=0.12)
        qualities = extent([end for point in points for end in _ends(point.quality)], low=0.1, high=0.1)
        return cls((math.exp(low), math.exp(high)) if log else (low, high), qualities, log)

    @property
    def x(self) -> alt.Scale:
        kind = {"type": "log"} if self.log else {"type": "linear", "zero": False}
        return alt.Scale(domain=list(self.costs), nice=False, **kind)

    @property
    def y(self) -> alt.Scale:
        return alt.Scale(domain=list(self.qualities), nice=False, zero=False)

    @property
    def ticks(self) -> alt.Axis:
        """Few and round on a log axis, of all magnitudes, so that there are some wherever a reader zooms to."""
        if not self.log:
            return alt.Axis()
        return log_axis(log_ticks(self.costs[0] / 100, self.costs[1] * 100), format="~g")

    def place(self, cost: float, quality: float) -> tuple[float, float]:
        """Pixels from the lower left corner."""
        ends = [math.log(each) for each in (*self.costs, max(cost, self.costs[0]))] if self.log else [*self.costs, cost]
        across = (ends[2] - ends[0]) / (ends[1] - ends[0])
        up = (quality - self.qualities[0]) / (self.qualities[1] - self.qualities[0])
        return across * WIDE, up * _HEIGHT


def _ends(mark: Mark) -> list[float]:
    return [end for end in (mark.low, mark.value, mark.high) if end is not None]


def _row(point: Point, label: dict[str, Any]) -> dict[str, Any]:
    cost = point.cost.row()
    paid = {"cost": cost["value"], "cost_low": cost["low"], "cost_high": cost["high"]}
    paid["cost_text"] = f"{point.cost.text} ({point.cost.interval})" if point.cost.interval else point.cost.text
    return {"target": point.name, "group": point.group, **paid, **point.quality.row(), **label}


def _looks(points: Sequence[Point], *, several_runs: bool) -> dict[str, tuple[str, str]]:
    """A colour and a shape for each group: colours tell roles, or runs where there are several; shapes the rest."""
    seen: dict[str, int] = {}
    looks: dict[str, tuple[str, str]] = {}
    for point in points:
        if point.group not in looks:
            by_run = several_runs and point.role != "baseline"
            colour = run_colour(point.run) if by_run else colour_of(point.role)
            looks[point.group] = colour, SHAPES[seen.get(colour, 0) % len(SHAPES)]
            seen[colour] = seen.get(colour, 0) + 1
    return looks


def _by_group(channel: Any, looks: Mapping[str, tuple[str, str]]) -> Any:
    """The colour or the shape channel: the two have one legend, as they say the same."""
    values = [look[channel is alt.Shape] for look in looks.values()]
    return channel("group:N", title=None, scale=alt.Scale(domain=list(looks), range=values))


def _lines(points: Sequence[Point], front: Sequence[int], paths: Sequence[Sequence[int]]) -> Iterator[alt.Chart]:
    """The front's stairs, and the ways that runs went."""
    drawn: list[tuple[Sequence[int], Any, list[int], float]] = [(front, "step-after", [1, 0], 1.8)]
    drawn += [(path, "linear", [2, 3], 1.2) for path in paths]
    for chosen, interpolation, dash, width in drawn:
        corners = _corners(points, chosen)
        if len(corners) > 1:
            line = alt.Chart(data(corners)).mark_line(
                interpolate=interpolation, strokeDash=dash, strokeWidth=width, color=MUTED, opacity=0.8
            )
            yield line.encode(x="cost:Q", y="value:Q", order="order:Q")


def _corners(points: Sequence[Point], chosen: Sequence[int]) -> list[dict[str, Any]]:
    return [
        {"cost": points[index].cost.value, "value": points[index].quality.value, "order": order}
        for order, index in enumerate(chosen)
    ]


def _names(base: alt.Chart, x: alt.X, y: alt.Y) -> Iterator[alt.Chart]:
    """Each name where there is room for it, and a dotted line to its point where that is not beside it."""
    roomy = f"width < {_FEWEST_PIXELS} ? 0 : 1"
    named = base.transform_filter("datum.label != ''").encode(x=x, y=y)
    far = named.transform_filter("datum.far").mark_rule(
        color=MUTED,
        strokeDash=[1, 2],
        strokeWidth=1,
        strokeOpacity=alt.expr(roomy),
        x2Offset=alt.expr("datum.edge_x"),
        y2Offset=alt.expr("datum.edge_y"),
    )
    yield far.encode(x2="cost:Q", y2="value:Q")
    for strong in (False, True):
        text = named.transform_filter(f"datum.strong == {'true' if strong else 'false'}").mark_text(
            dx=alt.expr("datum.dx"),
            dy=alt.expr("datum.dy"),
            color=INK if strong else MUTED,
            fontWeight="bold" if strong else "normal",
            fillOpacity=alt.expr(roomy),
        )
        yield text.encode(text="label:N")


def _labels(
    points: Sequence[Point], frame: _Frame, front: Sequence[int], paths: Sequence[Sequence[int]]
) -> list[dict[str, Any]]:
    """For each point the offsets of its name in pixels; the result's name is placed first and has the best place."""
    order = sorted((i for i, p in enumerate(points) if p.label), key=lambda i: points[i].role != "result")
    anchors = [frame.place(points[i].cost.value, points[i].quality.value) for i in order]
    sizes = [(_LETTER * len(points[i].label) + 2, _LINE) for i in order]
    obstacles = [box for point in points for box in _covered(frame, point)]
    for chosen in (_stairs([points[i] for i in front]), *([_value(points[i]) for i in path] for path in paths)):
        corners = [frame.place(*corner) for corner in chosen]
        obstacles += [box for ends in pairwise(corners) for box in _line_boxes(*ends)]
    found = place(anchors, sizes, obstacles, Box(2, 2, WIDE, _HEIGHT))
    labels: list[dict[str, Any]] = [{"label": ""} for _ in points]
    for index, anchor, placed in zip(order, anchors, found, strict=True):
        strong = points[index].role == "result"
        labels[index] = {
            "label": points[index].label,
            "strong": strong,
            "far": placed.far,
            **_offsets(anchor, placed.box),
        }
    return labels


def _offsets(anchor: tuple[float, float], box: Box) -> dict[str, float]:
    """From the point to the middle of its name, and to the name's nearest edge; down counts as more."""
    middle = (box.left + box.right) / 2, (box.bottom + box.top) / 2
    edge = min(max(anchor[0], box.left), box.right), min(max(anchor[1], box.bottom), box.top)
    places = {"dx": middle[0] - anchor[0], "dy": anchor[1] - middle[1]}
    places |= {"edge_x": edge[0] - anchor[0], "edge_y": anchor[1] - edge[1]}
    return {name: round(offset, 1) for name, offset in places.items()}


def _value(point: Point) -> tuple[float, float]:
    return point.cost.value, point.quality.value


def _stairs(points: Sequence[Point]) -> list[tuple[float, float]]:
    corners = [_value(point) for point in points]
    between = [(after[0], before[1]) for before, after in pairwise(corners)]
    return [corner for pair in zip(corners, [*between, *corners[-1:]], strict=True) for corner in pair]


def _covered(frame: _Frame, point: Point) -> list[Box]:
    """What a point and its whiskers cover, in pixels."""
    x, y = frame.place(*_value(point))
    boxes = [Box(x - 6, y - 6, x + 6, y + 6)]
    across, up = _ends(point.cost), _ends(point.quality)
    left, right = (frame.place(end, point.quality.value)[0] for end in (across[0], across[-1]))
    low, high = (frame.place(point.cost.value, end)[1] for end in (up[0], up[-1]))
    return [*boxes, Box(left, y - 1.5, right, y + 1.5), Box(x - 1.5, low, x + 1.5, high)]


def _line_boxes(start: tuple[float, float], end: tuple[float, float]) -> list[Box]:
    """A line along an axis as one box, a slanting one as a chain of small ones."""
    if start[0] == end[0] or start[1] == end[1]:
        (left, right), (bottom, top) = (sorted(pair) for pair in zip(start, end, strict=True))
        return [Box(left - 2, bottom - 2, right + 2, top + 2)]
    pieces = math.ceil(math.dist(start, end) / 6)
    shares = [piece / pieces for piece in range(pieces + 1)]
    middles = [(start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share) for share in shares]
    return [Box(x - 2, y - 2, x + 2, y + 2) for x, y in middles]
