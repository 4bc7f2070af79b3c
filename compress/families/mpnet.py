"""MPNet (Song et al. 2020): BERT's layers with relative positions, one bias a head that all layers share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MethodType
from typing import TYPE_CHECKING, Any, ClassVar, cast

from compress.anatomy import Anatomy, Group
from compress.families.layout import Layout, fits_config, groups_at, layers_at, part_at, settle_widths, whole_number
from compress.family import Family

if TYPE_CHECKING:
    from jaxtyping import Bool
    from torch import Tensor
    from torch.nn import ModuleList
    from transformers import PretrainedConfig, PreTrainedModel

    from compress.family import Part

LAYER = Layout(
    layers="encoder.layer",
    attention="attention.attn",
    projections=("attention.attn.q", "attention.attn.k", "attention.attn.v"),
    attention_output="attention.attn.o",
    ffn_input="intermediate.dense",
    ffn_output="output.dense",
)

# The stock class has this index in its code, whatever the config says.
PADDING = 1


class Mpnet(Family):
    """Post-norm encoder; `relative_attention_bias` has one column for each head of the uncut model.

    A layer that lost heads keeps the numbers of those that are left in the buffer `bias_columns`, and a hook gives it
    their columns alone. The table itself stays whole: other layers may have kept other heads. So the config's heads are
    the table's, and the stock class holds no model that lost any.
    """

    name: ClassVar[str] = "mpnet"
    model_types: ClassVar[tuple[str, ...]] = ("mpnet",)

    def tiny(self, labels: int) -> PretrainedConfig:
        from transformers import MPNetConfig

        return MPNetConfig(
            vocab_size=120,
            hidden_size=32,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=66,
            pad_token_id=PADDING,
            num_labels=labels,
        )

    def longest(self, config: Mapping[str, Any]) -> int | None:
        return whole_number(config, "max_position_embeddings", 512) - PADDING - 1

    def layers(self, model: PreTrainedModel) -> ModuleList:
        return layers_at(model, LAYER)

    def groups(self, model: PreTrainedModel) -> Sequence[Group]:
        return groups_at(model, LAYER)

    def part(self, parameter: str) -> Part:
        positions = "encoder.relative_attention_bias"
        return part_at(parameter, "mpnet", embeddings=("embeddings", positions), encoder=("encoder",))

    def settle(self, model: PreTrainedModel) -> None:
        model.config.num_hidden_layers = len(self.layers(model))
        settle_widths(model, LAYER)
        model.config.num_attention_heads = cast("Any", model.base_model).encoder.relative_attention_bias.embedding_dim

    def make_room(self, config: PretrainedConfig, anatomy: Anatomy) -> None:
        width = next(group for group in anatomy.groups if group.heads).slices[0].span
        config.hidden_size = config.num_attention_heads * width  # heads of the table, which no layer has more of

    def fits_stock_class(self, model: PreTrainedModel) -> bool:
        return fits_config(model, LAYER)

    def after_cut(self, model: PreTrainedModel, group: Group, keep: Bool[Tensor, "unit"]) -> None:
        import torch

        if group.axis != "heads" or group.layer is None:
            return
        attention: Any = self.layers(model)[group.layer].get_submodule(LAYER.attention)
        if not hasattr(attention, "bias_columns"):
            attention.register_buffer("bias_columns", torch.arange(group.units))
            attention.register_forward_pre_hook(_own_columns)
        attention.bias_columns = attention.bias_columns[keep.to(attention.bias_columns.device)]

    @contextmanager
    def sdpa(self, model: PreTrainedModel) -> Iterator[None]:
        # The stock class spells its attention out and knows no other.
        attentions: list[Any] = [layer.get_submodule(LAYER.attention) for layer in self.layers(model)]
        for attention in attentions:
            attention.forward = MethodType(_attend, attention)
        try:
            yield
        finally:
            for attention in attentions:
                del attention.forward


def _own_columns(attention: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Before a cut layer's attention runs: the position bias of its own heads, out of all heads'."""
    hidden, mask, bias = args
    return hidden, mask, bias[:, attention.bias_columns]


def _attend(
    attention: Any, hidden: Tensor, mask: Tensor | None, bias: Tensor, output_attentions: bool = False
) -> tuple[Tensor]:
    """The stock attention, its mask and position bias added up, as one call."""
    from torch.nn.functional import scaled_dot_product_attention

    assert not output_attentions, "one call gives no attention weights"
    shape = (*hidden.shape[:-1], -1, attention.attention_head_size)
    query, key, value = (
        linear(hidden).view(shape).transpose(1, 2) for linear in (attention.q, attention.k, attention.v)
    )
    added = bias if mask is None else bias + mask
    mixed = scaled_dot_product_attention(query, key, value, attn_mask=added)
    return (attention.o(mixed.transpose(1, 2).reshape(*hidden.shape[:-1], -1)),)
