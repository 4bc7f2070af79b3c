"""The Transformer layer that most families share, described by where a family keeps its parts.

A `Layout` is that description as data. The functions read groups from it, bring attributes and config in line with the
weights, and say whether the stock class can hold them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from compress.anatomy import Group
from compress.dissection import group_of
from compress.errors import ModelError
from compress.linear import weight_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch.nn import ModuleList
    from transformers import PreTrainedModel

    from compress.family import Part


@dataclass(frozen=True)
class Layout:
    """Where the parts of a layer are, as dotted paths below the layer, and what attributes and config call them."""

    layers: str
    """The list of layers, below the base model."""
    attention: str
    """The module that knows the width and the number of its heads."""
    projections: tuple[str, ...]
    """The linear layers whose rows are the heads' queries, keys and values."""
    attention_output: str
    ffn_input: str
    ffn_output: str
    fused_projections: int = 1
    """How many equal parts each projection has that all hold every head: 3 where one layer makes q, k and v."""
    fused_ffn: int = 1
    """The same of the FFN's input: 2 where one layer makes the gate and what is gated."""
    head_width: str = "attention_head_size"
    """The attention's attribute for the width of a head."""
    head_count: str | None = "num_attention_heads"
    """The attention's attribute for the number of its heads; None where it has none."""
    config_ffn: str = "intermediate_size"
    """The config's key for the width of the FFN."""


BERT_LAYER = Layout(
    layers="encoder.layer",
    attention="attention.self",
    projections=("attention.self.query", "attention.self.key", "attention.self.value"),
    attention_output="attention.output.dense",
    ffn_input="intermediate.dense",
    ffn_output="output.dense",
)


def layers_at(model: PreTrainedModel, layout: Layout) -> ModuleList:
    """The model's own list of layers."""
    return cast("ModuleList", model.get_submodule(path_below(model, layout.layers)))


def groups_at(model: PreTrainedModel, layout: Layout, *, repeats: Sequence[int] | None = None) -> list[Group]:
    """Heads and FFN of every layer; `repeats` says how often each runs in a forward pass, once where it is left out."""
    found: list[Group] = []
    for index, layer in enumerate(layers_at(model, layout)):
        path = f"{path_below(model, layout.layers)}.{index}"
        width = head_width(layer, layout)
        times = 1 if repeats is None else repeats[index]
        heads = group_of(
            model,
            "heads",
            index,
            spans={f"{path}.{name}": width for name in layout.projections},
            blocks=layout.fused_projections,
            reader=f"{path}.{layout.attention_output}",
            pair_macs=2 * width,
            repeats=times,
            heads=1,
        )
        ffn = group_of(
            model,
            "ffn",
            index,
            spans={f"{path}.{layout.ffn_input}": 1},
            blocks=layout.fused_ffn,
            reader=f"{path}.{layout.ffn_output}",
            repeats=times,
        )
        found += [heads, ffn]
    return found


def path_below(model: PreTrainedModel, path: str) -> str:
    """The path from the model of what lies below its base model: a base model is it itself, others hold one under its
    family's name."""
    base = model.base_model_prefix
    return f"{base}.{path}" if hasattr(model, base) else path


def part_at(name: str, base: str, *, embeddings: tuple[str, ...], encoder: tuple[str, ...]) -> Part:
    """The part that a dotted name belongs to, by how it begins below the base model; `embeddings` are asked first."""
    below = name.removeprefix(f"{base}.")
    if below.startswith(embeddings):
        return "embeddings"
    return "encoder" if below.startswith(encoder) else "head"


def settle_widths(model: PreTrainedModel, layout: Layout) -> None:
    """Set every layer's head count, attention width and number, the config's hidden size, and its FFN width where all
    layers agree.

    Where a head's width is what the stock class makes of hidden size and heads, the config's heads are those of which
    it comes out right; no config could say what each layer has.
    """
    layers: Any = layers_at(model, layout)
    for index, layer in enumerate(layers):
        attention: Any = layer.get_submodule(layout.attention)
        if layout.head_count is not None:
            setattr(attention, layout.head_count, heads_in(layer, layout))
        if hasattr(attention, "all_head_size"):
            attention.all_head_size = heads_in(layer, layout) * getattr(attention, layout.head_width)
        for module in (layer, attention):
            if hasattr(module, "layer_idx"):
                module.layer_idx = index
    config = model.config
    config.hidden_size = hidden_in(layers[0], layout)
    if getattr(config, "head_dim", None) is None:
        config.num_attention_heads = -(-config.hidden_size // head_width(layers[0], layout))
    widths = {channels_in(layer, layout) for layer in layers}
    if len(widths) == 1:
        setattr(config, layout.config_ffn, widths.pop())


def fits_config(model: PreTrainedModel, layout: Layout) -> bool:
    """Whether every layer has just the heads, their width and the FFN width that the stock class makes of it all."""
    config = model.config
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size / heads
    return all(
        (heads_in(layer, layout), head_width(layer, layout)) == (heads, width)
        and channels_in(layer, layout) == getattr(config, layout.config_ffn)
        for layer in layers_at(model, layout)
    )


def whole_number(config: Mapping[str, Any], key: str, default: int, *, least: int = 1) -> int:
    """A whole number out of a `config.json`; `default` is the stock class's, for a file that leaves it out.

    Raises:
        ModelError: it is something else, or below `least`.
    """
    value = config.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ModelError(f"config.json: {key} is {value!r}, wanted a whole number from {least}; was it edited by hand?")
    return value


def heads_in(layer: Any, layout: Layout) -> int:
    """The number of heads that a layer's weights make."""
    rows = len(weight_of(layer.get_submodule(layout.projections[0])))
    return rows // (layout.fused_projections * head_width(layer, layout))


def head_width(layer: Any, layout: Layout) -> int:
    """The width of one head of a layer."""
    width: int = getattr(layer.get_submodule(layout.attention), layout.head_width)
    return width


def hidden_in(layer: Any, layout: Layout) -> int:
    """The hidden size that a layer's weights read."""
    return int(weight_of(layer.get_submodule(layout.projections[0])).shape[1])


def channels_in(layer: Any, layout: Layout) -> int:
    """The number of FFN channels that a layer's weights make."""
    return len(weight_of(layer.get_submodule(layout.ffn_input))) // layout.fused_ffn
