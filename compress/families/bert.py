"""BERT (Devlin et al. 2019) and the models with its layout: MiniLM, TinyBERT, most sentence encoders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from compress.anatomy import Group, group_of

if TYPE_CHECKING:
    from torch.nn import ModuleList
    from transformers import PretrainedConfig, PreTrainedModel

    from compress.family import Part


class Bert:
    """Post-norm encoder with learned positions: heads in `attention.self`, FFN in `intermediate` and `output`."""

    name: ClassVar[str] = "bert"
    model_types: ClassVar[tuple[str, ...]] = ("bert",)

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

    def layers(self, model: PreTrainedModel) -> ModuleList:
        return model.get_submodule(f"{_prefix(model)}encoder.layer")

    def groups(self, model: PreTrainedModel) -> Sequence[Group]:
        found: list[Group] = []
        for index in range(len(self.layers(model))):
            layer = f"{_prefix(model)}encoder.layer.{index}"
            attention = f"{layer}.attention.self"
            width = model.get_submodule(attention).attention_head_size
            found.append(
                group_of(
                    model,
                    "heads",
                    index,
                    spans={f"{attention}.{name}": width for name in ("query", "key", "value")},
                    reader=f"{layer}.attention.output.dense",
                    pair_macs=2 * width,
                )
            )
            ffn_rows = {f"{layer}.intermediate.dense": 1}
            found.append(group_of(model, "ffn", index, spans=ffn_rows, reader=f"{layer}.output.dense"))
        return found

    def part(self, parameter: str) -> Part:
        name = parameter.removeprefix("bert.")
        if name.startswith("embeddings"):
            return "embeddings"
        return "encoder" if name.startswith("encoder") else "head"

    def settle(self, model: PreTrainedModel) -> None:
        layers: Any = self.layers(model)
        model.config.num_hidden_layers = len(layers)
        for index, layer in enumerate(layers):
            attention = layer.attention.self
            attention.layer_idx = index
            attention.all_head_size = attention.query.out_features
            attention.num_attention_heads = attention.all_head_size // attention.attention_head_size
        widths = {layer.intermediate.dense.out_features for layer in layers}
        if len(widths) == 1:
            model.config.intermediate_size = widths.pop()

    def fits_stock_class(self, model: PreTrainedModel) -> bool:
        # The stock class computes a head's width as hidden size / heads, so it has no room for fewer heads.
        config, layers = model.config, cast("Any", self.layers(model))
        return all(
            layer.attention.self.num_attention_heads == config.num_attention_heads
            and layer.intermediate.dense.out_features == config.intermediate_size
            for layer in layers
        )


def _prefix(model: PreTrainedModel) -> str:
    return "bert." if hasattr(model, "bert") else ""
