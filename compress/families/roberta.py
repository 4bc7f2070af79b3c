"""RoBERTa (Liu et al. 2019), and XLM-RoBERTa and CamemBERT, which have its layout: BERT's, with other positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from compress.anatomy import Group
from compress.families.layout import BERT_LAYER, fits_config, groups_at, layers_at, part_at, settle_widths, whole_number
from compress.family import Family

if TYPE_CHECKING:
    from torch.nn import ModuleList
    from transformers import PretrainedConfig, PreTrainedModel

    from compress.family import Part


class Roberta(Family):
    """BERT's layers; a token's position counts the tokens before it that are no padding, from the padding index on."""

    name: ClassVar[str] = "roberta"
    model_types: ClassVar[tuple[str, ...]] = ("roberta", "xlm-roberta", "camembert")

    def tiny(self, labels: int) -> PretrainedConfig:
        from transformers import RobertaConfig

        return RobertaConfig(
            vocab_size=120,
            hidden_size=32,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=66,
            type_vocab_size=1,
            pad_token_id=1,
            num_labels=labels,
        )

    def longest(self, config: Mapping[str, Any]) -> int | None:
        # The padding index itself and those below it are no text's positions.
        return (
            whole_number(config, "max_position_embeddings", 512) - whole_number(config, "pad_token_id", 1, least=0) - 1
        )

    def layers(self, model: PreTrainedModel) -> ModuleList:
        return layers_at(model, BERT_LAYER)

    def groups(self, model: PreTrainedModel) -> Sequence[Group]:
        return groups_at(model, BERT_LAYER)

    def part(self, parameter: str) -> Part:
        return part_at(parameter, "roberta", embeddings=("embeddings",), encoder=("encoder",))

    def settle(self, model: PreTrainedModel) -> None:
        model.config.num_hidden_layers = len(self.layers(model))
        settle_widths(model, BERT_LAYER)

    def fits_stock_class(self, model: PreTrainedModel) -> bool:
        return fits_config(model, BERT_LAYER)
