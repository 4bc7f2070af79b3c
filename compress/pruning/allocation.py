"""Choose how many units each group keeps, and which layers stay, so that a target is met; and which units, given their
scores."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compress.anatomy import Anatomy, Group
from compress.errors import ModelError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

Cost = Callable[[Anatomy], int]
Block = Callable[[Group], int]


@dataclass(frozen=True)
class Scored:
    """What may leave a model, and what it is worth.

    Attributes:
        anatomy: of the whole model.
        groups: whose units may leave, the hidden size among them where it may.
        scores: one a unit of each group.
        layers: what each layer that runs is worth, where whole layers may leave; else None.
        block: units of a group that leave together.
    """

    anatomy: Anatomy
    groups: Sequence[Group]
    scores: Sequence[Float[Tensor, "unit"]]
    layers: Sequence[float] | None
    block: Block

    def mask(self, group: Group, kept: Kept) -> Bool[Tensor, "unit"]:
        """True for the units of a group that stay: its strongest."""
        place = list(self.groups).index(group)
        return strongest(self.scores[place], kept.units.get(group.name, group.units))

    def within(self, layer: int) -> list[int]:
        """Places of the groups of one layer that runs."""
        owner = self.anatomy.runs[layer]
        return [place for place, group in enumerate(self.groups) if group.layer == owner]


@dataclass(frozen=True)
class Kept:
    """What stays of a model: so many units of groups, by name, and these of the layers that run."""

    units: Mapping[str, int]
    layers: tuple[int, ...]

    def of(self, anatomy: Anatomy) -> Anatomy:
        """The anatomy of what stays."""
        cut = anatomy.with_units(self.units)
        return cut if len(self.layers) == anatomy.layers else cut.with_layers(self.layers)

    def as_json(self) -> dict[str, Any]:
        return {"units": dict(self.units), "layers": list(self.layers)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Kept:
        return cls(document["units"], tuple(document["layers"]))


def everything(anatomy: Anatomy, groups: Sequence[Group]) -> Kept:
    return Kept({group.name: group.units for group in groups}, tuple(range(anatomy.layers)))


def by_rank(scored: Scored, *, budget: float, cost: Cost, of: float | None = None) -> Kept:
    """The units with the lowest score per cost leave first, over all groups at once, until the cost is in the budget.

    Units of a group leave in blocks, the weakest first, so that what stays is a multiple of one; every group keeps at
    least one. Where layers may leave, what is left of one does so as a whole when it is the cheapest: once its groups
    have nothing more to give, or at once where no group of it may be cut.

    Args:
        of: what the cost is told as a fraction of, in a fault: of the model that came in, where this is a later cut.

    Raises:
        ModelError: the budget is below what the smallest model costs; the message names the nearest reachable.
    """
    return _Ranking(scored, cost).down_to(budget, of)


class _Ranking:
    """The state of `by_rank`: what is left, and what may leave next, the cheapest first."""

    def __init__(self, scored: Scored, cost: Cost) -> None:
        self.scored, self.cost = scored, cost
        whole = scored.anatomy
        self.units = {group.name: group.units for group in scored.groups}
        self.layers = list(range(whole.layers))
        self.ordered = [score.argsort(stable=True) for score in scored.scores]
        self.unit_costs = [
            cost(whole) - cost(whole.with_units({group.name: group.units - 1})) if group.units > 1 else 0
            for group in scored.groups
        ]
        self.waiting: list[tuple[float, str, int]] = []
        for place in range(len(scored.groups)):
            self._offer_block(place)
        if scored.layers is not None:
            for layer in self.layers:
                self._offer_layer(layer)

    @property
    def kept(self) -> Kept:
        return Kept(dict(self.units), tuple(self.layers))

    def down_to(self, budget: float, of: float | None) -> Kept:
        while self.cost(self.kept.of(self.scored.anatomy)) > budget:
            if not self.waiting:
                raise _unreachable(self.scored.anatomy, self.cost, self.kept, budget, of)
            _, what, place = heapq.heappop(self.waiting)
            if what == "layer":
                self._drop(place)
            elif self._stays(place):
                group = self.scored.groups[place]
                self.units[group.name] -= next_block(self.units[group.name], self.scored.block(group))
                self._offer_block(place)
        return self.kept

    def _stays(self, place: int) -> bool:
        """Whether the layer of a group has not left meanwhile."""
        owner = self.scored.groups[place].layer
        return owner is None or any(self.scored.anatomy.runs[layer] == owner for layer in self.layers)

    def _offer_block(self, place: int) -> None:
        group, left = self.scored.groups[place], self.units[self.scored.groups[place].name]
        size = next_block(left, self.scored.block(group))
        if size < left and self.unit_costs[place] > 0:
            start = group.units - left
            leaving = self.scored.scores[place][self.ordered[place][start : start + size]]
            value = float(leaving.sum()) / (size * self.unit_costs[place])
            heapq.heappush(self.waiting, (value, "block", place))
        elif self.scored.layers is not None and group.layer is not None:
            for layer in self.layers:
                if self.scored.anatomy.runs[layer] == group.layer:
                    self._offer_layer(layer)

    def _offer_layer(self, layer: int) -> None:
        """Offer what is left of a layer, once none of its groups has a block to give."""
        assert self.scored.layers is not None, "asked where layers may leave"
        places = self.scored.within(layer)
        groups = [self.scored.groups[place] for place in places]
        if any(next_block(self.units[g.name], self.scored.block(g)) < self.units[g.name] for g in groups):
            return
        others = tuple(each for each in self.layers if each != layer)
        if not others:
            return
        gone = sum(
            float(self.scored.scores[place][self.ordered[place][: group.units - self.units[group.name]]].sum())
            for place, group in zip(places, groups, strict=True)
        )
        now = self.cost(self.kept.of(self.scored.anatomy))
        saved = now - self.cost(Kept(self.units, others).of(self.scored.anatomy))
        if saved > 0:
            heapq.heappush(self.waiting, ((self.scored.layers[layer] - gone) / saved, "layer", layer))

    def _drop(self, layer: int) -> None:
        if layer in self.layers and len(self.layers) > 1:
            self.layers.remove(layer)


def evenly(scored: Scored, *, budget: float, cost: Cost, of: float | None = None) -> Kept:
    """The same fraction of every group's units, and of the layers where they may leave, the strongest: the largest
    fraction that is within the budget.

    Rounding makes many groups lose a block at the same fraction; the first of them keep theirs where the budget allows.

    Args:
        of: as in `by_rank`.

    Raises:
        ModelError: the budget is below what the smallest model costs; the message names the nearest reachable.
    """
    anatomy = scored.anatomy
    steps = max([anatomy.layers, *(group.units for group in scored.groups)])
    larger = everything(anatomy, scored.groups)
    for step in range(steps, -1, -1):
        left = _share(scored, step / steps)
        if cost(left.of(anatomy)) <= budget:
            for name, count in larger.units.items():
                tried = Kept({**left.units, name: count}, left.layers)
                left = tried if cost(tried.of(anatomy)) <= budget else left
            return left
        larger = left
    raise _unreachable(anatomy, cost, larger, budget, of)


def smallest(scored: Scored) -> Kept:
    """One unit or block of every group, and one layer where layers may leave."""
    return _share(scored, 0.0)


def strongest(scores: Float[Tensor, "unit"], count: int) -> Bool[Tensor, "unit"]:
    """True for the `count` units with the highest scores; the earlier unit wins a tie.

    >>> import torch
    >>> strongest(torch.tensor([3.0, 1.0, 2.0]), 2)
    tensor([ True, False,  True])
    """
    import torch

    keep = torch.zeros(len(scores), dtype=torch.bool)
    keep[scores.argsort(descending=True, stable=True)[:count]] = True
    return keep


def next_block(count: int, size: int) -> int:
    """Units that leave next, so that what stays is a multiple of the block; all of the last block."""
    return count % size or size


def _strongest_layers(scored: Scored, count: int) -> tuple[int, ...]:
    every = range(scored.anatomy.layers)
    if scored.layers is None:
        return tuple(every)
    worth = scored.layers
    return tuple(sorted(sorted(every, key=lambda layer: -worth[layer])[:count]))


def _share(scored: Scored, fraction: float) -> Kept:
    """So much of each group's units and of the layers, rounded to blocks, and one at least."""
    units = {g.name: _rounded(g.units * fraction, scored.block(g), g.units) for g in scored.groups}
    return Kept(units, _strongest_layers(scored, max(1, round(scored.anatomy.layers * fraction))))


def _rounded(count: float, size: int, units: int) -> int:
    """`count` as a whole number of blocks, at least one, and never more than there are units."""
    return min(units, max(1, round(count / size)) * size)


def _unreachable(anatomy: Anatomy, cost: Cost, least: Kept, budget: float, of: float | None) -> ModelError:
    whole = cost(anatomy) if of is None else of
    layers = "" if len(least.layers) == anatomy.layers else " that stays"
    return ModelError(
        f"prune: the target is {budget / whole:.3f} of what came in; the nearest that these axes can reach "
        f"is {cost(least.of(anatomy)) / whole:.3f}, with one unit or block left in every layer{layers}"
    )
