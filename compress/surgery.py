"""Cut a model: keep chosen units of its groups, or chosen layers. A cut gives a new model; the old one stays whole."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

from compress.anatomy import Anatomy, Group, Slice, anatomy_of
from compress.errors import ModelError

if TYPE_CHECKING:
    from jaxtyping import Bool
    from torch import Tensor
    from transformers import PreTrainedModel

    from compress.family import Family


def keep_units(
    model: PreTrainedModel, family: Family, groups: Sequence[Group], keep: Sequence[Bool[Tensor, "unit"]]
) -> PreTrainedModel:
    """A copy of `model` in which each group has only the units marked True, physically.

    Raises:
        ModelError: a group would be emptied, or a mask is not as long as its group.
    """
    for group, mask in zip(groups, keep, strict=True):
        if mask.shape != (group.units,):
            raise ModelError(f"{group.name}: a mask of shape {tuple(mask.shape)} for {group.units} units")
        if not mask.any():
            raise ModelError(f"{group.name}: every unit would be removed; keep at least one, or drop the layer")
    smaller = copy.deepcopy(model)
    for group, mask in zip(groups, keep, strict=True):
        _cut(smaller, family, group, mask)
    family.settle(smaller)
    return smaller


def keep_layers(model: PreTrainedModel, family: Family, kept: Sequence[int]) -> PreTrainedModel:
    """A copy of `model` with only the named layers, in the given order, of those that a forward pass runs.

    Raises:
        ModelError: a layer is named that does not exist, or twice, or none is; or the family can't run just those.
    """
    count = len(family.layers(model))
    if not kept or any(index not in range(count) for index in kept):
        raise ModelError(f"layers {list(kept)} were asked for; the model has layers 0 to {count - 1}")
    if len(set(kept)) < len(kept):
        raise ModelError(f"layers {list(kept)} were asked for; wanted each once")
    smaller = copy.deepcopy(model)
    family.keep_layers(smaller, kept)
    family.settle(smaller)
    return smaller


def shape_like(model: PreTrainedModel, family: Family, anatomy: Anatomy) -> PreTrainedModel:
    """Give a freshly built stock model the widths that `anatomy` names; its weights are then to be loaded.

    The model is changed in place: it is the caller's own, and holds nothing yet that anyone could miss.

    Raises:
        ModelError: the model has other groups than the anatomy, or a group is wider than the anatomy says it was.
    """
    import torch

    family.restore(model)
    stock = anatomy_of(model, family)
    if [group.name for group in stock.groups] != [group.name for group in anatomy.groups]:
        raise ModelError(f"anatomy.json names {len(anatomy.groups)} groups, the config makes {len(stock.groups)}")
    for have, want in zip(stock.groups, anatomy.groups, strict=True):
        if want.units > have.units:
            raise ModelError(f"{want.name}: anatomy.json says {want.units} units, the config makes {have.units}")
        _cut(model, family, have, torch.arange(have.units) < want.units)
    family.settle(model)
    return model


def _cut(model: PreTrainedModel, family: Family, group: Group, keep: Bool[Tensor, "unit"]) -> None:
    """Cut a group down to the kept units, in place."""
    for part in group.slices:
        _remove(model, part, keep)
    family.after_cut(model, group, keep)


def _remove(model: PreTrainedModel, part: Slice, keep: Bool[Tensor, "unit"]) -> None:
    """Cut a linear layer's weight, and bias, down to the kept units of one slice."""
    from torch_pruning import prune_linear_in_channels, prune_linear_out_channels

    cut = prune_linear_out_channels if part.side == "rows" else prune_linear_in_channels
    gone = (~keep).repeat_interleave(part.span).repeat(part.blocks).nonzero().flatten().tolist()
    if gone:
        cut(model.get_submodule(part.module), gone)
