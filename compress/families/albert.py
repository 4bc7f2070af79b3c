"""ALBERT (Lan et al. 2020): one layer, or a few, whose weights run again and again, behind narrow embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from compress.anatomy import Group
from compress.errors import ModelError
from compress.families.layout import Layout, fits_config, groups_at, layers_at, part_at, settle_widths, whole_number
from compress.family import Family

if TYPE_CHECKING:
    from torch.nn import ModuleList
    from transformers import PretrainedConfig, PreTrainedModel

    from compress.family import Part

LAYER = Layout(
    layers="encoder.albert_layer_groups",
    attention="albert_layers.0.attention",
    projections=("albert_layers.0.attention.query", "albert_layers.0.attention.key", "albert_layers.0.attention.value"),
    attention_output="albert_layers.0.attention.dense",
    ffn_input="albert_layers.0.ffn",
    ffn_output="albert_layers.0.ffn_output",
)


class Albert(Family):
    """Post-norm encoder of `num_hidden_layers` runs of `num_hidden_groups` layers: a cut shows in all runs of one."""

    name: ClassVar[str] = "albert"
    model_types: ClassVar[tuple[str, ...]] = ("albert",)
    inputs: ClassVar[tuple[str, ...]] = ("input_ids", "token_type_ids", "attention_mask")

    def tiny(self, labels: int) -> PretrainedConfig:
        from transformers import AlbertConfig

        return AlbertConfig(
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
        from torch.nn import ModuleList

        own = layers_at(model, LAYER)
        return ModuleList([own[index] for index in _order(model.config)])

    def groups(self, model: PreTrainedModel) -> Sequence[Group]:
        order = _order(model.config)
        return groups_at(model, LAYER, repeats=[order.count(index) for index in range(model.config.num_hidden_groups)])

    def part(self, parameter: str) -> Part:
        widened = "encoder.embedding_hidden_mapping_in"
        return part_at(parameter, "albert", embeddings=("embeddings", widened), encoder=("encoder",))

    def settle(self, model: PreTrainedModel) -> None:
        settle_widths(model, LAYER)

    def fits_stock_class(self, model: PreTrainedModel) -> bool:
        return fits_config(model, LAYER)

    def keep_layers(self, model: PreTrainedModel, kept: Sequence[int]) -> None:
        config, own = model.config, layers_at(model, LAYER)
        wanted = [_order(config)[index] for index in kept]
        left = list(dict.fromkeys(wanted))
        runs = [left.index(index) for index in wanted]
        if runs != _spread(len(runs), len(left)):
            raise ModelError(
                f"layers {list(kept)}: they run ALBERT's shared layers as {wanted}, but each has to run as often as "
                f"the others and all its runs in a row; {_order(config)} is what the model runs now"
            )
        chosen = [own[index] for index in left]
        del own[:]
        own.extend(chosen)
        config.num_hidden_layers, config.num_hidden_groups = len(runs), len(left)


def _order(config: PretrainedConfig) -> list[int]:
    """For each run of a layer, in order, the number of the layer that runs.

    Raises:
        ModelError: layers take turns within a group, which no published model has them do.
    """
    if config.inner_group_num != 1:
        raise ModelError(f"config.json: inner_group_num is {config.inner_group_num}; ALBERT is known here with 1 alone")
    return _spread(config.num_hidden_layers, config.num_hidden_groups)


def _spread(runs: int, layers: int) -> list[int]:
    """How the stock class spreads its runs over its layers; in its own arithmetic, rounding included."""
    return [int(run / (runs / layers)) for run in range(runs)]
