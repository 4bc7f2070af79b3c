"""Laws of allocation: the budget is kept, nothing much below it is given, and the weakest leave first."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny_bundle

from compress.anatomy import Amount, Anatomy, Group
from compress.dissection import hidden_group
from compress.errors import ModelError
from compress.pruning.allocation import Kept, Scored, by_rank, evenly, strongest

BLOCK = 8
_NOTHING = dict.fromkeys(("embeddings", "encoder", "head"), Amount())


def _block(group: Group) -> int:
    return BLOCK if group.axis == "ffn" and group.units > BLOCK else 1


def _cost(anatomy: Anatomy) -> int:
    return anatomy.encoder_parameters


@st.composite
def anatomies(draw: st.DrawFn) -> Anatomy:
    """Models of 1 to 4 layers with heads and channels of any number and price."""
    groups = []
    for layer in range(draw(st.integers(1, 4))):
        heads, channels = draw(st.integers(1, 8)), draw(st.integers(1, 60))
        runs = draw(st.integers(1, 3))
        groups.append(Group("heads", layer, heads, (), draw(st.integers(1, 500)), 1, repeats=runs, heads=1))
        groups.append(Group("ffn", layer, channels, (), draw(st.integers(1, 50)), 1, repeats=runs))
    rest = {"embeddings": Amount(7), "encoder": Amount(draw(st.integers(0, 100))), "head": Amount(5)}
    runs = sum(group.repeats for group in groups if group.heads)
    return Anatomy("bert", runs, tuple(groups), 1, rest)


def _smallest(anatomy: Anatomy) -> int:
    return _cost(anatomy.with_units({group.name: min(group.units, _block(group)) for group in anatomy.groups}))


def _budget(anatomy: Anatomy, share: float) -> float:
    """Between what the smallest model costs and what the whole one does."""
    return _smallest(anatomy) + share * (_cost(anatomy) - _smallest(anatomy))


def _scored(anatomy: Anatomy, scores: Sequence[torch.Tensor], layers: Sequence[float] | None = None) -> Scored:
    return Scored(anatomy, anatomy.groups, scores, layers, _block)


def _counts(anatomy: Anatomy, kept: Kept) -> list[int]:
    return [kept.units[group.name] for group in anatomy.groups]


def _ranked(anatomy: Anatomy, *, budget: float, seed: int = 0) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    scores = [torch.rand(group.units, generator=generator) for group in anatomy.groups]
    return _counts(anatomy, by_rank(_scored(anatomy, scores), budget=budget, cost=_cost))


def _even(anatomy: Anatomy, *, budget: float) -> list[int]:
    scores = [torch.zeros(group.units) for group in anatomy.groups]
    return _counts(anatomy, evenly(_scored(anatomy, scores), budget=budget, cost=_cost))


def _left(anatomy: Anatomy, counts: list[int]) -> int:
    units = {group.name: count for group, count in zip(anatomy.groups, counts, strict=True)}
    return _cost(anatomy.with_units(units))


def _flops(anatomy: Anatomy) -> int:
    return anatomy.flops(1, 7)


allocations = pytest.mark.parametrize("allocate", [_ranked, _even], ids=["by_rank", "evenly"])
shares = st.floats(0, 1)


@allocations
@settings(max_examples=60, deadline=None)
@given(anatomy=anatomies(), share=shares)
def test_the_budget_is_kept_and_missed_by_less_than_a_block(allocate, anatomy: Anatomy, share: float):
    budget = _budget(anatomy, share)
    left = _left(anatomy, allocate(anatomy, budget=budget))
    dearest = max(_block(group) * group.unit_parameters for group in anatomy.groups)
    assert budget - dearest < left <= budget


@settings(max_examples=60, deadline=None)
@given(anatomy=anatomies(), share=shares)
def test_a_budget_of_flops_counts_every_run_of_a_layer(anatomy: Anatomy, share: float):
    smallest = _flops(anatomy.with_units({group.name: min(group.units, _block(group)) for group in anatomy.groups}))
    budget = smallest + share * (_flops(anatomy) - smallest)
    scores = [torch.ones(group.units) for group in anatomy.groups]
    counts = _counts(anatomy, by_rank(_scored(anatomy, scores), budget=budget, cost=_flops))
    pairs = list(zip(anatomy.groups, counts, strict=True))
    left = sum(2 * 7 * count * group.unit_macs * group.repeats for group, count in pairs)
    dearest = max(2 * 7 * _block(group) * group.unit_macs * group.repeats for group in anatomy.groups)
    assert budget - dearest < left <= budget


@allocations
@settings(max_examples=60, deadline=None)
@given(anatomy=anatomies(), share=shares)
def test_every_group_keeps_a_block_and_what_stays_is_whole_blocks(allocate, anatomy: Anatomy, share: float):
    for group, count in zip(anatomy.groups, allocate(anatomy, budget=_budget(anatomy, share)), strict=True):
        assert min(group.units, _block(group)) <= count <= group.units
        assert count == group.units or count % _block(group) == 0


@allocations
@settings(max_examples=60, deadline=None)
@given(anatomy=anatomies(), one=shares, other=shares)
def test_a_larger_budget_never_leaves_less(allocate, anatomy: Anatomy, one: float, other: float):
    small, large = sorted((_budget(anatomy, one), _budget(anatomy, other)))
    kept_small, kept_large = allocate(anatomy, budget=small), allocate(anatomy, budget=large)
    assert _left(anatomy, kept_small) <= _left(anatomy, kept_large)
    if allocate is _ranked:
        assert all(a <= b for a, b in zip(kept_small, kept_large, strict=True))


@allocations
@settings(max_examples=20, deadline=None)
@given(anatomy=anatomies())
def test_the_whole_budget_keeps_everything(allocate, anatomy: Anatomy):
    assert allocate(anatomy, budget=_cost(anatomy)) == [group.units for group in anatomy.groups]


@allocations
@settings(max_examples=20, deadline=None)
@given(anatomy=anatomies())
def test_an_unreachable_target_names_the_nearest(allocate, anatomy: Anatomy):
    nearest = _smallest(anatomy)
    with pytest.raises(ModelError, match=f"the nearest that these axes can reach is {nearest / _cost(anatomy):.3f}"):
        allocate(anatomy, budget=nearest - 1)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3), min_size=2, max_size=4), st.data())
def test_where_all_units_cost_the_same_the_lowest_scores_leave(scores: list[list[float]], data: st.DataObject):
    groups = tuple(Group("heads", layer, 3, (), 10, 1, heads=1) for layer in range(len(scores)))
    anatomy = Anatomy("bert", len(groups), groups, 1, _NOTHING)
    gone = data.draw(st.integers(0, 2 * len(groups)))
    plain = [sorted(score) for score in scores]
    for _ in range(gone):  # the weakest of all, but no group's last
        _, weakest = min((left[0], index) for index, left in enumerate(plain) if len(left) > 1)
        plain[weakest].pop(0)
    budget = 10 * (3 * len(groups) - gone)
    tensors = [torch.tensor(score) for score in scores]
    counts = _counts(anatomy, by_rank(_scored(anatomy, tensors), budget=budget, cost=_cost))
    assert counts == [len(left) for left in plain]


@settings(max_examples=30, deadline=None)
@given(units=st.integers(2, 40), layers=st.integers(1, 4), share=shares)
def test_evenly_treats_equal_groups_alike_to_within_a_block(units: int, layers: int, share: float):
    groups = tuple(Group("ffn", layer, units, (), 10, 1, heads=1) for layer in range(layers))
    anatomy = Anatomy("bert", layers, groups, 1, _NOTHING)
    counts = _even(anatomy, budget=_budget(anatomy, share))
    assert max(counts) - min(counts) <= BLOCK


def test_dear_units_leave_before_cheap_ones_of_the_same_score():
    groups = (Group("heads", 0, 4, (), 100, 1, heads=1), Group("ffn", 0, 4, (), 1, 1))
    anatomy = Anatomy("bert", 1, groups, 1, _NOTHING)
    even = [torch.ones(4), torch.ones(4)]
    counts = _counts(anatomy, by_rank(_scored(anatomy, even), budget=304, cost=_cost))
    assert counts == [3, 4]


def test_the_least_layers_leave_first_and_one_stays():
    groups = tuple(Group("heads", layer, 2, (), 10, 1, heads=1) for layer in range(4))
    anatomy = Anatomy("bert", 4, groups, 1, _NOTHING, (Amount(),) * 4)
    worth = [3.0, 1.0, 4.0, 2.0]
    scored = Scored(anatomy, (), (), worth, _block)
    for allocate in (by_rank, evenly):
        assert allocate(scored, budget=40, cost=_cost).layers == (0, 2)
        assert allocate(scored, budget=20, cost=_cost).layers == (2,)
        with pytest.raises(ModelError, match=r"the nearest that these axes can reach is 0\.250"):
            allocate(scored, budget=19, cost=_cost)


def test_a_layer_leaves_once_its_groups_have_nothing_more_to_give():
    groups = tuple(Group("heads", layer, 3, (), 10, 1, heads=1) for layer in range(2))
    anatomy = Anatomy("bert", 2, groups, 1, _NOTHING, (Amount(5),) * 2)
    scores = [torch.tensor([1.0, 1.0, 1.0]), torch.tensor([5.0, 5.0, 5.0])]
    left = [
        by_rank(_scored(anatomy, scores, [3.0, 15.0]), budget=budget, cost=lambda one: one.encoder_parameters)
        for budget in (50, 40, 30)
    ]
    assert [(kept.units["layers.0.heads"], kept.layers) for kept in left[:2]] == [(2, (0, 1)), (1, (0, 1))]
    assert left[2].layers == (1,)


def test_the_hidden_size_competes_with_the_units():
    bundle = tiny_bundle()
    hidden = hidden_group(bundle.module, bundle.family)
    groups = [*bundle.anatomy.groups, hidden]
    for worth, shrinks in ((0.0, True), (1e9, False)):
        scores = [torch.ones(group.units) for group in bundle.anatomy.groups] + [torch.full((hidden.units,), worth)]
        scored = Scored(bundle.anatomy, groups, scores, None, _block)
        kept = by_rank(scored, budget=0.8 * _cost(bundle.anatomy), cost=_cost)
        assert (kept.units["hidden"] < hidden.units) == shrinks
        assert _cost(kept.of(bundle.anatomy)) <= 0.8 * _cost(bundle.anatomy)


@settings(max_examples=40, deadline=None)
@given(scores=st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=12), data=st.data())
def test_strongest_keeps_as_many_as_asked_and_none_weaker_than_a_dropped_one(scores: list[float], data: st.DataObject):
    count = data.draw(st.integers(1, len(scores)))
    score = torch.tensor(scores)
    keep = strongest(score, count)
    assert int(keep.sum()) == count
    assert count == len(scores) or score[keep].min() >= score[~keep].max()
