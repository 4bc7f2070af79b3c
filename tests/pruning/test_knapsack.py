"""Laws of the exact allocation: nothing within the budget loses less, and it is never worse than the greedy one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny_bundle

from compress.anatomy import Amount, Anatomy, Group
from compress.dissection import hidden_group
from compress.errors import ModelError
from compress.pruning.allocation import Kept, Scored, by_rank
from compress.pruning.knapsack import Counted, optimal
from compress.pruning.target import Target

_NOTHING = dict.fromkeys(("embeddings", "encoder", "head"), Amount())


def _one(_group: Group) -> int:
    return 1


class Prices:
    """Costs that add up from a price a width; a layer and the rest have one of their own."""

    def __init__(self, price: Callable[[Group, int], float], layer: float = 0.0, rest: float = 0.0) -> None:
        self.group = price
        self._layer, self._rest = layer, rest
        self.groups: Sequence[Group] = ()

    def layer(self, _layer: int) -> float:
        return self._layer

    def whole(self) -> float:
        layers = len(self.groups) * self._layer
        return self._rest + layers + sum(self.group(group, group.units) for group in self.groups)


def _price(group: Group, count: int) -> float:
    return float(count * group.unit_parameters)


def _optimal(
    groups: Sequence[Group],
    scores: Sequence[torch.Tensor],
    *,
    budget: float,
    prices: Prices | None = None,
    block: int = 1,
    layers: Sequence[float] | None = None,
) -> Kept:
    anatomy = Anatomy("bert", len(groups), tuple(groups), 1, _NOTHING)
    scored = Scored(anatomy, groups, scores, layers, lambda _: block)
    costs = prices or Prices(_price)
    costs.groups = groups
    return optimal(scored, budget=budget, costs_of=lambda _anatomy: costs)


def _kept(groups: Sequence[Group], *arguments: Any, **options: Any) -> list[int]:
    found = _optimal(groups, *arguments, **options)
    return [found.units[group.name] for group in groups]


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[Group], list[torch.Tensor]]:
    """Two or three groups of up to five units with scores of any kind."""
    groups, scores = [], []
    for layer in range(draw(st.integers(2, 3))):
        units = draw(st.integers(1, 5))
        groups.append(Group("ffn", layer, units, (), draw(st.integers(1, 9)), 1, heads=1))
        scores.append(torch.tensor(draw(st.lists(st.floats(0, 1, width=32), min_size=units, max_size=units))))
    return groups, scores


def lost(scores: list[torch.Tensor], kept: list[int]) -> float:
    return sum(
        float(score.sort().values[: len(score) - count].sum()) for score, count in zip(scores, kept, strict=True)
    )


def spent(groups: list[Group], kept: list[int]) -> float:
    return sum(_price(group, count) for group, count in zip(groups, kept, strict=True))


@given(problems(), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_nothing_within_the_budget_loses_less(problem: tuple[list[Group], list[torch.Tensor]], share: float):
    groups, scores = problem
    least, whole = spent(groups, [1] * len(groups)), spent(groups, [group.units for group in groups])
    budget = least + share * (whole - least)
    kept = _kept(groups, scores, budget=budget)
    assert spent(groups, kept) <= budget + 1e-9
    choices = product(*(range(1, group.units + 1) for group in groups))
    # Rounding up may leave some parts in ten thousand of the budget unused.
    others = [lost(scores, list(each)) for each in choices if spent(groups, list(each)) <= budget * 0.999]
    assert lost(scores, kept) <= min(others, default=torch.inf) + 1e-6


@given(st.integers(0, 1000), st.floats(0.3, 0.95))
@settings(max_examples=30, deadline=None)
def test_it_is_never_worse_than_the_greedy_one(seed: int, share: float):
    generator = torch.Generator().manual_seed(seed)
    groups = [Group("ffn", layer, 40, (), 1 + 6 * (layer % 2), 1, heads=1) for layer in range(4)]
    scores = [torch.rand(40, generator=generator) for _ in groups]
    anatomy = Anatomy("bert", 4, tuple(groups), 1, _NOTHING)
    budget = share * anatomy.encoder_parameters
    scored = Scored(anatomy, groups, scores, None, _one)
    greedy = by_rank(scored, budget=budget, cost=lambda one: one.encoder_parameters)
    kept = _kept(groups, scores, budget=budget * 1.001)
    assert lost(scores, kept) <= lost(scores, [greedy.units[group.name] for group in groups]) + 1e-6


def test_whole_blocks_stay_and_the_first_cut_makes_the_number_whole():
    group = Group("ffn", 0, 37, (), 1, 1, heads=1)
    scores = [torch.arange(37.0)]
    kept = [_kept([group], scores, budget=budget, block=8) for budget in (37, 36, 31, 8)]
    assert kept == [[37], [32], [24], [8]]


def test_costs_may_jump_as_measured_ones_do():
    """A width that costs no less than a larger one is never chosen for its cost."""
    groups = [Group("ffn", layer, 4, (), 1, 1, heads=1) for layer in range(2)]
    scores = [torch.ones(4), torch.ones(4) * 2]
    steps = {4: 4.0, 3: 4.0, 2: 1.0, 1: 1.0}
    kept = _kept(groups, scores, budget=5.0, prices=Prices(lambda _group, count: steps[count]))
    assert kept == [2, 4]


def test_a_budget_below_the_smallest_names_the_nearest():
    groups = [Group("ffn", layer, 4, (), 1, 1, heads=1) for layer in range(2)]
    with pytest.raises(ModelError, match=r"the nearest that these axes can reach is 0\.250"):
        _optimal(groups, [torch.ones(4)] * 2, budget=1.0)


@given(st.integers(0, 1000), st.floats(0.2, 0.9))
@settings(max_examples=30, deadline=None)
def test_layers_leave_where_that_loses_least(seed: int, share: float):
    generator = torch.Generator().manual_seed(seed)
    groups = [Group("ffn", layer, 3, (), 2, 1, heads=1) for layer in range(3)]
    scores = [torch.rand(3, generator=generator) for _ in groups]
    worth = [float(score.sum()) for score in scores]
    prices = Prices(_price, layer=1.0, rest=4.0)
    budget = 4.0 + share * 21.0
    kept = _optimal(groups, scores, budget=max(budget, 7.0), prices=prices, layers=worth)

    def of(choice: Sequence[int]) -> tuple[float, float]:
        spent = 4.0 + sum(2 * count + 1 for count in choice if count)
        return spent, sum(
            float(score.sort().values[: 3 - count].sum()) for score, count in zip(scores, choice, strict=True)
        )

    choices = [of(each) for each in product(range(4), repeat=3) if any(each)]
    least = min(loss for spent, loss in choices if spent <= max(budget, 7.0) * 0.999 or spent == 7.0)
    got = of([kept.units[group.name] if group.layer in kept.layers else 0 for group in groups])
    assert got[0] <= max(budget, 7.0) + 1e-9
    assert got[1] <= least + 1e-6


@pytest.mark.parametrize("family", ["bert", "albert", "llama"])
@pytest.mark.parametrize("kind", ["encoder_parameters", "flops"])
def test_counted_costs_add_up_to_the_whole_and_foretell_any_cut(family: str, kind: str):
    anatomy = tiny_bundle(family).anatomy
    cost = Target(**{kind: 0.5}).cost
    counted = Counted(anatomy, cost)
    half = anatomy.with_units({group.name: group.units // 2 for group in anatomy.groups})
    left = sum(counted.group(group, group.units - group.units // 2) for group in anatomy.groups)
    found = counted.whole() - left
    assert found == pytest.approx(cost(half))


def test_the_hidden_size_is_chosen_with_the_rest():
    bundle = tiny_bundle()
    hidden = hidden_group(bundle.module, bundle.family)
    groups, cost = [*bundle.anatomy.groups, hidden], Target(flops=0.5).cost
    budget = 0.5 * cost(bundle.anatomy)
    for worth, shrinks in ((0.0, True), (1e9, False)):
        scores = [torch.rand(group.units) for group in bundle.anatomy.groups] + [torch.full((hidden.units,), worth)]
        scored = Scored(bundle.anatomy, groups, scores, None, lambda group: 1 if group.heads else 4)
        kept = optimal(scored, budget=budget, costs_of=lambda anatomy: Counted(anatomy, cost))
        assert (kept.units["hidden"] < hidden.units) == shrinks
        assert cost(kept.of(bundle.anatomy)) <= budget
