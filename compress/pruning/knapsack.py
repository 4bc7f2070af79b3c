"""Choose how many units each group keeps, and which layers stay, so that as little as can be is lost within a budget:
exactly, not greedily."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

from compress.anatomy import Anatomy, Group
from compress.errors import ModelError
from compress.pruning.allocation import Cost, Kept, Scored

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

STEPS = 10_000
"""Equal parts of the budget that costs are counted in, rounded up: a choice never costs more than the budget, and what
is left unused for rounding is at most so many parts as there are groups and layers."""


class Costs(Protocol):
    """What the parts of a model cost, in any unit; they add up to the whole model's."""

    def group(self, group: Group, units: int) -> float:
        """Of a layer's group that keeps so many units; its own may follow its width in any way."""

    def layer(self, layer: int) -> float:
        """Of a layer, beside its groups: what leaves with it as well when it leaves as a whole."""

    def whole(self) -> float:
        """Of the model with all that it has."""


@dataclass(frozen=True)
class Counted:
    """Costs that can be counted on an anatomy."""

    anatomy: Anatomy
    cost: Cost

    def group(self, group: Group, units: int) -> float:
        return float(units * self._units[group.name])

    @cached_property
    def _units(self) -> dict[str, int]:
        """What one unit of each group costs, at this hidden size."""
        whole = self.cost(self.anatomy)
        return {
            group.name: whole - self.cost(self.anatomy.with_units({group.name: group.units - 1}))
            for group in self.anatomy.groups
        }

    def layer(self, layer: int) -> float:
        if self.anatomy.layers == 1:
            return 0.0
        others = [each for each in range(self.anatomy.layers) if each != layer]
        gone = self.cost(self.anatomy) - self.cost(self.anatomy.with_layers(others))
        mine = [group for group in self.anatomy.groups if group.layer == layer]
        return float(gone) - sum(self.group(group, group.units) for group in mine)

    def whole(self) -> float:
        return float(self.cost(self.anatomy))


def optimal(scored: Scored, *, budget: float, costs_of: Callable[[Anatomy], Costs], of: float | None = None) -> Kept:
    """Those choices whose removed scores add up to the least of all within the budget.

    A group keeps whole blocks, and at least one; within it the strongest units stay. A layer that may leave as a whole
    costs nothing then, and loses what it is worth. This is the multiple-choice knapsack problem, solved by dynamic
    programming over what is spent (Kellerer, Pferschy and Pisinger 2004, "Knapsack Problems", section 11.5). The hidden
    size changes what all else costs, so each of its widths is solved for, and the best taken.

    Args:
        budget: for the whole model.
        costs_of: the costs of a model of another hidden size, all else being whole.
        of: what the cost is told as a fraction of, in a fault: of the model that came in, where this is a later cut.

    Raises:
        ModelError: the budget is below what the smallest choice costs; the message names the nearest reachable.
    """
    best: tuple[float, Kept] | None = None
    nearest = np.inf
    for width, loss in _widths(scored):
        anatomy = scored.anatomy if width is None else scored.anatomy.with_units({"hidden": width})
        problem = _Problem.of(replace(scored, anatomy=anatomy), costs_of(anatomy))
        nearest = min(nearest, problem.least)
        found = problem.solved(budget)
        if found is not None and (best is None or loss + found[0] < best[0]):
            units = found[1].units if width is None else {**found[1].units, "hidden": width}
            best = (loss + found[0], Kept(units, found[1].layers))
    if best is None:
        whole = costs_of(scored.anatomy).whole() if of is None else of
        raise ModelError(
            f"prune: the target is {budget / whole:.3f} of what came in; the nearest that these axes can reach is "
            f"{nearest / whole:.3f}, with one unit or block left in every layer"
        )
    return best[1]


def _widths(scored: Scored) -> Iterator[tuple[int | None, float]]:
    """Each hidden size that may stay, and what is lost with it; None where it is not to be cut."""
    for group, score in zip(scored.groups, scored.scores, strict=True):
        if group.axis == "hidden":
            counts = _counts(group, scored.block(group))
            yield from zip(counts, _lost(score, counts).tolist(), strict=True)
            return
    yield None, 0.0


@dataclass(frozen=True)
class _Part:
    """A group, or all that a layer has beside its groups: what may be kept, what that costs and what goes with it."""

    name: str | None
    counts: Sequence[int]
    costs: Sequence[float]
    losses: np.ndarray


@dataclass(frozen=True)
class _Problem:
    """The choices of each layer, and what is in none."""

    layers: Sequence[tuple[Sequence[_Part], Sequence[int], float | None]]
    """Of each layer with weights of its own: its parts, the runs that share them, and what it is worth; None where it
    has to stay."""
    rest: float
    """What all else costs, which is always there."""

    @classmethod
    def of(cls, scored: Scored, costs: Costs) -> _Problem:
        chosen = {group.name: score for group, score in zip(scored.groups, scored.scores, strict=True)}
        runs = scored.anatomy.runs
        layers = []
        for owner in dict.fromkeys(runs):
            parts = [
                _part(group, chosen.get(group.name), scored.block, costs)
                for group in scored.anatomy.groups
                if group.layer == owner
            ]
            its = [run for run, layer in enumerate(runs) if layer == owner]
            worth = None
            if scored.layers is not None:
                worth = scored.layers[owner]
                parts.append(_Part(None, [0], [costs.layer(owner)], np.zeros(1)))
            layers.append((parts, its, worth))
        inside = sum(part.costs[0] for parts, _, _ in layers for part in parts)
        return cls(layers, costs.whole() - inside)

    @property
    def least(self) -> float:
        """What the smallest choice costs: one layer stays in any case."""
        smallest = [(sum(min(part.costs) for part in parts), worth) for parts, _, worth in self.layers]
        forced = [cost for cost, worth in smallest if worth is None]
        return self.rest + (sum(forced) if forced else min(cost for cost, _ in smallest))

    def solved(self, budget: float) -> tuple[float, Kept] | None:
        """What is lost at the least, and how; None where nothing is within the budget."""
        room = budget - self.rest
        if self.least > budget or room <= 0:
            return None
        best = np.zeros(STEPS + 1)
        steps = []
        for parts, _, worth in self.layers:
            before, inside = best, []
            for part in parts:
                best, places = _spread(best, part, room)
                inside.append(places)
            if worth is None:
                left = np.zeros(STEPS + 1, dtype=bool)
            else:
                left = before + worth < best
                best = np.where(left, before + worth, best)
            steps.append((inside, left))
        if np.isfinite(best[STEPS]):
            kept = self._read_back(steps, room)
            if kept.layers:
                return float(best[STEPS]), kept
        return self._smallest()  # so near to the least that rounding up leaves no room

    def _smallest(self) -> tuple[float, Kept]:
        """The choice that costs least, and what is lost with it."""
        costs = [sum(min(part.costs) for part in parts) for parts, _, _ in self.layers]
        forced = [place for place, (_, _, worth) in enumerate(self.layers) if worth is None]
        stay = forced or [int(np.argmin(costs))]
        lost, units, layers = 0.0, dict[str, int](), list[int]()
        for place, (parts, its, worth) in enumerate(self.layers):
            if place not in stay:
                lost += worth or 0.0
                continue
            layers += its
            for part in parts:
                cheapest = int(np.argmin(part.costs))
                lost += float(part.losses[cheapest])
                if part.name is not None:
                    units[part.name] = part.counts[cheapest]
        return lost, Kept(units, tuple(sorted(layers)))

    def _read_back(self, steps: Sequence[tuple[Sequence[np.ndarray], np.ndarray]], room: float) -> Kept:
        """The choice of each group, from the last layer to the first."""
        spent, units, layers = STEPS, dict[str, int](), list[int]()
        for (parts, its, _), (inside, left) in zip(reversed(self.layers), reversed(steps), strict=True):
            if left[spent]:
                continue
            layers += its
            for part, places in zip(reversed(parts), reversed(inside), strict=True):
                place = int(places[spent])
                if part.name is not None:
                    units[part.name] = part.counts[place]
                spent -= _parts(part.costs[place], room)
        return Kept(units, tuple(sorted(layers)))


def _part(group: Group, score: Float[Tensor, "unit"] | None, block: Callable[[Group], int], costs: Costs) -> _Part:
    counts = [group.units] if score is None else _counts(group, block(group))
    losses = np.zeros(1) if score is None else _lost(score, counts)
    return _Part(group.name, counts, [costs.group(group, count) for count in counts], losses)


def _counts(group: Group, size: int) -> list[int]:
    """What may be kept of a group: all, then whole blocks down to one."""
    whole = [count for count in range(group.units - 1, 0, -1) if count % size == 0]
    return [group.units, *whole]


def _lost(score: Float[Tensor, "unit"], counts: Sequence[int]) -> np.ndarray:
    """What goes with the weakest units, for each number that is kept."""
    ordered = np.sort(np.asarray(score.tolist(), dtype=np.float64))
    upto = np.concatenate([[0.0], np.cumsum(ordered)])
    return upto[len(ordered) - np.asarray(counts)]


def _parts(cost: float, budget: float) -> int:
    return max(0, int(np.ceil(cost / budget * STEPS - 1e-9)))


def _spread(best: np.ndarray, part: _Part, room: float) -> tuple[np.ndarray, np.ndarray]:
    """The least that can be lost with at most s parts spent, one more part of the model decided; and its choice."""
    tried = np.full((len(part.counts), STEPS + 1), np.inf)
    for place, (loss, cost) in enumerate(zip(part.losses, part.costs, strict=True)):
        spent = _parts(cost, room)
        if spent <= STEPS:
            tried[place, spent:] = best[: STEPS + 1 - spent] + loss
    places = tried.argmin(axis=0)
    return tried[places, np.arange(STEPS + 1)], places
