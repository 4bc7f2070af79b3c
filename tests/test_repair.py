"""Laws of repair: what can be recovered is, nothing gets worse, and padding has no say."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from tiny import logits_of, mixed_inputs, tiny_bundle
from torch import Tensor, nn

from compress import repair
from compress.anatomy import Group
from compress.bundle import Bundle
from compress.feed import feed
from compress.repair import least_squares
from compress.stage import Context
from compress.surgery import keep_units

# One of each kind of layer: plain, run several times, with fused weights.
FAMILIES = ("bert", "albert", "modernbert")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_duplicated_channel_is_recovered(family: str, make_context: Callable[..., Context]):
    bundle = tiny_bundle(family)
    group = bundle.anatomy.of_axis("ffn")[-1]
    doubled = copy.deepcopy(bundle.module)
    with torch.no_grad():
        for part in group.slices:
            if part.side == "rows":
                linear = doubled.get_submodule(part.module)
                for block in range(part.blocks):
                    first = block * group.units
                    for value in (linear.weight, linear.bias):
                        if value is not None:
                            value[first + 1] = value[first]
    whole = bundle.with_model(doubled)
    cut = _cut(whole, [group], {group.name: torch.arange(group.units) != 1})
    repaired = least_squares(whole, cut, [group], make_context())
    inputs = mixed_inputs(whole)
    wanted = logits_of(whole.module, inputs)
    before = (logits_of(cut.module, inputs) - wanted).abs().max()
    after = (logits_of(repaired, inputs) - wanted).abs().max()
    assert after < 1e-2 * before


@pytest.mark.parametrize("axis", ["heads", "ffn"])
@pytest.mark.parametrize("layer", [0, 3])
def test_the_repaired_layer_is_never_further_off_than_the_cut_one(
    bundle: Bundle, make_context: Callable[..., Context], axis: str, layer: int
):
    group = bundle.anatomy.of_axis(axis)[layer]
    cut = _cut(bundle, [group], {group.name: torch.arange(group.units) % 2 == 0})
    context = make_context()
    repaired = least_squares(bundle, cut, [group], context)
    path = group.readers[0].module
    wanted = _outputs(bundle.module, path, bundle, context)
    before = (_outputs(cut.module, path, bundle, context) - wanted).square().sum()
    after = (_outputs(repaired, path, bundle, context) - wanted).square().sum()
    assert after < before


@pytest.mark.parametrize("family", FAMILIES)
def test_repairing_all_layers_brings_the_logits_nearer(family: str, make_context: Callable[..., Context]):
    bundle = tiny_bundle(family)
    groups = bundle.anatomy.groups
    cut = _cut(bundle, groups, {g.name: torch.arange(g.units) < g.units * 3 // 4 for g in groups})
    context = make_context()
    repaired = least_squares(bundle, cut, groups, context)
    wanted, before, after = (_all_logits(model, bundle, context) for model in (bundle.module, cut.module, repaired))
    assert (after - wanted).square().mean() < 0.5 * (before - wanted).square().mean()


def test_a_layer_that_runs_several_times_is_repaired_for_all_its_runs(make_context: Callable[..., Context]):
    whole, context = tiny_bundle("albert"), make_context()
    [group] = whole.anatomy.of_axis("ffn")
    cut = _cut(whole, [group], {group.name: torch.arange(group.units) % 4 != 0})
    every, first = (least_squares(whole, cut, [replace(group, repeats=runs)], context) for runs in (group.repeats, 1))
    wanted, ours, theirs = (_all_logits(model, whole, context) for model in (whole.module, every, first))
    assert (ours - wanted).square().mean() < 0.9 * (theirs - wanted).square().mean()


def test_padding_has_no_say(bundle: Bundle, make_context: Callable[..., Context]):
    groups = bundle.anatomy.groups[:2]
    cut = _cut(bundle, groups, {g.name: torch.arange(g.units) != 0 for g in groups})
    padded, bare = (least_squares(bundle, cut, groups, make_context(), batch=size) for size in (32, 1))
    for (name, one), other in zip(padded.state_dict().items(), bare.state_dict().values(), strict=True):
        assert torch.allclose(one, other, atol=1e-4), name


def test_only_readers_of_cut_groups_change_and_the_given_models_stay(
    bundle: Bundle, make_context: Callable[..., Context]
):
    group = bundle.anatomy.of_axis("ffn")[2]
    cut = _cut(bundle, [group], {group.name: torch.arange(group.units) != 0})
    kept = copy.deepcopy(cut.module.state_dict())
    repaired = least_squares(bundle, cut, bundle.anatomy.groups, make_context())
    changed = {name for name, value in repaired.state_dict().items() if not torch.equal(value, kept[name])}
    assert changed == {f"{group.readers[0].module}.{kind}" for kind in ("weight", "bias")}
    assert all(torch.equal(value, kept[name]) for name, value in cut.module.state_dict().items())


def test_a_calibration_that_says_nothing_leaves_the_weights_as_they_are():
    linear = nn.Linear(3, 2)
    before = copy.deepcopy(linear.state_dict())
    seen = torch.diag(torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64))
    present = torch.cat([linear.weight, linear.bias[:, None]], dim=1).T.double()
    with torch.no_grad():
        repair._solve_into(linear, seen, seen @ present)
    assert all(torch.allclose(value, before[name], atol=1e-6) for name, value in linear.state_dict().items())


def _cut(whole: Bundle, groups: list[Group] | tuple[Group, ...], masks: dict[str, Tensor]) -> Bundle:
    return whole.with_model(keep_units(whole.module, whole.family, groups, [masks[g.name] for g in groups]))


def _outputs(model: nn.Module, path: str, bundle: Bundle, context: Context) -> Tensor:
    """A layer's outputs on every real calibration token."""
    seen: list[Tensor] = []
    hook = model.get_submodule(path).register_forward_hook(lambda _m, _a, output: seen.append(output.detach()))
    batches = list(feed(context.calibration, bundle, context.device, size=8))
    for batch in batches:
        logits_of(model, batch.inputs)
    hook.remove()
    return torch.cat([batch.flat(output) for batch, output in zip(batches, seen, strict=True)])


def _all_logits(model: nn.Module, bundle: Bundle, context: Context) -> Tensor:
    batches = feed(context.calibration, bundle, context.device, size=8)
    return torch.cat([logits_of(model, batch.inputs) for batch in batches])
