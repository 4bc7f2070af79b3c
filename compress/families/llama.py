"""Llama (Touvron et al. 2023) and the decoders with its layout: SmolLM, Mistral, Qwen2, Qwen3."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from compress.anatomy import Anatomy, Axis, Group
from compress.dissection import group_of
from compress.errors import ModelError
from compress.families.layout import part_at, path_below, whole_number
from compress.family import Family
from compress.linear import weight_of

if TYPE_CHECKING:
    from torch.nn import ModuleList
    from transformers import PretrainedConfig, PreTrainedModel

    from compress.family import Part


class Llama(Family):
    """Pre-norm decoder with rotary positions, a gated FFN, and key-value heads that several query heads may share.

    Where they do (Ainslie et al. 2023), a unit of attention is a KV group: a key-value head and its query heads.
    """

    name: ClassVar[str] = "llama"
    model_types: ClassVar[tuple[str, ...]] = ("llama", "mistral", "qwen2", "qwen3")
    normed_last: ClassVar[bool] = True
    causal: ClassVar[bool] = True

    def tiny(self, labels: int) -> PretrainedConfig:
        from transformers import LlamaConfig

        return LlamaConfig(
            vocab_size=120,
            hidden_size=32,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            intermediate_size=64,
            max_position_embeddings=64,
            num_labels=labels,
            pad_token_id=0,
            bos_token_id=2,
            eos_token_id=3,
            tie_word_embeddings=True,
        )

    def longest(self, config: Mapping[str, Any]) -> int | None:
        return whole_number(config, "max_position_embeddings", 2048)

    def reach(self, config: Mapping[str, Any]) -> int | None:
        window = config.get("sliding_window")
        kinds = config.get("layer_types")
        if window is None or (kinds is not None and "sliding_attention" not in kinds):
            return None
        return whole_number(config, "sliding_window", 1) - 1  # a token sees itself as well

    def config_from(self, document: Mapping[str, Any]) -> PretrainedConfig:
        config: Any = super().config_from(document)
        _check_heads(config.num_attention_heads, config.num_key_value_heads)
        return cast("PretrainedConfig", config)

    def layers(self, model: PreTrainedModel) -> ModuleList:
        return cast("ModuleList", model.get_submodule(path_below(model, "layers")))

    def groups(self, model: PreTrainedModel) -> Sequence[Group]:
        found: list[Group] = []
        for index, layer in enumerate(cast("Any", self.layers(model))):
            path = f"{path_below(model, 'layers')}.{index}"
            shared, width = layer.self_attn.num_key_value_groups, layer.self_attn.head_dim
            axis: Axis = "heads" if shared == 1 else "kv_groups"
            attention = group_of(
                model,
                axis,
                index,
                spans={
                    f"{path}.self_attn.q_proj": shared * width,
                    f"{path}.self_attn.k_proj": width,
                    f"{path}.self_attn.v_proj": width,
                },
                reader=f"{path}.self_attn.o_proj",
                pair_macs=2 * shared * width,
                heads=shared,
            )
            ffn = group_of(
                model,
                "ffn",
                index,
                spans={f"{path}.mlp.gate_proj": 1, f"{path}.mlp.up_proj": 1},
                reader=f"{path}.mlp.down_proj",
            )
            found += [attention, ffn]
        return found

    def part(self, parameter: str) -> Part:
        below = parameter.removeprefix("transformer.")  # so the question answering models call their base
        return part_at(below, "model", embeddings=("embed_tokens",), encoder=("layers", "norm"))

    def keep_layers(self, model: PreTrainedModel, kept: Sequence[int]) -> None:
        super().keep_layers(model, kept)
        config: Any = model.config
        if (kinds := getattr(config, "layer_types", None)) is not None:
            config.layer_types = [kinds[index] for index in kept]
        if hasattr(base := cast("Any", model.base_model), "has_sliding_layers"):
            base.has_sliding_layers = "sliding_attention" in config.layer_types

    def make_room(self, config: PretrainedConfig, anatomy: Anatomy) -> None:
        attentions = [group for group in anatomy.groups if group.heads]
        keys, shared = max(group.units for group in attentions), attentions[0].heads
        config.num_attention_heads, config.num_key_value_heads = keys * shared, keys
        config.head_dim = attentions[0].slices[1].span
        # A multiple of the heads, which Llama's config wants; what is too much leaves again.
        config.hidden_size = -(-anatomy.hidden // (keys * shared)) * keys * shared

    def settle(self, model: PreTrainedModel) -> None:
        layers, config = cast("Any", self.layers(model)), model.config
        config.num_hidden_layers = len(layers)
        for index, layer in enumerate(layers):
            layer.self_attn.layer_idx = index
            layer.mlp.intermediate_size, config.hidden_size = weight_of(layer.mlp.gate_proj).shape
            layer.hidden_size = layer.mlp.hidden_size = config.hidden_size
        channels = {layer.mlp.intermediate_size for layer in layers}
        if len(channels) == 1:
            config.intermediate_size = channels.pop()
        queries, keys = max(_heads_in(layer) for layer in layers)
        if config.model_type == "llama" and config.hidden_size % queries:
            # Its config refuses heads that do not divide the hidden size, though nothing in the model asks for it; and
            # a folder whose config is refused gives nobody its tokenizer. The anatomy has the true numbers.
            queries = math.gcd(config.hidden_size, queries)
            keys = math.gcd(queries, keys)
        config.num_attention_heads, config.num_key_value_heads = queries, keys
        _name_width(config, layers[0].self_attn.head_dim)

    def fits_stock_class(self, model: PreTrainedModel) -> bool:
        config = model.config
        return all(
            _heads_in(layer) == (config.num_attention_heads, config.num_key_value_heads)
            and len(weight_of(layer.mlp.gate_proj)) == config.intermediate_size
            for layer in cast("Any", self.layers(model))
        )


def _name_width(config: Any, width: int) -> None:
    """Let the config say how wide a head is; Qwen2's has no key of its own for it, and says it only where it must."""
    computed = config.hidden_size == width * config.num_attention_heads
    if hasattr(type(config), "head_dim") or not computed:
        config.head_dim = width
    else:
        config.__dict__.pop("head_dim", None)


def _heads_in(layer: Any) -> tuple[int, int]:
    """Query heads and key-value heads that a layer's weights make."""
    attention = layer.self_attn
    queries, keys = (len(weight_of(linear)) for linear in (attention.q_proj, attention.k_proj))
    return queries // attention.head_dim, keys // attention.head_dim


def _check_heads(queries: int, keys: int) -> None:
    """See that every key-value head has as many query heads: the stock classes round, and cut the rest off."""
    if keys < 1 or queries % keys:
        raise ModelError(
            f"config.json: num_attention_heads is {queries}, num_key_value_heads {keys}; the first has to be a "
            "multiple of the second, as every key-value head serves equally many query heads"
        )
