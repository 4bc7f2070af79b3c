"""ModernBERT (Warner et al. 2024): pre-norm, rotary positions, local and global attention in turn, gated FFN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from compress.anatomy import Group
from compress.families.layout import Layout, fits_config, groups_at, layers_at, part_at, settle_widths, whole_number
from compress.family import Family

if TYPE_CHECKING:
    from torch.nn import ModuleList
    from transformers import PretrainedConfig, PreTrainedModel

    from compress.family import Part

LAYER = Layout(
    layers="layers",
    attention="attn",
    projections=("attn.Wqkv",),
    attention_output="attn.Wo",
    ffn_input="mlp.Wi",
    ffn_output="mlp.Wo",
    fused_projections=3,
    fused_ffn=2,
    head_width="head_dim",
    head_count=None,
)


class Modernbert(Family):
    """Pre-norm encoder with `Wqkv` and `Wi` fused; its first layer has no attention norm, for its input is normed.

    Without that layer another one is first, which keeps its norm: `attention_norms` in the config then says which
    layers have one. Which attend locally is in the stock config's `layer_types`.
    """

    name: ClassVar[str] = "modernbert"
    model_types: ClassVar[tuple[str, ...]] = ("modernbert",)
    normed_last: ClassVar[bool] = True

    def tiny(self, labels: int) -> PretrainedConfig:
        from transformers import ModernBertConfig

        return ModernBertConfig(
            vocab_size=120,
            hidden_size=32,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=64,
            local_attention=6,
            num_labels=labels,
            pad_token_id=0,
            cls_token_id=2,
            bos_token_id=2,
            sep_token_id=3,
            eos_token_id=3,
        )

    def longest(self, config: Mapping[str, Any]) -> int | None:
        return whole_number(config, "max_position_embeddings", 8192)

    def reach(self, config: Mapping[str, Any]) -> int | None:
        return whole_number(config, "local_attention", 128) // 2

    def layers(self, model: PreTrainedModel) -> ModuleList:
        return layers_at(model, LAYER)

    def groups(self, model: PreTrainedModel) -> Sequence[Group]:
        return groups_at(model, LAYER)

    def part(self, parameter: str) -> Part:
        return part_at(parameter, "model", embeddings=("embeddings",), encoder=("layers", "final_norm"))

    def settle(self, model: PreTrainedModel) -> None:
        layers = cast("Any", self.layers(model))
        model.config.num_hidden_layers = len(layers)
        model.config.layer_types = [layer.attention_type for layer in layers]
        if (normed := _normed(model)) != _stock_norms(len(layers)):
            model.config.attention_norms = normed
        elif hasattr(model.config, "attention_norms"):
            del model.config.attention_norms
        settle_widths(model, LAYER)

    def fits_stock_class(self, model: PreTrainedModel) -> bool:
        return fits_config(model, LAYER) and _normed(model) == _stock_norms(len(self.layers(model)))

    def restore(self, model: PreTrainedModel) -> None:
        from torch import nn

        config = model.config
        for layer, normed in zip(cast("Any", self.layers(model)), getattr(config, "attention_norms", ()), strict=False):
            stock = nn.LayerNorm(config.hidden_size, eps=config.norm_eps, bias=config.norm_bias)
            layer.attn_norm = stock if normed else nn.Identity()


def _normed(model: PreTrainedModel) -> list[bool]:
    """For each layer, whether its attention's input is normed."""
    from torch import nn

    return [not isinstance(layer.get_submodule("attn_norm"), nn.Identity) for layer in layers_at(model, LAYER)]


def _stock_norms(layers: int) -> list[bool]:
    return [index > 0 for index in range(layers)]
