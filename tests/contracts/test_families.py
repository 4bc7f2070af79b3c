"""The laws of every model family: what its groups and counts say is what the model does."""

from __future__ import annotations

import copy
import inspect
import itertools
import sys
from collections.abc import Callable, Collection, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch_pruning
import transformers
from tiny import logits_of, mixed_inputs, tiny_bundle
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers.pytorch_utils import Conv1D

from compress import catalog
from compress.anatomy import Anatomy, Group
from compress.bundle import Bundle
from compress.dissection import anatomy_of, hidden_group
from compress.errors import ModelError
from compress.family import family_of
from compress.folder import load, save
from compress.linear import weight_of
from compress.surgery import keep_layers, keep_units

FAMILIES = catalog.names("families")


@pytest.fixture(params=FAMILIES)
def whole(request: pytest.FixtureRequest) -> Bundle:
    """A tiny model of each family, with three labels."""
    return tiny_bundle(request.param, labels=("down", "level", "up"), seed=2)


def test_parameters_are_those_that_torch_counts(whole: Bundle):
    assert whole.anatomy.parameters == _size(whole.module)
    layers = whole.family.layers(whole.module)
    inside = {id(parameter) for parameter in layers.parameters()}
    outside = 0
    for name, parameter in whole.module.named_parameters():
        if id(parameter) in inside:
            assert whole.family.part(name) == "encoder", name
        elif whole.family.part(name) == "encoder":
            outside += parameter.numel()
            assert name.split(".")[-2].endswith(("norm", "ln_f")), f"{name} is neither in a layer nor a norm behind"
    assert whole.anatomy.encoder_parameters == _size(layers) + outside


@pytest.mark.parametrize("cut", ["whole", "uneven"])
def test_flops_are_those_that_torch_counts(whole: Bundle, cut: str):
    bundle = whole if cut == "whole" else _cut(whole, _uneven)
    _check_flops(bundle, bundle.module, bundle.anatomy)


def _heads_for(family: str) -> list[str]:
    """What transformers' classes with another head of a family are called; images have none."""
    chosen = catalog.load("families", family)
    words = "ForCausalLM" if chosen.causal else "ForMaskedLM"
    texts = ["ForTokenClassification", "ForQuestionAnswering", words] if "input_ids" in chosen.inputs else []
    return ["", *texts]


@pytest.mark.parametrize(("family", "head"), [(name, head) for name in FAMILIES for head in _heads_for(name)])
def test_what_a_model_is_for_changes_no_law_of_counting(family: str, head: str):
    bundle = tiny_bundle(family)
    model = getattr(transformers, f"AutoModel{head}").from_config(bundle.module.config).eval()
    anatomy = anatomy_of(model, bundle.family)
    assert anatomy.parameters == _size(model)
    assert anatomy.encoder_parameters == bundle.anatomy.encoder_parameters
    assert [group.name for group in anatomy.groups] == [group.name for group in bundle.anatomy.groups]
    _check_flops(bundle, model, anatomy)


def test_heads_by_layer_are_those_of_the_attention_that_runs(whole: Bundle):
    cut = _cut(whole, _uneven)
    model = copy.deepcopy(cut.module)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        attentions = model(**mixed_inputs(cut), output_attentions=True).attentions
    assert [weights.shape[1] for weights in attentions] == cut.anatomy.heads_by_layer()
    assert len(attentions) == cut.anatomy.layers == len(cut.family.layers(cut.module))


def test_sdpa_is_one_call_for_each_layer_that_runs_and_leaves_no_trace(whole: Bundle, monkeypatch: pytest.MonkeyPatch):
    cut = _cut(whole, _uneven)
    stock, calls = torch.nn.functional.scaled_dot_product_attention, []

    def counted(query: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        calls.append(query.shape[1])
        return stock(query, *args, **kwargs)

    cut.module.set_attn_implementation("eager")
    inputs, before = mixed_inputs(cut), cut.digest
    wanted = logits_of(cut.module, inputs)
    # A first token that is padding may have nothing to attend to, locally, and then no right answer.
    sound = inputs["attention_mask"][:, 0] == 1 if "attention_mask" in inputs else torch.ones(4, dtype=torch.bool)
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", counted)
    with cut.family.sdpa(cut.module):
        assert torch.allclose(logits_of(cut.module, inputs)[sound], wanted[sound], atol=1e-4)
    assert calls == cut.anatomy.heads_by_layer()
    assert torch.equal(logits_of(cut.module, inputs), wanted)
    assert (len(calls), cut.with_model(cut.module).digest) == (cut.anatomy.layers, before)


def test_the_longest_input_runs_and_positions_end_there(whole: Bundle):
    longest = whole.family.longest(whole.config)
    assert longest == whole.max_tokens
    inputs = mixed_inputs(whole, batch=1)
    if whole.task.modality == "text":
        inputs = _unpadded(longest)
    with torch.no_grad():
        states = whole.module(**inputs, output_hidden_states=True).hidden_states
    assert states[0].shape[1] == longest
    learned = any(
        part in name for name, _ in whole.module.named_parameters() for part in ("position_embeddings", "wpe")
    )
    if learned and whole.task.modality == "text":
        with pytest.raises((IndexError, RuntimeError)):
            whole.module(**_unpadded(longest + 1))


@pytest.mark.parametrize("wrong", [None, "512", 0, 1.5, [], True])
def test_a_config_whose_positions_make_no_sense_is_named(whole: Bundle, wrong: object):
    key = next(name for name in ("image_size", "max_position_embeddings", "n_positions") if name in whole.config)
    with pytest.raises(ModelError, match=f"{key} is .*, wanted a whole number from 1"):
        whole.family.longest({**whole.config, key: wrong})


def test_a_local_layer_reaches_as_far_as_its_family_says(whole: Bundle):
    if whole.task.modality == "image":
        pytest.skip("a picture has no token to change")
    reach, tokens = whole.family.reach(whole.config), 16
    ids = torch.arange(10, 10 + tokens)[None]
    for layer in range(whole.anatomy.layers):
        alone = keep_layers(whole.module, whole.family, (layer,))
        local = getattr(alone.config, "layer_types", None) == ["sliding_attention"]
        assert reach is not None or not local
        for distance in range(1, tokens):
            # What is read is the first token, or a decoder's last.
            place = tokens - 1 - distance if whole.family.causal else distance
            changed = torch.where(torch.arange(tokens) == place, 99, ids)
            same, other = (
                logits_of(alone, {"input_ids": each, "attention_mask": ids * 0 + 1}) for each in (ids, changed)
            )
            assert torch.equal(same, other) == (local and distance > reach), (layer, distance)


def test_the_model_takes_the_inputs_of_its_family(whole: Bundle):
    known = inspect.signature(whole.module.forward).parameters
    assert set(whole.family.inputs) <= set(known)
    assert set(whole.family.inputs) == set(mixed_inputs(whole))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_model_type_builds_and_is_found(family: str):
    chosen = catalog.load("families", family)()
    settings = chosen.tiny(2).to_dict()
    settings.pop("model_type")
    for kind in chosen.model_types:
        config = transformers.AutoConfig.for_model(kind, **settings)
        assert isinstance(family_of(kind), type(chosen))
        model = tiny_bundle(family).task.build(config)
        found, tiny = (anatomy_of(each, chosen) for each in (model, tiny_bundle(family).module))
        assert found.parameters == _size(model)
        # Some types have biases and norms that others have not.
        assert [(group.name, group.units) for group in found.groups] == [(g.name, g.units) for g in tiny.groups]


def test_removing_a_unit_equals_masking_it(whole: Bundle):
    inputs = mixed_inputs(whole)
    original = logits_of(whole.module, inputs)
    for group in whole.anatomy.groups:
        for unit in {"heads": (0, 2), "kv_groups": (0, 1), "ffn": (1, group.units - 1)}[group.axis]:
            removed = keep_units(whole.module, whole.family, [group], [_all_but(group, unit)])
            masked = _zeroed(whole.module, group, unit, "columns")
            assert torch.allclose(logits_of(removed, inputs), logits_of(masked, inputs), atol=1e-4, rtol=1e-4)
            assert not torch.allclose(logits_of(removed, inputs), original, atol=1e-4, rtol=1e-4), "it did nothing"


def test_removing_other_heads_of_each_layer_equals_masking_them(whole: Bundle):
    """What layers share must serve each with its own heads, also after a second cut."""
    inputs, model, masked = mixed_inputs(whole), whole.module, whole.module
    most = min(group.units for group in _attentions(whole)) - 1
    for gone in (1, 2)[:most]:
        for group in _attentions(whole.with_model(model)):
            unit = (group.layer + gone) % group.units
            if gone == 1:
                masked = _zeroed(masked, group, unit, "columns")
            else:  # the numbers of the uncut model: one head before it is gone
                masked = _zeroed(masked, whole.anatomy.groups[2 * group.layer], _uncut(unit, group.layer), "columns")
            model = keep_units(model, whole.family, [group], [_all_but(group, unit)])
    assert torch.allclose(logits_of(model, inputs), logits_of(masked, inputs), atol=1e-4, rtol=1e-4)


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
def test_cutting_layers_equals_skipping_them(whole: Bundle, kept: tuple[int, ...], tmp_path):
    inputs = mixed_inputs(whole)
    cut = whole.with_model(keep_layers(whole.module, whole.family, kept))
    skipped = logits_of(_skipping(whole, kept), inputs)
    assert torch.allclose(logits_of(cut.module, inputs), skipped, atol=1e-5)
    assert cut.anatomy == whole.anatomy.with_layers(kept)
    assert cut.module.config.num_hidden_layers == len(kept) == cut.anatomy.layers
    assert cut.anatomy.parameters == _size(cut.module)
    _check_flops(cut, cut.module, cut.anatomy)
    save(cut, tmp_path)
    assert torch.equal(logits_of(load(tmp_path).module, inputs), logits_of(cut.module, inputs))
    assert cut.family.fits_stock_class(cut.module) == _stock_class_agrees(cut, tmp_path)


@pytest.mark.filterwarnings("ignore:Unwrapped parameters")
def test_groups_agree_with_the_traced_dependencies(whole: Bundle, monkeypatch: pytest.MonkeyPatch):
    """torch-pruning traces the autograd graph: what it takes out with a channel, the group must name, and no more."""
    graph, model = _traced(whole, monkeypatch)
    names = {module: name.partition(".parts.")[0] for name, module in model.named_modules()}
    for group in whole.anatomy.groups:
        traced: set[tuple[str, str]] = set()
        for part in group.slices:
            if part.side == "rows":
                producer = model.get_submodule(part.module)
                producer = producer.parts[0] if isinstance(producer, _Apart) else producer
                found = graph.get_pruning_group(producer, torch_pruning.prune_linear_out_channels, idxs=[0])
                traced |= {
                    (names[d.target.module], "columns" if d.handler.__name__.endswith("in_channels") else "rows")
                    for d, _ in found
                    if isinstance(d.target.module, nn.Linear)
                }
        assert traced == {(part.module, part.side) for part in group.slices}, group.name


def test_modules_tell_the_truth_after_a_cut(whole: Bundle):
    model = _cut(whole, _uneven).module
    attentions = 0
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            assert (module.out_features, module.in_features) == tuple(module.weight.shape), name
        if isinstance(module, Conv1D):
            assert (module.nx, module.nf) == tuple(module.weight.shape), name
        if shared := _first(module, "num_key_value_groups"):
            assert len(module.q_proj.weight) == shared * len(module.k_proj.weight) == shared * len(module.v_proj.weight)
        heads = _first(module, "num_attention_heads", "n_heads", "num_heads")
        width = _first(module, "attention_head_size", "head_dim")
        query, fused = _first(module, "query", "q_lin", "q", "q_proj", "c_attn"), hasattr(module, "c_attn")
        if heads and width:
            attentions += 1
            assert heads * width == len(weight_of(query)) // (3 if fused else 1), name
            assert getattr(module, "split_size", heads * width) == heads * width, name
            assert getattr(module, "all_head_size", heads * width) == heads * width, name
    assert attentions in (len(_attentions(whole)), 0), "a family whose attention knows no count has none"


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


@pytest.mark.parametrize("counts", ["_same", "_even_ffn", "_even_heads", "_uneven"])
def test_the_stock_class_loads_what_it_is_said_to_fit_and_nothing_else(whole: Bundle, counts: str, tmp_path):
    cut = _cut(whole, globals()[counts])
    save(cut, tmp_path)
    assert cut.family.fits_stock_class(cut.module) == _stock_class_agrees(cut, tmp_path)
    if counts in ("_same", "_even_ffn"):
        assert cut.family.fits_stock_class(cut.module)


def test_a_model_cut_to_fewer_layers_still_fits_the_stock_class(whole: Bundle, tmp_path):
    cut = whole.with_model(keep_layers(whole.module, whole.family, (0, 2)))
    save(cut, tmp_path)
    assert cut.family.fits_stock_class(cut.module)
    assert _stock_class_agrees(cut, tmp_path)


def test_cutting_the_hidden_size_equals_masking_it(whole: Bundle):
    group = hidden_group(whole.module, whole.family)
    keep = torch.rand(group.units, generator=torch.Generator().manual_seed(5)) < 0.7
    cut = _of_hidden(whole, keep)
    inputs = mixed_inputs(whole)
    masked = _masked_hidden(whole.module, group, keep)
    assert torch.allclose(logits_of(cut.module, inputs), logits_of(masked, inputs), atol=1e-5)
    assert not torch.allclose(logits_of(cut.module, inputs), logits_of(whole.module, inputs), atol=1e-2)


@pytest.mark.parametrize("left", [16, 21])
def test_a_cut_of_the_hidden_size_keeps_every_count_and_reloads(whole: Bundle, left: int, tmp_path):
    uneven = _cut(whole, _uneven)
    cut = _of_hidden(uneven, torch.arange(whole.anatomy.hidden) < left)
    assert cut.anatomy == uneven.anatomy.with_units({"hidden": left})
    assert cut.anatomy.parameters == _size(cut.module)
    assert cut.config[_key_of(cut, "hidden_size")] == cut.anatomy.hidden == left
    _check_flops(cut, cut.module, cut.anatomy)
    save(cut, tmp_path)
    again = load(tmp_path)
    assert (again.digest, again.anatomy) == (cut.digest, cut.anatomy)
    inputs = mixed_inputs(cut)
    assert torch.equal(logits_of(again.module, inputs), logits_of(cut.module, inputs))
    assert not _stock_class_agrees(cut, tmp_path)
    twice = again.with_model(keep_layers(again.module, again.family, (1, 3)))
    save(twice, tmp_path / "twice")
    assert load(tmp_path / "twice").digest == twice.digest


def test_an_even_cut_of_hidden_size_and_heads_loads_in_the_stock_class(whole: Bundle, tmp_path):
    left = whole.anatomy.hidden * 3 // 4
    even = _cut(whole, lambda group: group.units * 3 // 4 if group.axis == "heads" else group.units)
    cut = _of_hidden(even, torch.arange(whole.anatomy.hidden) < left)
    save(cut, tmp_path)
    assert cut.family.fits_stock_class(cut.module) == _stock_class_agrees(cut, tmp_path)
    # MPNet's table of position biases has a column for every head of the uncut model.
    assert cut.family.fits_stock_class(cut.module) != (whole.family.name == "mpnet")


@pytest.mark.filterwarnings("ignore:Unwrapped parameters")
def test_the_hidden_size_agrees_with_the_traced_dependencies(whole: Bundle, monkeypatch: pytest.MonkeyPatch):
    """What torch-pruning takes out with a channel of the residual stream, the group names as well. It names more: the
    outputs of a head's own layers, which the stock classes make as wide."""
    graph, model = _traced(whole, monkeypatch)
    group = hidden_group(whole.module, whole.family)
    ours = {(part.module, part.side) for part in group.slices}
    writer = model.get_submodule(whole.anatomy.groups[0].readers[0].module)
    found = graph.get_pruning_group(writer, torch_pruning.prune_linear_out_channels, idxs=[0])
    known = {
        module: name.partition(".parts.")[0]
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.LayerNorm | nn.Embedding | nn.Conv2d)
    }
    traced = {(known[one.target.module], _side(one)) for one, _ in found if one.target.module in known}
    assert len(traced) > 3 * len(whole.anatomy.layer_rest)
    assert traced <= ours
    beyond = {(path, side) for path, side in ours - traced if whole.family.part(path) != "head"}
    assert not {path for path, _ in beyond} & set(known.values()), beyond


def _side(dependency: Any) -> str:
    reads = isinstance(dependency.target.module, nn.Linear) and dependency.handler.__name__.endswith("in_channels")
    return "columns" if reads else "rows"


def test_a_group_cannot_be_emptied_and_a_mask_must_fit(whole: Bundle):
    group = whole.anatomy.groups[0]
    with pytest.raises(ModelError, match=rf"layers\.0\.{group.axis}: every unit would be removed"):
        keep_units(whole.module, whole.family, [group], [torch.zeros(group.units, dtype=torch.bool)])
    with pytest.raises(ModelError, match=rf"a mask of shape \(5,\) for {group.units} units"):
        keep_units(whole.module, whole.family, [group], [torch.ones(5, dtype=torch.bool)])
    with pytest.raises(ModelError, match="the model has layers 0 to 3"):
        keep_layers(whole.module, whole.family, (0, 4))
    with pytest.raises(ModelError, match=r"layers \[1, 1\] were asked for; wanted each once"):
        keep_layers(whole.module, whole.family, (1, 1))


def test_an_unknown_model_type_names_the_known_ones_and_says_how_to_add_one():
    with pytest.raises(ModelError) as caught:
        family_of("robert")
    message = str(caught.value)
    known = [kind for family in FAMILIES for kind in catalog.load("families", family).model_types]
    assert all(kind in message for kind in known)
    assert "did you mean 'roberta'?" in message
    assert "one file in compress/families/" in message
    assert "CONTRIBUTING.md" in message


def _unpadded(tokens: int) -> dict[str, Tensor]:
    """One text of that length: some models count positions by the tokens that are no padding."""
    return {"input_ids": torch.full((1, tokens), 7), "attention_mask": torch.ones(1, tokens, dtype=torch.long)}


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _check_flops(bundle: Bundle, model: nn.Module, anatomy: Anatomy) -> None:
    model = copy.deepcopy(model)
    model.set_attn_implementation("eager")  # the counter does not see sdpa's CPU kernel
    only = bundle.max_tokens if bundle.task.modality == "image" else None
    for batch, tokens in ((1, only or 7), (3, only or 16)):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(**mixed_inputs(bundle, batch=batch, tokens=tokens))
        assert anatomy.flops(batch, tokens) == counter.get_total_flops()


def _stock_class_agrees(cut: Bundle, folder) -> bool:
    try:
        stock = type(cut.module).from_pretrained(folder, local_files_only=True).eval()
    except (RuntimeError, ValueError):
        return False
    inputs = mixed_inputs(cut)
    return torch.allclose(logits_of(stock, inputs), logits_of(cut.module, inputs), atol=1e-6)


def _skipping(whole: Bundle, kept: Collection[int]) -> nn.Module:
    """A copy in which every run of a layer but those in `kept` hands on what it was given; good for one pass."""
    plain = copy.deepcopy(whole.module)
    runs = itertools.count()

    def skip(_layer: nn.Module, args: Sequence[Any], kwargs: dict[str, Any], output: Any) -> Any:
        if next(runs) in kept:
            return output
        hidden = args[0] if args else kwargs["hidden_states"]
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    for layer in dict.fromkeys(whole.family.layers(plain)):
        layer.register_forward_hook(skip, with_kwargs=True)
    return plain


def _of_hidden(whole: Bundle, keep: Tensor) -> Bundle:
    group = hidden_group(whole.module, whole.family)
    return whole.with_model(keep_units(whole.module, whole.family, [group], [keep]))


def _traced(whole: Bundle, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, nn.Module]:
    """torch-pruning's graph of a copy of the model, and that copy."""
    model = _with_plain_linears(whole.module)
    model.set_attn_implementation("eager")
    if hasattr(encoder := getattr(model.base_model, "encoder", None), "compute_position_bias"):
        # A bias that all layers add couples their heads in a trace; a cut gives each layer its own columns of it.
        monkeypatch.setattr(encoder, "compute_position_bias", lambda _hidden: None)
    if whole.family.name == "llama":
        # The turn by a position swaps halves of a head, round which torch-pruning 1.6.1 runs for ever.
        stock = sys.modules[type(whole.module).__module__]
        monkeypatch.setattr(stock, "apply_rotary_pos_emb", lambda query, key, _cos, _sin: (query, key))
    graph = torch_pruning.DependencyGraph().build_dependency(
        model, example_inputs=mixed_inputs(whole), output_transform=lambda output: output.logits
    )
    return graph, model


def _masked_hidden(model: nn.Module, group: Group, keep: Tensor) -> nn.Module:
    """A copy in which nothing is written to the channels that left, and norms count the others alone."""
    plain, shown = copy.deepcopy(model), keep.float()

    def silence(_module: nn.Module, _args: object, output: Tensor) -> Tensor:
        return output * (shown.view(-1, 1, 1) if isinstance(_module, nn.Conv2d) else shown)

    def norm(module: Any, args: tuple[Tensor, ...], _output: Tensor) -> Tensor:
        kept = args[0][..., keep]
        centred = kept - kept.mean(-1, keepdim=True) if isinstance(module, nn.LayerNorm) else kept
        eps = module.eps if isinstance(module, nn.LayerNorm) else module.variance_epsilon
        normed = torch.zeros_like(args[0])
        normed[..., keep] = centred * (centred.square().mean(-1, keepdim=True) + eps).rsqrt()
        bias = getattr(module, "bias", None)
        return (normed * module.weight + (0 if bias is None else bias)) * shown

    for part in group.slices:
        path, _, leaf = part.module.rpartition(".")
        owner = plain.get_submodule(path)
        if part.side == "columns":
            continue
        if leaf in owner._parameters:
            owner._parameters[leaf].data.mul_(shown)
            continue
        module = getattr(owner, leaf)
        module.register_forward_hook(norm if module.weight.ndim == 1 else silence)
    return plain


def _key_of(bundle: Bundle, name: str) -> str:
    """The config's own name for what others call `name`."""
    return bundle.module.config.attribute_map.get(name, name)


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
    return group.units // 2 if group.heads else group.units


def _uneven(group: Group) -> int:
    if group.axis == "kv_groups":
        return group.units - group.layer % 2
    return max(1, group.units - (group.layer + 1) * (1 if group.axis == "heads" else 9))


def _attentions(bundle: Bundle) -> list[Group]:
    """The groups of heads, or of KV groups, one a layer."""
    return [group for group in bundle.anatomy.groups if group.heads]


def _with_plain_linears(model: nn.Module) -> nn.Module:
    """A copy in which GPT-2's `Conv1D` are linear layers of the kind that tracing knows."""
    plain = copy.deepcopy(model)
    for name, module in list(plain.named_modules()):
        if isinstance(module, Conv1D):
            parts = [_linear(*part) for part in zip(module.weight.T.chunk(3), module.bias.chunk(3), strict=True)]
            fused = name.endswith("c_attn")
            plain.set_submodule(name, _Apart(parts) if fused else _linear(module.weight.T, module.bias))
    return plain


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    linear.load_state_dict({"weight": weight, "bias": bias})
    return linear


class _Apart(nn.Module):
    """A fused projection as three: torch-pruning 1.6.1 can't follow a channel through the split of what one makes."""

    def __init__(self, parts: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, hidden: Tensor) -> SimpleNamespace:
        made = [part(hidden) for part in self.parts]
        return SimpleNamespace(split=lambda *_size, **_place: made)


def _uncut(unit: int, gone: int) -> int:
    """The number in the uncut model of a unit, where layer `gone` lost the unit `gone + 1` of 4 before."""
    return unit + (unit >= (gone + 1) % 4)


def _first(module: nn.Module, *names: str) -> Any:
    """The first attribute of these names that a module has, else None."""
    return next((getattr(module, name) for name in names if hasattr(module, name)), None)


def _all_but(group: Group, unit: int) -> Tensor:
    return torch.arange(group.units) != unit


def _zeroed(model: nn.Module, group: Group, unit: int, side: str) -> nn.Module:
    """A copy in which a unit is not read (`columns`), or says nothing (`rows`)."""
    changed = copy.deepcopy(model)
    with torch.no_grad():
        for part in group.slices:
            linear: Any = changed.get_submodule(part.module)
            for block in range(part.blocks):
                start = (block * group.units + unit) * part.span
                if part.side == side == "columns":
                    weight_of(linear)[:, start : start + part.span] = 0
                elif part.side == side:
                    weight_of(linear)[start : start + part.span] = 0
                    if linear.bias is not None:
                        linear.bias[start : start + part.span] = 0
    return changed
