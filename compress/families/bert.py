"""BERT (Devlin et al. 2019) and the models with its layout: MiniLM, TinyBERT, most sentence encoders."""

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


class Bert(Family):
    """Post-norm encoder with learned positions: heads in `attention.self`, FFN in `intermediate` and `output`."""

    name: ClassVar[str] = "bert"
    model_types: ClassVar[tuple[str, ...]] = ("bert",)
    inputs: ClassVar[tuple[str, ...]] = ("input_ids", "token_type_ids", "attention_mask")

    def tiny(self, labels: int) -> PretrainedConfig:
        from transformers import BertConfig

        return BertConfig(
            vocab_size=120,
            hidden_size=32,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=64,
            num_labels=labels,
        )

    def longest(self, config: Mapping[str, Any]) -> int | None:
        return whole_number(config, "max_position_embeddings", 512)

    def layers(self, model: PreTrainedModel) -> ModuleList:
        return layers_at(model, BERT_LAYER)

    def groups(self, model: PreTrainedModel) -> Sequence[Group]:
        return groups_at(model, BERT_LAYER)

    def part(self, parameter: str) -> Part:
        return part_at(parameter, "bert", embeddings=("embeddings",), encoder=("encoder",))

    def settle(self, model: PreTrainedModel) -> None:
        model.config.num_hidden_layers = len(self.layers(model))
        settle_widths(model, BERT_LAYER)

    def fits_stock_class(self, model: PreTrainedModel) -> bool:
        # The stock class computes a head's width as hidden size / heads, so it has no room for fewer heads.
        return fits_config(model, BERT_LAYER)
