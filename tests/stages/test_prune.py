"""The prune stage: targets are met in what they count, and nothing is cut that was not to be."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from pydantic import ValidationError
from tiny import logits_of, mixed_inputs

from compress.bundle import Bundle
from compress.criteria.magnitude import Magnitude
from compress.errors import ModelError
from compress.pruning.target import Target
from compress.stage import Context
from compress.stages.prune import Prune

TARGETS = [Target(parameters=0.75), Target(encoder_parameters=0.6), Target(flops=0.6, tokens=32)]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("allocation", ["global", "optimal", "uniform"])
def test_the_target_is_met_and_missed_by_less_than_a_block(
    bundle: Bundle, make_context: Callable[..., Context], target: Target, allocation: str
):
    stage = Prune(target=target, criterion=Magnitude(), allocation=allocation, round_to=8)
    cut = stage.apply(bundle, make_context())
    budget = target.fraction * target.cost(bundle.anatomy)
    smaller = [{g.name: g.units - (8 if g.axis == "ffn" else 1)} for g in bundle.anatomy.groups]
    block = max(target.cost(bundle.anatomy) - target.cost(bundle.anatomy.with_units(each)) for each in smaller)
    assert budget - block < target.cost(cut.anatomy) <= budget
    assert all(group.units % 8 == 0 for group in cut.anatomy.of_axis("ffn"))
    assert abs(target.cost(stage.predict(bundle.anatomy)) - target.cost(cut.anatomy)) < block


@pytest.mark.parametrize("axis", ["heads", "ffn"])
def test_only_the_named_axis_is_cut(bundle: Bundle, make_context: Callable[..., Context], axis: str):
    stage = Prune(target=Target(encoder_parameters=0.8), axes=(axis,), criterion=Magnitude())
    cut = stage.apply(bundle, make_context())
    other = "ffn" if axis == "heads" else "heads"
    assert cut.anatomy.of_axis(other) == bundle.anatomy.of_axis(other)
    assert cut.anatomy.of_axis(axis) != bundle.anatomy.of_axis(axis)


def test_uniform_cuts_all_layers_alike(bundle: Bundle, make_context: Callable[..., Context]):
    stage = Prune(target=Target(encoder_parameters=0.7), criterion=Magnitude(), allocation="uniform", round_to=4)
    cut = stage.apply(bundle, make_context())
    for axis, block in (("heads", 1), ("ffn", 4)):
        counts = [group.units for group in cut.anatomy.of_axis(axis)]
        assert max(counts) - min(counts) <= block


def test_repair_brings_the_outputs_nearer(bundle: Bundle, make_context: Callable[..., Context]):
    settings = {"target": Target(encoder_parameters=0.8), "criterion": Magnitude()}
    bare, mended = (Prune(**settings, repair=how).apply(bundle, make_context()) for how in ("none", "least_squares"))
    assert bare.anatomy == mended.anatomy
    inputs = mixed_inputs(bundle, batch=8)
    wanted = logits_of(bundle.module, inputs)
    error = [(logits_of(some.module, inputs) - wanted).square().mean() for some in (bare, mended)]
    assert error[1] < error[0]


def test_what_was_kept_is_recorded(bundle: Bundle, make_context: Callable[..., Context]):
    recorded: dict = {}
    stage = Prune(target=Target(encoder_parameters=0.7), criterion=Magnitude())
    cut = stage.apply(bundle, make_context(record=recorded.__setitem__))
    assert {row["group"]: row["kept"] for row in recorded["units"]} == {g.name: g.units for g in cut.anatomy.groups}


def test_a_broken_model_is_not_ranked(bundle: Bundle, make_context: Callable[..., Context]):
    with torch.no_grad():
        bundle.module.get_submodule(bundle.anatomy.groups[0].slices[0].module).weight[0, 0] = float("nan")
    stage = Prune(target=Target(encoder_parameters=0.7), criterion=Magnitude())
    with pytest.raises(ModelError, match=r"1 of 4 scores of layers\.0\.heads are not finite"):
        stage.apply(bundle, make_context())


@pytest.mark.parametrize("given", [{}, {"flops": 0.5, "parameters": 0.5}, {"flops": 0.0}, {"flops": 1.0}])
def test_a_target_is_one_fraction_between_nothing_and_all(given: dict[str, float]):
    with pytest.raises(ValidationError):
        Target(**given)


def test_a_target_below_what_can_be_reached_is_refused_by_plan_and_run_alike(bundle: Bundle, make_context):
    stage = Prune(target=Target(parameters=0.01), criterion=Magnitude())
    with pytest.raises(ModelError, match=r"the nearest that these axes can reach is 0\.[1-9]"):
        stage.predict(bundle.anatomy)
    with pytest.raises(ModelError, match=r"the nearest that these axes can reach is 0\.[1-9]"):
        stage.apply(bundle, make_context())
