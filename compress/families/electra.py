"""ELECTRA's discriminator (Clark et al. 2020): BERT's layers behind embeddings that may be narrower than they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from compress.anatomy import Anatomy, Group
from compress.families.layout import BERT_LAYER, fits_config, groups_at, layers_at, part_at, settle_widths, whole_number
from compress.family import Family

if TYPE_CHECKING:
    from torch.nn import ModuleList
    from transformers import PretrainedConfig, PreTrainedModel

    from compress.family import Part


class Electra(Family):
    """BERT's layers; `embeddings_project` widens the embeddings where they are narrower than the layers.

    The stock class has that layer where both sizes differ. Where a cut made them equal, `embeddings_projected` in the
    config says that it is there all the same.
    """

    name: ClassVar[str] = "electra"
    model_types: ClassVar[tuple[str, ...]] = ("electra",)
    inputs: ClassVar[tuple[str, ...]] = ("input_ids", "token_type_ids", "attention_mask")

    def tiny(self, labels: int) -> PretrainedConfig:
        from transformers import ElectraConfig

        return ElectraConfig(
            vocab_size=120,
            embedding_size=16,
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
        return part_at(parameter, "electra", embeddings=("embeddings",), encoder=("encoder",))

    def settle(self, model: PreTrainedModel) -> None:
        config = model.config
        config.num_hidden_layers = len(self.layers(model))
        settle_widths(model, BERT_LAYER)
        if not _projects(model):
            config.embedding_size = config.hidden_size
        elif config.embedding_size == config.hidden_size:
            config.embeddings_projected = True
        elif hasattr(config, "embeddings_projected"):
            del config.embeddings_projected

    def make_room(self, config: PretrainedConfig, anatomy: Anatomy) -> None:
        direct = config.embedding_size == config.hidden_size and not getattr(config, "embeddings_projected", False)
        super().make_room(config, anatomy)
        if not direct and config.embedding_size == config.hidden_size:
            config.embeddings_projected = True

    def widen(self, config: PretrainedConfig, hidden: int) -> None:
        if config.embedding_size == config.hidden_size and not getattr(config, "embeddings_projected", False):
            config.embedding_size = hidden
        config.hidden_size = hidden

    def fits_stock_class(self, model: PreTrainedModel) -> bool:
        return fits_config(model, BERT_LAYER) and not getattr(model.config, "embeddings_projected", False)

    def restore(self, model: PreTrainedModel) -> None:
        from torch import nn

        config = model.config
        if getattr(config, "embeddings_projected", False) and not _projects(model):
            cast("Any", model.base_model).embeddings_project = nn.Linear(config.embedding_size, config.hidden_size)


def _projects(model: PreTrainedModel) -> bool:
    """Whether a linear layer stands between embeddings and layers."""
    return hasattr(model.base_model, "embeddings_project")
