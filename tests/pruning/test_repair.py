"""Laws of repair: what can be recovered is, nothing gets worse, and padding has no say."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from tiny import logits_of, mixed_inputs, tiny_bundle
from torch import Tensor, nn

from compress.anatomy import Group
from compress.bundle import Bundle
from compress.dissection import hidden_group
from compress.errors import ModelError
from compress.feed import feed
from compress.pruning import repair
from compress.pruning.passes import Passes
from compress.pruning.repair import Way
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
    repaired = _solved(whole, cut, make_context())
    inputs = mixed_inputs(whole)
    wanted = logits_of(whole.module, inputs)
    before = (logits_of(cut.module, inputs) - wanted).abs().max()
    after = (logits_of(repaired, inputs) - wanted).abs().max()
    assert after < 1e-2 * before


@pytest.mark.parametrize("way", ["least_squares", "scales", "bias"])
def test_a_reader_of_nothing_but_zeros_stays_as_it_is(way: Way, bundle: Bundle, make_context: Callable[..., Context]):
    group = bundle.anatomy.of_axis("ffn")[1]
    reader = group.readers[0].module
    silent = copy.deepcopy(bundle.module)
    with torch.no_grad():
        silent.get_submodule(reader).weight.zero_()
        silent.get_submodule(reader).bias.zero_()
    whole = bundle.with_model(silent)
    keep = [torch.arange(group.units) % 2 == 0]
    cut = keep_units(whole.module, whole.family, [group], keep)
    repair.repair(whole, cut, [group], keep, make_context(), way=way)
    assert not cut.get_submodule(reader).weight.any()


@pytest.mark.parametrize("way", ["least_squares", "scales", "bias"])
def test_what_is_not_finite_is_named_before_it_spreads(way: Way, bundle: Bundle, make_context: Callable[..., Context]):
    spoilt = copy.deepcopy(bundle.module)
    with torch.no_grad():
        spoilt.base_model.embeddings.LayerNorm.weight[3] = torch.nan  # of no group: no score shows it
    whole = bundle.with_model(spoilt)
    group = bundle.anatomy.of_axis("ffn")[1]
    keep = [torch.arange(group.units) % 2 == 0]
    cut = keep_units(whole.module, whole.family, [group], keep)
    with pytest.raises(ModelError, match=rf"repair {way}: what {group.readers[0].module} is given or gives"):
        repair.repair(whole, cut, [group], keep, make_context(), way=way)


@pytest.mark.parametrize("axis", ["heads", "ffn"])
@pytest.mark.parametrize("layer", [0, 3])
def test_the_repaired_layer_is_never_further_off_than_the_cut_one(
    bundle: Bundle, make_context: Callable[..., Context], axis: str, layer: int
):
    group = bundle.anatomy.of_axis(axis)[layer]
    cut = _cut(bundle, [group], {group.name: torch.arange(group.units) % 2 == 0})
    context = make_context()
    repaired = _solved(bundle, cut, context)
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
    repaired = _solved(bundle, cut, context)
    wanted, before, after = (_all_logits(model, bundle, context) for model in (bundle.module, cut.module, repaired))
    assert (after - wanted).square().mean() < 0.5 * (before - wanted).square().mean()


def test_a_layer_that_runs_several_times_is_repaired_for_all_its_runs(
    make_context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
):
    whole, context = tiny_bundle("albert"), make_context()
    [group] = whole.anatomy.of_axis("ffn")
    cut = _cut(whole, [group], {group.name: torch.arange(group.units) % 4 != 0})
    every, in_order = _solved(whole, cut, context), repair._in_order
    monkeypatch.setattr(repair, "_in_order", lambda *given: [(readers, 1) for readers, _ in in_order(*given)])
    first = _solved(whole, cut, context)
    wanted, ours, theirs = (_all_logits(model, whole, context) for model in (whole.module, every, first))
    assert (ours - wanted).square().mean() < 0.9 * (theirs - wanted).square().mean()


@pytest.mark.parametrize("family", ["bert", "albert", "gpt2", "llama"])
def test_a_cut_of_the_hidden_size_is_repaired_in_all_that_reads_it(family: str, make_context: Callable[..., Context]):
    whole, context = tiny_bundle(family), make_context()
    group = hidden_group(whole.module, whole.family)
    cut = _cut(whole, [group], {"hidden": torch.arange(group.units) % 8 != 0})
    repaired = _solved(whole, cut, context)
    wanted, before, after = (_all_logits(model, whole, context) for model in (whole.module, cut.module, repaired))
    assert (after - wanted).square().mean() < 0.7 * (before - wanted).square().mean()


def test_what_is_left_beside_dropped_layers_is_repaired_against_its_own_place(make_context: Callable[..., Context]):
    whole, context = tiny_bundle(), make_context()
    group = whole.anatomy.of_axis("ffn")[3]
    cut = _cut(whole, [group], {group.name: torch.arange(group.units) % 2 == 0}, layers=(0, 1, 3))
    repaired = _solved(whole, cut, context, layers=(0, 1, 3))
    path = group.readers[0].module
    wanted = _outputs(whole.module, path, whole, context)
    before, after = (
        (_outputs(model, path.replace(".3.", ".2."), whole, context) - wanted).square().sum()
        for model in (cut.module, repaired)
    )
    assert after < before


@pytest.mark.parametrize("family", ["bert", "distilbert", "gpt2", "llama", "modernbert", "mpnet"])
def test_beginning_midway_changes_nothing(
    family: str, make_context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
):
    whole, context = tiny_bundle(family), make_context()
    groups = whole.anatomy.groups
    masks = {group.name: torch.arange(group.units) % 4 != group.layer % 2 for group in groups}
    layers = None if whole.family.name == "modernbert" else (0, 2, 3)
    cut = _cut(whole, groups, masks, layers=layers)
    midway = _solved(whole, cut, context, layers=layers, batch=8)
    monkeypatch.setattr(Passes, "_begin", lambda *_given: None)
    plain = _solved(whole, cut, context, layers=layers, batch=8)
    for (name, one), other in zip(midway.state_dict().items(), plain.state_dict().values(), strict=True):
        assert torch.allclose(one, other, atol=1e-4), name
    assert not any("forward" in vars(module) for module in (*whole.module.modules(), *midway.modules()))


def test_padding_has_no_say(bundle: Bundle, make_context: Callable[..., Context]):
    groups = bundle.anatomy.groups[:2]
    cut = _cut(bundle, groups, {g.name: torch.arange(g.units) != 0 for g in groups})
    padded, bare = (_solved(bundle, cut, make_context(), batch=size) for size in (32, 1))
    for (name, one), other in zip(padded.state_dict().items(), bare.state_dict().values(), strict=True):
        assert torch.allclose(one, other, atol=1e-4), name


def test_only_readers_of_cut_groups_change_and_the_given_models_stay(
    bundle: Bundle, make_context: Callable[..., Context]
):
    group = bundle.anatomy.of_axis("ffn")[2]
    masks = {each.name: torch.ones(each.units, dtype=torch.bool) for each in bundle.anatomy.groups}
    cut = _cut(bundle, bundle.anatomy.groups, {**masks, group.name: torch.arange(group.units) != 0})
    kept = copy.deepcopy(cut.module.state_dict())
    repaired = _solved(bundle, cut, make_context())
    changed = {name for name, value in repaired.state_dict().items() if not torch.equal(value, kept[name])}
    assert changed == {f"{group.readers[0].module}.{kind}" for kind in ("weight", "bias")}
    assert all(torch.equal(value, kept[name]) for name, value in cut.module.state_dict().items())


def test_a_calibration_that_says_nothing_leaves_the_weights_as_they_are():
    linear = nn.Linear(3, 2)
    before = copy.deepcopy(linear.state_dict())
    seen = torch.diag(torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64))
    present = torch.cat([linear.weight, linear.bias[:, None]], dim=1).T.double()
    with torch.no_grad():
        repair._solve_weights(linear, seen, seen @ present, None)
    assert all(torch.allclose(value, before[name], atol=1e-6) for name, value in linear.state_dict().items())


@pytest.mark.parametrize("way", ["bias", "scales", "least_squares"])
@pytest.mark.parametrize("axis", ["heads", "ffn"])
def test_each_way_brings_the_layers_outputs_nearer(
    bundle: Bundle, make_context: Callable[..., Context], way: Way, axis: str
):
    group = bundle.anatomy.of_axis(axis)[1]
    cut = _cut(bundle, [group], {group.name: torch.arange(group.units) % 2 == 0})
    context = make_context()
    path = group.readers[0].module
    wanted = _outputs(bundle.module, path, bundle, context)
    before = (_outputs(cut.module, path, bundle, context) - wanted).square().sum()
    after = (_outputs(_mended(bundle, cut, context, way=way), path, bundle, context) - wanted).square().sum()
    assert after < before


def test_a_repaired_bias_gives_the_whole_models_mean(bundle: Bundle, make_context: Callable[..., Context]):
    group = bundle.anatomy.of_axis("ffn")[0]
    cut = _cut(bundle, [group], {group.name: torch.arange(group.units) % 3 == 0})
    context, path = make_context(), group.readers[0].module
    mended = _mended(bundle, cut, context, way="bias")
    wanted, found = (_outputs(model, path, bundle, context).mean(dim=0) for model in (bundle.module, mended))
    assert torch.allclose(wanted, found, atol=1e-5)
    assert torch.equal(mended.get_submodule(path).weight, cut.module.get_submodule(path).weight)


def test_scales_are_those_of_a_plain_least_squares_over_units(bundle: Bundle, make_context: Callable[..., Context]):
    group = bundle.anatomy.of_axis("heads")[2]
    keep = torch.arange(group.units) != 1
    cut = _cut(bundle, [group], {group.name: keep})
    context, part = make_context(), group.readers[0]
    mended = _mended(bundle, cut, context, way="scales")
    linear, units = cut.module.get_submodule(part.module), int(keep.sum())
    inputs = _inputs(cut.module, part.module, bundle, context).double()
    wanted = (_outputs(bundle.module, part.module, bundle, context) - linear.bias).double()
    span = part.span
    added = [
        inputs[:, u * span : (u + 1) * span] @ linear.weight.double()[:, u * span : (u + 1) * span].T
        for u in range(units)
    ]
    plain = torch.linalg.lstsq(
        torch.stack([each.flatten() for each in added], dim=1), wanted.flatten()[:, None]
    ).solution
    found = (mended.get_submodule(part.module).weight / linear.weight)[0].view(units, span)
    assert torch.allclose(found, plain.float().expand(units, span), rtol=1e-3)


def test_a_bias_that_is_not_there_can_not_take_anything(make_context: Callable[..., Context]):
    whole = tiny_bundle("modernbert")
    group = whole.anatomy.of_axis("ffn")[0]
    cut = _cut(whole, [group], {group.name: torch.arange(group.units) != 0})
    with pytest.raises(ModelError, match="has no bias; use least_squares, or scales"):
        _mended(whole, cut, make_context(), way="bias")


def _solved(*arguments: Any, **options: Any) -> Any:
    return _mended(*arguments, way="least_squares", **options)


def _mended(whole: Bundle, cut: _Cut, context: Context, **options: Any) -> Any:
    """A copy of the cut model, repaired."""
    model = copy.deepcopy(cut.module)
    repair.repair(whole, model, cut.groups, cut.keep, context, **options)
    return model


def _inputs(model: nn.Module, path: str, bundle: Bundle, context: Context) -> Tensor:
    """What a layer is given of every real calibration token."""
    seen: list[Tensor] = []
    hook = model.get_submodule(path).register_forward_pre_hook(lambda _m, given: seen.append(given[0].detach()))
    batches = list(feed(context.calibration, bundle, context.device, size=8))
    for batch in batches:
        logits_of(model, batch.inputs)
    hook.remove()
    return torch.cat([batch.flat(given) for batch, given in zip(batches, seen, strict=True)])


@dataclass(frozen=True)
class _Cut:
    """A cut model, and what was kept of which groups."""

    module: Any
    groups: Sequence[Group]
    keep: Sequence[Tensor]


def _cut(whole: Bundle, groups: Sequence[Group], masks: dict[str, Tensor], **options: Any) -> _Cut:
    keep = [masks[group.name] for group in groups]
    return _Cut(keep_units(whole.module, whole.family, groups, keep, **options), groups, keep)


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
