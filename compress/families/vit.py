"""ViT (Dosovitskiy et al. 2021): a pre-norm encoder over the patches of an image and one class token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from compress.anatomy import Group
from compress.families.layout import (
    Layout,
    fits_config,
    groups_at,
    heads_in,
    layers_at,
    part_at,
    settle_widths,
    whole_number,
)
from compress.family import Family

if TYPE_CHECKING:
    from torch.nn import ModuleList
    from transformers import PretrainedConfig, PreTrainedModel

    from compress.family import Part

LAYER = Layout(
    layers="layers",
    attention="attention",
    projections=("attention.q_proj", "attention.k_proj", "attention.v_proj"),
    attention_output="attention.o_proj",
    ffn_input="mlp.fc1",
    ffn_output="mlp.fc2",
    head_width="head_dim",
)


class Vit(Family):
    """Pre-norm encoder with learned positions for one image size; a convolution makes each patch a token."""

    name: ClassVar[str] = "vit"
    model_types: ClassVar[tuple[str, ...]] = ("vit",)
    inputs: ClassVar[tuple[str, ...]] = ("pixel_values",)

    def tiny(self, labels: int) -> PretrainedConfig:
        from transformers import ViTConfig

        return ViTConfig(
            image_size=[12, 16],
            patch_size=[4, 4],
            hidden_size=32,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=64,
            num_labels=labels,
        )

    def longest(self, config: Mapping[str, Any]) -> int | None:
        (height, width), (rows, columns) = _pair(config, "image_size", 224), _pair(config, "patch_size", 16)
        return (height // rows) * (width // columns) + 1  # one more for the class token

    def layers(self, model: PreTrainedModel) -> ModuleList:
        return layers_at(model, LAYER)

    def groups(self, model: PreTrainedModel) -> Sequence[Group]:
        return groups_at(model, LAYER)

    def part(self, parameter: str) -> Part:
        return part_at(parameter, "vit", embeddings=("embeddings",), encoder=("layers", "layernorm"))

    def settle(self, model: PreTrainedModel) -> None:
        layers, config = cast("Any", self.layers(model)), model.config
        config.num_hidden_layers = len(layers)
        settle_widths(model, LAYER)
        counts, width = {heads_in(layer, LAYER) for layer in layers}, layers[0].attention.head_dim
        if len(counts) == 1 and (*counts, width) != (config.num_attention_heads, config.hidden_size / max(counts)):
            # The stock class reads this key where there is one, so it has room for fewer heads in all layers.
            config.head_dim = width
            config.num_attention_heads = counts.pop()

    def fits_stock_class(self, model: PreTrainedModel) -> bool:
        return fits_config(model, LAYER)

    def sequence_macs(self, model: PreTrainedModel) -> int:
        patches = cast("Any", model.base_model).embeddings.patch_embeddings
        return int(patches.projection.weight.numel()) * int(patches.num_patches)


def _pair(config: Mapping[str, Any], key: str, default: int) -> tuple[int, int]:
    """Height and width out of a `config.json`, where one number stands for both."""
    value = config.get(key, default)
    sides = list(value) if isinstance(value, list | tuple) and len(value) == 2 else [value, value]
    height, width = (whole_number({key: side}, key, default) for side in sides)
    return height, width
