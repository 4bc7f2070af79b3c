"""A model's anatomy: which weights must leave together, and what each such unit costs.

A `Group` is one layer's attention heads or FFN channels; a *unit* is what leaves as a whole: a head is its rows of the
query, key and value projections and its columns of the output projection. The `Anatomy` of a model is all its groups
and the cost of the rest. It is plain data: it is saved beside the weights (`anatomy.json`), rebuilds cut shapes on
loading, survives into ONNX, and counts parameters and FLOPs without a model at hand.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from compress.family import Family

FORMAT = 1
FILE_NAME = "anatomy.json"

Axis = Literal["heads", "ffn"]


@dataclass(frozen=True)
class Slice:
    """The part of one linear layer's weight that a group's units share: `span` rows, or columns, a unit."""

    module: str
    """Dotted path of the `nn.Linear` inside the model."""
    side: Literal["rows", "columns"]
    """`rows` make the unit (outputs of the layer), `columns` read it (inputs of the layer)."""
    span: int


@dataclass(frozen=True)
class Group:
    """The units of one axis in one layer, and the cost of each."""

    axis: Axis
    layer: int
    units: int
    slices: tuple[Slice, ...]
    unit_parameters: int
    unit_macs: int
    """Multiply-accumulates of a unit for each token, in linear layers."""
    unit_pair_macs: int = 0
    """Multiply-accumulates of a unit for each pair of tokens: q k^T and its product with v."""

    @property
    def name(self) -> str:
        return f"layers.{self.layer}.{self.axis}"

    @property
    def readers(self) -> tuple[Slice, ...]:
        """The slices that read the units' outputs."""
        return tuple(s for s in self.slices if s.side == "columns")

    def moved_to(self, layer: int) -> Group:
        """The same group in another layer; the layer's number is a part of its modules' paths."""
        renamed = [replace(s, module=s.module.replace(f".{self.layer}.", f".{layer}.", 1)) for s in self.slices]
        return replace(self, layer=layer, slices=tuple(renamed))

    def unit_flops(self, tokens: int) -> int:
        """FLOPs of one unit on one sequence of `tokens` tokens; a multiply-accumulate counts as 2."""
        return 2 * tokens * (self.unit_macs + tokens * self.unit_pair_macs)


@dataclass(frozen=True)
class Anatomy:
    """All groups of a model, and the parameters and FLOPs of what belongs to no group."""

    family: str
    layers: int
    groups: tuple[Group, ...]
    rest: Mapping[str, int]
    """Parameters outside the groups, by part: `embeddings`, `encoder`, `head`."""
    rest_macs: int = 0
    """Multiply-accumulates for each token outside the groups."""
    sequence_macs: int = 0
    """Multiply-accumulates for each sequence, whatever its length (a pooler, a classifier)."""

    @property
    def parameters(self) -> int:
        """Parameters of the whole model, each tied weight counted once."""
        return sum(self.rest.values()) + self._grouped

    @property
    def encoder_parameters(self) -> int:
        """Parameters of the Transformer layers: no embeddings, no pooler, no task head."""
        return self.rest["encoder"] + self._grouped

    @property
    def _grouped(self) -> int:
        return sum(group.units * group.unit_parameters for group in self.groups)

    def flops(self, batch: int, tokens: int) -> int:
        """FLOPs of one forward pass, matrix products alone; a multiply-accumulate counts as 2."""
        grouped = sum(group.units * group.unit_flops(tokens) for group in self.groups)
        return batch * (grouped + 2 * tokens * self.rest_macs + 2 * self.sequence_macs)

    def of_axis(self, axis: Axis) -> tuple[Group, ...]:
        return tuple(group for group in self.groups if group.axis == axis)

    def with_units(self, units: Mapping[str, int]) -> Anatomy:
        """The same anatomy with other unit counts, by group name: what a cut would leave."""
        return replace(self, groups=tuple(replace(g, units=units.get(g.name, g.units)) for g in self.groups))

    def with_layers(self, kept: Sequence[int]) -> Anatomy:
        """The same anatomy with only the named layers, renumbered: what dropping the others would leave.

        Assumes that what a layer holds outside its groups is the same in every layer, as it is in all families here.
        """
        groups = [g.moved_to(new) for new, old in enumerate(kept) for g in self.groups if g.layer == old]
        encoder = self.rest["encoder"] * len(kept) // self.layers
        rest = {**self.rest, "encoder": encoder}
        macs = self.rest_macs * len(kept) // self.layers
        return replace(self, layers=len(kept), groups=tuple(groups), rest=rest, rest_macs=macs)

    def as_json(self) -> dict[str, Any]:
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Anatomy:
        fields = {key: value for key, value in document.items() if key not in ("format", "groups")}
        groups = tuple(
            Group(**{**group, "slices": tuple(Slice(**s) for s in group["slices"])}) for group in document["groups"]
        )
        return cls(groups=groups, **fields)


def group_of(
    model: PreTrainedModel, axis: Axis, layer: int, *, spans: Mapping[str, int], reader: str, pair_macs: int = 0
) -> Group:
    """The group whose units are `spans[module]` rows of each named linear layer and as many columns of `reader`.

    `pair_macs` counts multiply-accumulates of a unit for each pair of tokens. The number of units is read from the
    weights, never from the config: a cut model's config may not be able to say it.
    """
    producers = {path: model.get_submodule(path) for path in spans}
    consumer = model.get_submodule(reader)
    first = next(iter(spans))
    units = producers[first].weight.shape[0] // spans[first]
    span = consumer.weight.shape[1] // units
    macs = sum(spans[path] * linear.weight.shape[1] for path, linear in producers.items())
    macs += span * consumer.weight.shape[0]
    biases = sum(spans[path] for path, linear in producers.items() if linear.bias is not None)
    slices = (*(Slice(path, "rows", spans[path]) for path in producers), Slice(reader, "columns", span))
    return Group(axis, layer, units, slices, macs + biases, macs, pair_macs)


def anatomy_of(model: PreTrainedModel, family: Family) -> Anatomy:
    """Read a model's anatomy from its weights."""
    from torch import nn

    groups = tuple(family.groups(model))
    rest = dict.fromkeys(("embeddings", "encoder", "head"), 0)
    for name, parameter in model.named_parameters():
        rest[family.part(name)] += parameter.numel()
    rest["encoder"] -= sum(group.units * group.unit_parameters for group in groups)

    linear_macs = {"embeddings": 0, "encoder": 0, "head": 0}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            linear_macs[family.part(name)] += math.prod(module.weight.shape)
    in_groups = sum(group.units * group.unit_macs for group in groups)
    return Anatomy(
        family=family.name,
        layers=len(family.layers(model)),
        groups=groups,
        rest=rest,
        rest_macs=linear_macs["embeddings"] + linear_macs["encoder"] - in_groups,
        sequence_macs=linear_macs["head"],
    )
