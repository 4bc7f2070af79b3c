"""GPT-2 (Radford et al. 2019) and the decoders with its layout: DistilGPT2, DialoGPT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from compress.anatomy import Group
from compress.families.layout import (
    Layout,
    channels_in,
    groups_at,
    heads_in,
    layers_at,
    part_at,
    settle_widths,
    whole_number,
)
from compress.family import Family
from compress.linear import weight_of

if TYPE_CHECKING:
    from torch.nn import ModuleList
    from transformers import PretrainedConfig, PreTrainedModel

    from compress.family import Part

LAYER = Layout(
    layers="h",
    attention="attn",
    projections=("attn.c_attn",),
    attention_output="attn.c_proj",
    ffn_input="mlp.c_fc",
    ffn_output="mlp.c_proj",
    fused_projections=3,
    head_width="head_dim",
    head_count="num_heads",
    config_ffn="n_inner",
)


class Gpt2(Family):
    """Pre-norm decoder with learned positions; its linear layers keep their weights the other way round (`Conv1D`).

    The stock class counts positions from the start of a row, padding included, unless it is told them.
    """

    name: ClassVar[str] = "gpt2"
    model_types: ClassVar[tuple[str, ...]] = ("gpt2",)
    ffn_key: ClassVar[str] = LAYER.config_ffn
    normed_last: ClassVar[bool] = True
    causal: ClassVar[bool] = True
    pads_behind: ClassVar[bool] = True

    def tiny(self, labels: int) -> PretrainedConfig:
        from transformers import GPT2Config

        return GPT2Config(
            vocab_size=120,
            n_embd=32,
            n_layer=4,
            n_head=4,
            n_positions=64,
            num_labels=labels,
            pad_token_id=0,
            bos_token_id=2,
            eos_token_id=3,
        )

    def longest(self, config: Mapping[str, Any]) -> int | None:
        return whole_number(config, "n_positions", 1024)

    def layers(self, model: PreTrainedModel) -> ModuleList:
        return layers_at(model, LAYER)

    def groups(self, model: PreTrainedModel) -> Sequence[Group]:
        return groups_at(model, LAYER)

    def part(self, parameter: str) -> Part:
        return part_at(parameter, "transformer", embeddings=("wte", "wpe"), encoder=("h.", "ln_f"))

    def keep_layers(self, model: PreTrainedModel, kept: Sequence[int]) -> None:
        super().keep_layers(model, kept)
        if not model.config.scale_attn_by_inverse_layer_idx:
            return
        # The stock class divides the scores of its layer i by i + 1. A layer that moves keeps its scores: what its new
        # number changes about the divisor goes into the queries.
        for index, layer in enumerate(cast("Any", self.layers(model))):
            before = layer.attn.layer_idx
            _scale_queries(layer.attn, (index + 1) / (before + 1))
            layer.attn.scaling *= (before + 1) / (index + 1)

    def settle(self, model: PreTrainedModel) -> None:
        layers, config = cast("Any", self.layers(model)), model.config
        config.num_hidden_layers = len(layers)
        for layer in layers:
            # What c_attn makes is split into three parts of this length.
            layer.attn.split_size = layer.attn.embed_dim = heads_in(layer, LAYER) * layer.attn.head_dim
        unsaid = config.n_inner is None
        settle_widths(model, LAYER)
        if unsaid:  # the stock class then takes four times the hidden size
            widths = {channels_in(layer, LAYER) for layer in layers}
            config.n_inner = None if widths == {4 * config.hidden_size} else max(widths)

    def fits_stock_class(self, model: PreTrainedModel) -> bool:
        # The stock class computes a head's width as hidden size / heads, so it has no room for fewer heads.
        config = model.config
        channels = config.n_inner or 4 * config.hidden_size
        return all(
            layer.attn.split_size == config.hidden_size
            and heads_in(layer, LAYER) == config.num_attention_heads
            and channels_in(layer, LAYER) == channels
            for layer in cast("Any", self.layers(model))
        )


def _scale_queries(attention: Any, factor: float) -> None:
    import torch

    queries = len(weight_of(attention.c_attn)) // 3  # by the weights: heads may have left since `split_size` was set
    with torch.no_grad():
        weight_of(attention.c_attn)[:queries] *= factor
        attention.c_attn.bias[:queries] *= factor
