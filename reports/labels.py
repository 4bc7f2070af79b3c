"""Where to write the names of points so that no name covers a point, a whisker or another name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

_DISTANCES = (7.0, 14.0, 22.0, 32.0, 44.0, 58.0, 74.0, 92.0, 112.0, 134.0)
# Right first, since that reads best, then left, above, below and between.
_DIRECTIONS = tuple(
    math.radians(angle) for angle in (0, 180, 90, 270, 35, 325, 145, 215, 60, 300, 120, 240, 15, 345, 165, 195)
)
_OUTSIDE_COSTS = 100.0
_CROSSING_COSTS = 20.0


class Box(NamedTuple):
    """A rectangle with sides along the axes, in points."""

    left: float
    bottom: float
    right: float
    top: float

    def shared_area(self, other: Box) -> float:
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(width, 0.0) * max(height, 0.0)

    def area(self) -> float:
        return (self.right - self.left) * (self.top - self.bottom)


class Placed(NamedTuple):
    """A label's rectangle, and whether it is so far from its point that a line has to join them."""

    box: Box
    far: bool


def place(
    anchors: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    obstacles: Sequence[Box],
    bounds: Box,
) -> list[Placed]:
    """One rectangle of each size near each anchor, clear of obstacles and of each other where there is room.

    Labels are placed in order, each at the nearest free spot: the first ones have the best choice. Where there is no
    free spot, a label takes the one that covers least.

    >>> [placed.box.left for placed in place([(0, 0), (0, 0)], [(10, 4)] * 2, [], Box(-50, -50, 50, 50))]
    [7.0, -17.0]
    """
    taken: list[Box] = list(obstacles)
    chosen = []
    for anchor, size in zip(anchors, sizes, strict=True):
        best = _cheapest(anchor, size, taken, bounds)
        taken.append(best.box)
        chosen.append(best)
    return chosen


def _cheapest(anchor: tuple[float, float], size: tuple[float, float], taken: Sequence[Box], bounds: Box) -> Placed:
    """The spot that costs least, the first of equals; a free one is not bettered, and ends the search."""
    found, least = None, math.inf
    for distance in _DISTANCES:
        for direction in _DIRECTIONS:
            box = _beside(anchor, size, distance, direction)
            cost = _cost(box, taken, bounds, enough=least)
            if cost < least:
                cost += _crossed(anchor, box, taken)
            if cost < least:
                found, least = Placed(box, distance > _DISTANCES[1]), cost
            if least == 0:
                break
        if least == 0:
            break
    assert found is not None
    return found


def _beside(anchor: tuple[float, float], size: tuple[float, float], distance: float, direction: float) -> Box:
    """The rectangle whose edge, seen from the anchor in a direction, is at a distance."""
    across, up = math.cos(direction), math.sin(direction)
    x = anchor[0] + across * (distance + size[0] / 2)
    y = anchor[1] + up * (distance + size[1] / 2)
    return Box(x - size[0] / 2, y - size[1] / 2, x + size[0] / 2, y + size[1] / 2)


def _crossed(anchor: tuple[float, float], box: Box, taken: Sequence[Box]) -> float:
    """What the way from a point to its label costs: a label behind another point would seem to be that point's."""
    end = min(max(anchor[0], box.left), box.right), min(max(anchor[1], box.bottom), box.top)
    return _CROSSING_COSTS * sum(_meets(other, anchor, end) for other in taken if not _meets(other, anchor, anchor))


def _meets(box: Box, start: tuple[float, float], end: tuple[float, float]) -> bool:
    """True where the line from start to end touches the box: its part between each pair of sides is not empty."""
    first, last = 0.0, 1.0
    for low, high, begin, change in (
        (box.left, box.right, start[0], end[0] - start[0]),
        (box.bottom, box.top, start[1], end[1] - start[1]),
    ):
        if change == 0:
            if not low <= begin <= high:
                return False
            continue
        entry, leave = sorted(((low - begin) / change, (high - begin) / change))
        first, last = max(first, entry), min(last, leave)
    return first <= last


def _cost(box: Box, taken: Sequence[Box], bounds: Box, *, enough: float) -> float:
    """What a spot covers and sticks out by; counted no further than until it costs more than is `enough`."""
    cost = _OUTSIDE_COSTS * (box.area() - box.shared_area(bounds))
    for other in taken:
        if cost > enough:
            break
        cost += box.shared_area(other)
    return round(cost, 6)  # so that rounding noise does not choose
