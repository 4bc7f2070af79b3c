"""The model types of the family `llama` that its tiny model is not: each keeps the laws of cuts, folders and graphs."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import lively, mixed_inputs, tiny_tokenizer
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from compress.anatomy import Group
from compress.bundle import Bundle, plain_config
from compress.dissection import anatomy_of, hidden_group
from compress.errors import ModelError
from compress.families.llama import Llama
from compress.folder import load, save, stock_model
from compress.graph.build import build_graph
from compress.graph.verify import fusion, parity
from compress.surgery import keep_layers, keep_units
from compress.task import task_of

GROUPED = {"num_attention_heads": 4, "num_key_value_heads": 2}
WINDOW = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 2}
TYPES: dict[str, dict[str, Any]] = {
    "llama": {"num_attention_heads": 4, "num_key_value_heads": 4, "attention_bias": True, "mlp_bias": True},
    "mistral": {**GROUPED, "sliding_window": 5},
    "qwen2": {**GROUPED, "tie_word_embeddings": True},
    "qwen2 with windows": {**GROUPED, **WINDOW},
    "qwen3": {**GROUPED, "head_dim": 16},
}


def bundle_of(kind: str, **changes: Any) -> Bundle:
    """A tiny causal language model of a type, with random weights."""
    sizes = {"vocab_size": 120, "hidden_size": 32, "num_hidden_layers": 4, "intermediate_size": 64}
    settings = {**sizes, "max_position_embeddings": 64, "pad_token_id": 0, **TYPES[kind], **changes}
    family, task = Llama(), task_of("text-generation")
    model = lively(task.build(AutoConfig.for_model(kind.partition(" ")[0], **settings)), 3)
    tokenizer = tiny_tokenizer(120, 64, family.inputs)
    return Bundle(model, plain_config(model), anatomy_of(model, family), tokenizer, task, ())


@pytest.fixture(params=TYPES)
def whole(request: pytest.FixtureRequest) -> Bundle:
    """A model of each type."""
    return bundle_of(request.param)


def answers(model: nn.Module, bundle: Bundle) -> Tensor:
    """What the model says at every token that is no padding."""
    inputs = mixed_inputs(bundle)
    with torch.no_grad():
        found: Tensor = model(**inputs).logits[inputs["attention_mask"] == 1]
    return found


def cut_to(bundle: Bundle, uneven: bool) -> Bundle:
    """Half of the units of every group, or of every other layer's."""
    groups = bundle.anatomy.groups
    masks = [torch.arange(g.units) < (g.units if uneven and g.layer % 2 else g.units // 2) for g in groups]
    return bundle.with_model(keep_units(bundle.module, bundle.family, groups, masks))


@pytest.mark.parametrize("uneven", [None, True])
def test_parameters_and_flops_are_those_that_torch_counts(whole: Bundle, uneven: bool | None):
    bundle = whole if uneven is None else cut_to(whole, uneven)
    assert bundle.anatomy.parameters == sum(parameter.numel() for parameter in bundle.module.parameters())
    model = copy.deepcopy(bundle.module)
    model.set_attn_implementation("eager")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(**mixed_inputs(bundle, batch=3, tokens=9))
    assert bundle.anatomy.flops(3, 9) == counter.get_total_flops()


def test_removing_a_unit_equals_masking_it(whole: Bundle):
    original = answers(whole.module, whole)
    for group in whole.anatomy.groups[:2]:
        removed = keep_units(whole.module, whole.family, [group], [torch.arange(group.units) != 1])
        assert torch.allclose(answers(removed, whole), answers(_unread(whole.module, group, 1), whole), atol=1e-4)
        assert not torch.allclose(answers(removed, whole), original, atol=1e-3)


def test_units_are_heads_where_each_has_a_key_of_its_own_and_else_kv_groups(whole: Bundle):
    shared = whole.config["num_attention_heads"] // whole.config["num_key_value_heads"]
    for group in whole.anatomy.groups[::2]:
        assert (group.axis, group.heads) == ("heads" if shared == 1 else "kv_groups", shared)
        assert group.units == whole.config["num_key_value_heads"]


def test_an_uneven_cut_reloads(whole: Bundle, tmp_path: Path):
    cut = cut_to(whole, uneven=True)
    save(cut, tmp_path)
    again = load(tmp_path)
    assert again.anatomy == cut.anatomy
    assert again.config == cut.config == again.with_model(again.module).config
    assert torch.equal(answers(again.module, whole), answers(cut.module, whole))
    assert not cut.family.fits_stock_class(cut.module)


def test_an_even_cut_loads_in_the_stock_class(whole: Bundle, tmp_path: Path):
    even = cut_to(whole, uneven=False)
    cut = even.with_model(keep_layers(even.module, even.family, (1, 3)))
    save(cut, tmp_path)
    assert cut.family.fits_stock_class(cut.module)
    stock = AutoModelForCausalLM.from_pretrained(tmp_path, local_files_only=True).eval()
    assert torch.allclose(answers(stock, whole), answers(cut.module, whole), atol=1e-5)
    assert (stock.lm_head.weight is stock.model.embed_tokens.weight) == whole.config["tie_word_embeddings"]


@pytest.mark.parametrize("uneven", [False, True])
def test_a_cut_of_the_hidden_size_equals_masking_it_and_reloads(whole: Bundle, uneven: bool, tmp_path: Path):
    first = cut_to(whole, uneven)
    group = hidden_group(first.module, first.family)
    keep = torch.rand(group.units, generator=torch.Generator().manual_seed(5)) < 0.7
    cut = first.with_model(keep_units(first.module, first.family, [group], [keep]))
    assert cut.anatomy == first.anatomy.with_units({"hidden": int(keep.sum())})
    assert cut.anatomy.parameters == sum(parameter.numel() for parameter in cut.module.parameters())
    assert torch.allclose(answers(cut.module, whole), answers(_masked(first.module, keep), whole), atol=1e-4)
    tied = whole.config["tie_word_embeddings"]
    assert (cut.module.lm_head.weight is cut.module.model.embed_tokens.weight) == tied
    save(cut, tmp_path)
    again = load(tmp_path)
    assert (again.config, again.anatomy) == (cut.config, cut.anatomy)
    assert torch.equal(answers(again.module, whole), answers(cut.module, whole))
    assert (again.module.lm_head.weight is again.module.model.embed_tokens.weight) == tied


def _masked(model: nn.Module, keep: Tensor) -> nn.Module:
    """A copy whose residual stream has nothing in the channels that leave; norms divide by those that stay alone."""
    changed = copy.deepcopy(model)
    share = (keep.sum() / len(keep)).sqrt()
    with torch.no_grad():
        changed.model.embed_tokens.weight.mul_(keep)
        if changed.lm_head.weight is not changed.model.embed_tokens.weight:
            changed.lm_head.weight.mul_(keep)
        for layer in changed.model.layers:
            for linear in (layer.self_attn.o_proj, layer.mlp.down_proj):
                linear.weight.mul_(keep[:, None])
                if linear.bias is not None:
                    linear.bias.mul_(keep)
            for norm in (layer.input_layernorm, layer.post_attention_layernorm):
                _narrow(norm, share)
        _narrow(changed.model.norm, share)
    return changed


def _narrow(norm: nn.Module, share: Tensor) -> None:
    """A mean over all channels, most of them nothing, is this much smaller than one over those that stay."""
    norm.weight.mul_(share)
    norm.variance_epsilon = float(norm.variance_epsilon * share**2)


def test_heads_that_do_not_divide_the_hidden_size_spoil_no_folder(tmp_path: Path):
    whole = bundle_of("llama")
    heads = [group for group in whole.anatomy.groups if group.heads]
    masks = [torch.tensor([True, True, False, True])] * len(heads)
    cut = whole.with_model(keep_units(whole.module, whole.family, heads, masks))
    assert 32 % 3, "Llama's config refuses three heads"
    save(cut, tmp_path)
    assert not cut.family.fits_stock_class(cut.module)
    assert AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)("w1 w2")["input_ids"]
    again = load(tmp_path)
    assert again.anatomy.heads_by_layer() == [3, 3, 3, 3]
    assert torch.equal(answers(again.module, whole), answers(cut.module, whole))


@pytest.mark.parametrize(("queries", "keys"), [(4, 3), (2, 4), (4, 0)])
def test_head_counts_that_do_not_divide_are_named(queries: int, keys: int):
    config = {**bundle_of("qwen3").config, "num_attention_heads": queries, "num_key_value_heads": keys}
    with pytest.raises(ModelError, match=f"num_attention_heads is {queries}, num_key_value_heads {keys}"):
        stock_model(config, task_of("text-generation"))


@pytest.mark.parametrize(
    ("kind", "reach"), [("llama", None), ("mistral", 4), ("qwen2", None), ("qwen2 with windows", 3)]
)
def test_a_layer_reaches_as_far_back_as_its_family_says_and_never_forward(kind: str, reach: int | None):
    whole = bundle_of(kind)
    assert whole.family.reach(whole.config) == reach
    alone = keep_layers(whole.module, whole.family, (3,))  # of Qwen2's, one of those with a window
    assert getattr(alone.config, "layer_types", ["as all"]) in (["as all"], ["full_attention"], ["sliding_attention"])
    ids, place = torch.arange(20, 36)[None], 8
    changed = torch.where(torch.arange(16) == place, 99, ids)
    with torch.no_grad():
        same, other = (alone(input_ids=each, attention_mask=torch.ones_like(each)).logits[0] for each in (ids, changed))
    touched = (same != other).any(dim=-1).nonzero().flatten().tolist()
    assert touched == list(range(place, 16 if reach is None else place + reach + 1))


def test_layers_keep_their_windows_when_others_leave():
    whole = bundle_of("qwen2 with windows")
    kinds = whole.config["layer_types"]
    assert kinds == ["full_attention"] * 2 + ["sliding_attention"] * 2
    cut = whole.with_model(keep_layers(whole.module, whole.family, (0, 3)))
    assert cut.config["layer_types"] == [kinds[0], kinds[3]]
    full = keep_layers(whole.module, whole.family, (0, 1))
    assert not full.model.has_sliding_layers
    assert whole.family.reach(plain_config(full)) is None


@pytest.mark.slow
def test_an_uneven_export_says_what_torch_says(whole: Bundle, tmp_path: Path):
    cut = cut_to(whole, uneven=True)
    small = cut.with_model(keep_layers(cut.module, cut.family, (1, 2)))
    graph = build_graph(small, tmp_path / "model.onnx", attention="fused")
    for finding in (fusion(graph, small.anatomy.heads_by_layer(), "fused"), parity(small, graph, seed=5)):
        assert finding.passed, finding.detail
    assert small.module.config.use_cache, "what exporting turns off is on again"


def _unread(model: nn.Module, group: Group, unit: int) -> nn.Module:
    """A copy in which nothing reads a unit."""
    changed = copy.deepcopy(model)
    for part in group.readers:
        changed.get_submodule(part.module).weight.data[:, unit * part.span : (unit + 1) * part.span] = 0
    return changed
