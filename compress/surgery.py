"""Cut a model: keep chosen units of its groups, or chosen layers. A cut gives a new model; the old one stays whole."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from compress.anatomy import Anatomy, Group, Slice
from compress.dissection import anatomy_of, hidden_group
from compress.errors import ModelError
from compress.slicing import cut_slice, parameters_in

if TYPE_CHECKING:
    from jaxtyping import Bool
    from torch import Tensor
    from transformers import PreTrainedModel

    from compress.family import Family


def keep_units(
    model: PreTrainedModel,
    family: Family,
    groups: Sequence[Group],
    keep: Sequence[Bool[Tensor, "unit"]],
    *,
    layers: Sequence[int] | None = None,
) -> PreTrainedModel:
    """A copy of `model` in which each group has only the units marked True, physically.

    Args:
        layers: those that are left as well, of those that a forward pass runs, in order; all where it is left out.

    Raises:
        ModelError: a group would be emptied, a mask is not as long as its group, or the layers can't be just those.
    """
    for group, mask in zip(groups, keep, strict=True):
        if mask.shape != (group.units,):
            raise ModelError(f"{group.name}: a mask of shape {tuple(mask.shape)} for {group.units} units")
        if not mask.any():
            raise ModelError(f"{group.name}: every unit would be removed; keep at least one, or drop the layer")
    cuts = [
        (replace(group, slices=_staying(model, family, group, layers)), mask)
        for group, mask in zip(groups, keep, strict=True)
        if not bool(mask.all())
    ]
    smaller = _copy(model, family, cuts, layers)
    for group, mask in cuts:
        _cut(smaller, family, group, mask)
    if layers is not None:
        family.keep_layers(smaller, layers)
    _settle(smaller, family)
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
    _settle(smaller, family)
    return smaller


def renamed(model: PreTrainedModel, family: Family, path: str, layers: Sequence[int] | None) -> str | None:
    """What a module's path becomes where only the named layers are left, of those that run; None where it leaves."""
    if layers is None:
        return path
    every = family.layers(model)
    names = {module: name for name, module in model.named_modules()}
    left = list(dict.fromkeys(every[index] for index in layers))
    for layer in dict.fromkeys(every):
        base = names[layer]
        if path == base or path.startswith(f"{base}."):
            above = base.rpartition(".")[0]
            return f"{above}.{left.index(layer)}{path.removeprefix(base)}" if layer in left else None
    return path


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
    if anatomy.hidden != stock.hidden:
        hidden = hidden_group(model, family)
        _refuse_wider(anatomy.hidden, hidden)
        _cut(model, family, hidden, torch.arange(hidden.units) < anatomy.hidden)
    for have, want in zip(stock.groups, anatomy.groups, strict=True):
        _refuse_wider(want.units, have)
        _cut(model, family, have, torch.arange(have.units) < want.units)
    _settle(model, family)
    return model


def _staying(model: PreTrainedModel, family: Family, group: Group, layers: Sequence[int] | None) -> tuple[Slice, ...]:
    """A group's slices, those in layers that are dropped left out."""
    if layers is None:
        return group.slices
    every = family.layers(model)
    stay = {every[index] for index in layers}
    names = {module: name for name, module in model.named_modules()}
    gone = tuple(f"{names[layer]}." for layer in dict.fromkeys(every) if layer not in stay)
    return tuple(part for part in group.slices if not part.module.startswith(gone))


def _copy(
    model: PreTrainedModel,
    family: Family,
    cuts: Sequence[tuple[Group, Bool[Tensor, "unit"]]],
    layers: Sequence[int] | None,
) -> PreTrainedModel:
    """A copy that shares with the model what is about to be replaced, as it is cut, or to be dropped: a copy of that
    would take memory for nothing."""
    every = family.layers(model)
    stay = set(every) if layers is None else {every[index] for index in layers}
    shared: list[object] = [layer for layer in dict.fromkeys(every) if layer not in stay]
    shared += [weight for group, _ in cuts for part in group.slices for weight in parameters_in(model, part)]
    return copy.deepcopy(model, {id(each): each for each in shared})


def _refuse_wider(wanted: int, have: Group) -> None:
    if wanted > have.units:
        raise ModelError(f"{have.name}: anatomy.json says {wanted} units, the config makes {have.units}")


def _settle(model: PreTrainedModel, family: Family) -> None:
    """Bring all that knows shapes in line with the weights; a cut gave tied weights one copy each."""
    family.settle(model)
    model.tie_weights()


def _cut(model: PreTrainedModel, family: Family, group: Group, keep: Bool[Tensor, "unit"]) -> None:
    """Cut a group down to the kept units, in place."""
    if bool(keep.all()) or not group.slices:
        return
    for part in group.slices:
        cut_slice(model, part, keep)
    family.after_cut(model, group, keep)
