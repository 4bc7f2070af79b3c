"""The hidden size: which dimensions of which weights it is.

transformers' own classes say so: two models that are built from the same config but for its hidden size differ in just
these dimensions, and in those of heads and channels that follow from it, which are their groups' own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from compress.anatomy import Amount, Group, Slice
from compress.errors import ModelError
from compress.linear import is_linear, is_transposed

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from compress.family import Family

_WIDTHS = (8, 16, 24)
"""Widths of a head in the models that are compared: the first two that make no hidden size as large as the embeddings,
for there some classes have one layer less."""


@dataclass(frozen=True)
class Hidden:
    """The hidden size of a model, and the dimensions of its weights that are as long, by parameter name."""

    size: int
    dimensions: Mapping[str, tuple[int, ...]]

    def amount(self, name: str, parameter: Tensor) -> Amount:
        """How many values a parameter has, as they follow the hidden size."""
        its = self.dimensions.get(name, ())
        others = math.prod(size for place, size in enumerate(parameter.shape) if place not in its)
        return (Amount(fixed=others), Amount(each=others), Amount(squared=others))[len(its)]

    def slices(self, model: PreTrainedModel) -> tuple[Slice, ...]:
        """What leaves with a channel: rows of what writes it or norms it, columns of what reads it."""
        found: dict[tuple[int, str], Slice] = {}
        for name, its in self.dimensions.items():
            path, _, leaf = name.rpartition(".")
            module = model.get_submodule(path)
            if leaf == "bias" and hasattr(module, "weight"):
                continue  # it leaves with the weight's rows
            if leaf != "weight":
                found[id(module), leaf] = Slice(name, "rows")
            elif is_linear(module):
                for place in its:
                    side = _SIDES[place != is_transposed(module)]
                    found[id(module), side] = Slice(path, side)
            else:
                found[id(module), "rows"] = Slice(path, "rows")
        return tuple(found.values())


_SIDES: dict[bool, Any] = {False: "rows", True: "columns"}


def hidden_of(model: PreTrainedModel, family: Family, groups: Sequence[Group]) -> Hidden:
    """Find the hidden size of a model that may be cut in any way; a tied weight stands there under each of its names.

    Raises:
        ModelError: weights that share the hidden size are of different lengths.
    """
    of_groups = {place for group in groups for part in group.slices for place in _places(model, part)}
    parameters = dict(model.named_parameters(remove_duplicate=False))
    owner: Any = type(model)
    stock = _stock_dimensions(owner, type(family), _key(model.config))
    found = {
        name: its
        for name in parameters
        if (its := tuple(place for place in stock.get(name, ()) if (name, place) not in of_groups))
    }
    sizes = {parameters[name].shape[place]: name for name, its in found.items() for place in its}
    if len(sizes) != 1:
        told = ", ".join(f"{size} in {name}" for size, name in sizes.items()) or "none"
        raise ModelError(f"the hidden size has to be one number in the whole model; found {told}")
    return Hidden(next(iter(sizes)), found)


def _places(model: PreTrainedModel, part: Slice) -> Iterable[tuple[str, int]]:
    """The dimensions, by parameter name, that a group's slice takes of a linear layer."""
    transposed = is_transposed(model.get_submodule(part.module))
    yield f"{part.module}.weight", int((part.side == "columns") != transposed)
    if part.side == "rows":
        yield f"{part.module}.bias", 0


def _key(config: Any) -> str:
    """The config as a value that can be compared."""
    return json.dumps(config.to_dict(), sort_keys=True, default=str)


@lru_cache(maxsize=64)
def _stock_dimensions(owner: type[PreTrainedModel], family: type[Family], config: str) -> Mapping[str, tuple[int, ...]]:
    """The dimensions of each parameter that follow the hidden size in models of a class, groups' own among them."""
    import torch
    from transformers.initialization import no_init_weights

    shapes = []
    whole = family().config_from(json.loads(config))
    sizes = [whole.num_attention_heads * width for width in _WIDTHS]
    for size in [size for size in sizes if size != getattr(whole, "embedding_size", None)][:2]:
        settings = family().config_from(json.loads(config))
        family().widen(settings, size)
        with torch.device("meta"), no_init_weights():
            stock = owner(settings)
            family().restore(stock)
        shapes.append({name: each.shape for name, each in stock.named_parameters(remove_duplicate=False)})
    narrow, wide = shapes
    return {
        name: tuple(place for place, size in enumerate(shape) if size != wide[name][place])
        for name, shape in narrow.items()
    }
