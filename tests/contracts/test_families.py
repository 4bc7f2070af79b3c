"""The laws of every model family: what its groups and counts say is what the model does."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from tiny import logits_of, mixed_inputs, tiny_bundle
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from compress import catalog
from compress.anatomy import Group, anatomy_of
from compress.bundle import Bundle
from compress.errors import ModelError
from compress.folder import load, save
from compress.surgery import keep_layers, keep_units

FAMILIES = catalog.names("families")


@pytest.fixture(params=FAMILIES)
def whole(request: pytest.FixtureRequest) -> Bundle:
    """A tiny model of each family, with three labels."""
    return tiny_bundle(request.param, labels=("down", "level", "up"), seed=2)


def test_parameters_are_those_that_torch_counts(whole: Bundle):
    assert whole.anatomy.parameters == sum(parameter.numel() for parameter in whole.module.parameters())
    layers = whole.family.layers(whole.module)
    assert whole.anatomy.encoder_parameters == sum(parameter.numel() for parameter in layers.parameters())


@pytest.mark.parametrize("cut", ["whole", "uneven"])
def test_flops_are_those_that_torch_counts(whole: Bundle, cut: str):
    bundle = whole if cut == "whole" else _cut(whole, _uneven)
    model = copy.deepcopy(bundle.module)
    model.set_attn_implementation("eager")  # the counter does not see sdpa's CPU kernel
    for batch, tokens in ((1, 7), (3, 16)):
        inputs = mixed_inputs(bundle, batch=batch, tokens=tokens)
        with FlopCounterMode(display=False) as counter:
            logits_of(model, inputs)
        assert bundle.anatomy.flops(batch, tokens) == counter.get_total_flops()


def test_removing_a_unit_equals_masking_it(whole: Bundle):
    inputs = mixed_inputs(whole)
    original = logits_of(whole.module, inputs)
    for group in whole.anatomy.groups:
        units = range(group.units) if group.axis == "heads" else (0, group.units // 2, group.units - 1)
        for unit in units:
            removed = keep_units(whole.module, whole.family, [group], [_all_but(group, unit)])
            masked = _zeroed(whole.module, group, unit, "columns")
            assert torch.allclose(logits_of(removed, inputs), logits_of(masked, inputs), atol=1e-4, rtol=1e-4)
            assert not torch.allclose(logits_of(removed, inputs), original, atol=1e-4, rtol=1e-4), "it did nothing"


def test_removing_a_silent_unit_changes_nothing(whole: Bundle):
    inputs = mixed_inputs(whole)
    for group in whole.anatomy.groups:
        silent = _zeroed(whole.module, group, 1, "rows")
        removed = keep_units(silent, whole.family, [group], [_all_but(group, 1)])
        assert torch.allclose(logits_of(removed, inputs), logits_of(silent, inputs), atol=1e-4, rtol=1e-4)


def test_keeping_everything_is_the_identity(whole: Bundle):
    groups = whole.anatomy.groups
    kept = keep_units(whole.module, whole.family, groups, [torch.ones(g.units, dtype=torch.bool) for g in groups])
    assert whole.with_model(kept).digest == whole.digest
    layered = keep_layers(whole.module, whole.family, range(whole.anatomy.layers))
    assert whole.with_model(layered).digest == whole.digest


@pytest.mark.parametrize("kept", [(0, 3), (1, 2, 3), (2,)])
def test_cutting_layers_equals_skipping_them(whole: Bundle, kept: tuple[int, ...]):
    inputs = mixed_inputs(whole)
    cut = whole.with_model(keep_layers(whole.module, whole.family, kept))
    plain = copy.deepcopy(whole.module)
    for index, layer in enumerate(whole.family.layers(plain)):
        if index not in kept:
            layer.register_forward_hook(_pass_through, with_kwargs=True)
    assert torch.allclose(logits_of(cut.module, inputs), logits_of(plain, inputs), atol=1e-5)
    assert cut.anatomy == whole.anatomy.with_layers(kept)
    assert cut.config["num_hidden_layers"] == len(kept) == cut.anatomy.layers


def test_groups_agree_with_the_traced_dependencies(whole: Bundle):
    """torch-pruning traces the autograd graph: what it takes out with a channel, the group must name, and no more."""
    import torch_pruning

    model = copy.deepcopy(whole.module)
    model.set_attn_implementation("eager")
    graph = torch_pruning.DependencyGraph().build_dependency(
        model, example_inputs=mixed_inputs(whole), output_transform=lambda output: output.logits
    )
    names = {module: name for name, module in model.named_modules()}
    for group in whole.anatomy.groups:
        traced: set[tuple[str, str]] = set()
        for part in group.slices:
            if part.side == "rows":
                producer = model.get_submodule(part.module)
                found = graph.get_pruning_group(producer, torch_pruning.prune_linear_out_channels, idxs=[0])
                traced |= {
                    (names[d.target.module], "columns" if d.handler.__name__.endswith("in_channels") else "rows")
                    for d, _ in found
                    if isinstance(d.target.module, nn.Linear)
                }
        assert traced == {(part.module, part.side) for part in group.slices}, group.name


def test_modules_tell_the_truth_after_a_cut(whole: Bundle):
    model = _cut(whole, _uneven).module
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            assert (module.out_features, module.in_features) == tuple(module.weight.shape), name
        if hasattr(module, "attention_head_size"):
            assert module.num_attention_heads * module.attention_head_size == module.query.weight.shape[0], name
            assert module.all_head_size == module.query.weight.shape[0], name


def test_an_uneven_cut_reloads(whole: Bundle, tmp_path):
    cut = _cut(whole, _uneven)
    save(cut, tmp_path)
    again = load(tmp_path)
    inputs = mixed_inputs(cut)
    assert again.anatomy == anatomy_of(again.module, again.family) == cut.anatomy
    assert again.digest == cut.digest
    assert torch.equal(logits_of(again.module, inputs), logits_of(cut.module, inputs))
    twice = again.with_model(keep_layers(again.module, again.family, (1, 3)))
    save(twice, tmp_path / "twice")
    assert load(tmp_path / "twice").digest == twice.digest


@pytest.mark.parametrize("counts", ["_same", "_even_ffn", "_even_heads", "_uneven", "_uneven_ffn"])
def test_the_stock_class_loads_what_it_is_said_to_fit_and_nothing_else(whole: Bundle, counts: str, tmp_path):
    cut = _cut(whole, globals()[counts])
    save(cut, tmp_path)
    assert cut.family.fits_stock_class(cut.module) == _stock_class_agrees(cut, tmp_path)
    if len({group.units for group in cut.anatomy.of_axis("ffn")}) == 1:
        assert cut.config["intermediate_size"] == cut.anatomy.of_axis("ffn")[0].units


def test_a_model_cut_to_fewer_layers_still_fits_the_stock_class(whole: Bundle, tmp_path):
    cut = whole.with_model(keep_layers(whole.module, whole.family, (0, 2)))
    save(cut, tmp_path)
    assert cut.family.fits_stock_class(cut.module)
    assert _stock_class_agrees(cut, tmp_path)


def test_a_group_cannot_be_emptied_and_a_mask_must_fit(whole: Bundle):
    group = whole.anatomy.groups[0]
    with pytest.raises(ModelError, match=r"layers\.0\.heads: every unit would be removed"):
        keep_units(whole.module, whole.family, [group], [torch.zeros(group.units, dtype=torch.bool)])
    with pytest.raises(ModelError, match=r"a mask of shape \(3,\) for 4 units"):
        keep_units(whole.module, whole.family, [group], [torch.ones(3, dtype=torch.bool)])
    with pytest.raises(ModelError, match="the model has layers 0 to 3"):
        keep_layers(whole.module, whole.family, (0, 4))


def _stock_class_agrees(cut: Bundle, folder) -> bool:
    from transformers import AutoModelForSequenceClassification

    try:
        stock = AutoModelForSequenceClassification.from_pretrained(folder, local_files_only=True).eval()
    except (RuntimeError, ValueError):
        return False
    inputs = mixed_inputs(cut)
    return torch.allclose(logits_of(stock, inputs), logits_of(cut.module, inputs), atol=1e-6)


def _cut(whole: Bundle, counts: Callable[[Group], int]) -> Bundle:
    """The first units of each group, as many as `counts` says."""
    groups = whole.anatomy.groups
    masks = [torch.arange(group.units) < counts(group) for group in groups]
    return whole.with_model(keep_units(whole.module, whole.family, groups, masks))


def _same(group: Group) -> int:
    return group.units


def _even_ffn(group: Group) -> int:
    return group.units // 2 if group.axis == "ffn" else group.units


def _even_heads(group: Group) -> int:
    return group.units // 2 if group.axis == "heads" else group.units


def _uneven_ffn(group: Group) -> int:
    return group.units - 8 * group.layer if group.axis == "ffn" else group.units


def _uneven(group: Group) -> int:
    return max(1, group.units - group.layer * (1 if group.axis == "heads" else 9))


def _all_but(group: Group, unit: int) -> Tensor:
    return torch.arange(group.units) != unit


def _zeroed(model: nn.Module, group: Group, unit: int, side: str) -> nn.Module:
    """A copy in which a unit is not read (`columns`), or says nothing (`rows`)."""
    changed = copy.deepcopy(model)
    with torch.no_grad():
        for part in group.slices:
            linear: Any = changed.get_submodule(part.module)
            span = slice(unit * part.span, (unit + 1) * part.span)
            if part.side == side == "columns":
                linear.weight[:, span] = 0
            elif part.side == side:
                linear.weight[span] = 0
                linear.bias[span] = 0
    return changed


def _pass_through(_layer: nn.Module, args: Sequence[Any], kwargs: dict[str, Any], output: Any) -> Any:
    hidden = args[0] if args else kwargs["hidden_states"]
    return (hidden, *output[1:]) if isinstance(output, tuple) else hidden
