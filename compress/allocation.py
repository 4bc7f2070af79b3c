"""Choose how many units each group keeps, so that a target is met; and which, given their scores."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from compress.errors import ModelError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

    from compress.anatomy import Anatomy, Group

Cost = Callable[["Anatomy"], int]
UnitCost = Callable[["Group"], int]


def by_rank(
    anatomy: Anatomy,
    groups: Sequence[Group],
    scores: Sequence[Float[Tensor, "unit"]],
    *,
    budget: float,
    cost: Cost,
    unit_cost: UnitCost,
    block: Callable[[Group], int],
) -> list[int]:
    """Units to keep of each group: those with the lowest score per cost leave first,
    over all groups at once, until the cost is within the budget.

    Units of a group leave in blocks of `block(group)`, the weakest first, so that what stays is a multiple of it.
    Every group keeps at least one block.

    Raises:
        ModelError: the budget is below what the smallest model costs; the message names the nearest reachable.
    """
    order = [score.argsort(stable=True) for score in scores]
    kept = [group.units for group in groups]
    units = {group.name: group.units for group in groups}
    waiting: list[tuple[float, int]] = []

    def offer(index: int) -> None:
        size = _next_block(kept[index], block(groups[index]))
        if size < kept[index]:
            start = groups[index].units - kept[index]
            value = float(scores[index][order[index][start : start + size]].sum()) / (size * unit_cost(groups[index]))
            heapq.heappush(waiting, (value, index))

    for index in range(len(groups)):
        offer(index)
    while cost(anatomy.with_units(units)) > budget:
        if not waiting:
            raise _unreachable(anatomy, cost, units, budget)
        _, index = heapq.heappop(waiting)
        kept[index] -= _next_block(kept[index], block(groups[index]))
        units[groups[index].name] = kept[index]
        offer(index)
    return kept


def evenly(
    anatomy: Anatomy,
    groups: Sequence[Group],
    *,
    budget: float,
    cost: Cost,
    block: Callable[[Group], int],
) -> list[int]:
    """Units to keep of each group: the same fraction of all, the largest fraction that is within the budget.

    Rounding makes many groups lose a block at the same fraction; the first of them keep theirs where the budget allows.

    Raises:
        ModelError: the budget is below what the smallest model costs; the message names the nearest reachable.
    """
    steps = max(group.units for group in groups)
    larger = [group.units for group in groups]
    for step in range(steps, -1, -1):
        counts = [_rounded(group.units * step / steps, block(group), group.units) for group in groups]
        if _cost_of(counts, anatomy, groups, cost) <= budget:
            for index, count in enumerate(larger):
                tried = [*counts[:index], count, *counts[index + 1 :]]
                counts = tried if _cost_of(tried, anatomy, groups, cost) <= budget else counts
            return counts
        larger = counts
    raise _unreachable(anatomy, cost, _by_name(groups, larger), budget)


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


def _by_name(groups: Sequence[Group], counts: Sequence[int]) -> dict[str, int]:
    return {group.name: count for group, count in zip(groups, counts, strict=True)}


def _cost_of(counts: Sequence[int], anatomy: Anatomy, groups: Sequence[Group], cost: Cost) -> int:
    return cost(anatomy.with_units(_by_name(groups, counts)))


def _next_block(kept: int, size: int) -> int:
    """How many units leave next: first the odd ones above a multiple of `size`, then whole blocks."""
    return kept % size or size


def _rounded(count: float, size: int, units: int) -> int:
    """`count` as a whole number of blocks, at least one, and never more than there are units."""
    return min(units, max(1, round(count / size)) * size)


def _unreachable(anatomy: Anatomy, cost: Cost, units: dict[str, int], budget: float) -> ModelError:
    nearest = cost(anatomy.with_units(units)) / cost(anatomy)
    return ModelError(
        f"prune: the target is {budget / cost(anatomy):.3f} of what came in; the nearest that these axes can reach "
        f"is {nearest:.3f}, with one unit or block left in every layer"
    )
