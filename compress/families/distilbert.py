"""DistilBERT (Sanh et al. 2019): BERT's layers under names of its own, without token types and without a pooler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from compress.anatomy import Group
from compress.families.layout import Layout, fits_config, groups_at, layers_at, part_at, settle_widths, whole_number
from compress.family import Family

if TYPE_CHECKING:
    from torch.nn import ModuleList
    from transformers import PretrainedConfig, PreTrainedModel

    from compress.family import Part

LAYER = Layout(
    layers="transformer.layer",
    attention="attention",
    projections=("attention.q_lin", "attention.k_lin", "attention.v_lin"),
    attention_output="attention.out_lin",
    ffn_input="ffn.lin1",
    ffn_output="ffn.lin2",
    head_count="n_heads",
    config_ffn="hidden_dim",
)


class Distilbert(Family):
    """Post-norm encoder whose config says `n_layers`, `n_heads`, `dim` and `hidden_dim`."""

    name: ClassVar[str] = "distilbert"
    model_types: ClassVar[tuple[str, ...]] = ("distilbert",)
    ffn_key: ClassVar[str] = LAYER.config_ffn

    def tiny(self, labels: int) -> PretrainedConfig:
        from transformers import DistilBertConfig

        return DistilBertConfig(
            vocab_size=120,
            dim=32,
            n_layers=4,
            n_heads=4,
            hidden_dim=64,
            max_position_embeddings=64,
            num_labels=labels,
        )

    def longest(self, config: Mapping[str, Any]) -> int | None:
        return whole_number(config, "max_position_embeddings", 512)

    def layers(self, model: PreTrainedModel) -> ModuleList:
        return layers_at(model, LAYER)

    def groups(self, model: PreTrainedModel) -> Sequence[Group]:
        return groups_at(model, LAYER)

    def part(self, parameter: str) -> Part:
        return part_at(parameter, "distilbert", embeddings=("embeddings",), encoder=("transformer",))

    def settle(self, model: PreTrainedModel) -> None:
        transformer: Any = model.base_model.transformer
        transformer.n_layers = model.config.n_layers = len(transformer.layer)
        settle_widths(model, LAYER)

    def fits_stock_class(self, model: PreTrainedModel) -> bool:
        return fits_config(model, LAYER)
