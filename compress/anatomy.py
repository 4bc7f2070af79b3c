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

from compress import catalog

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

    from compress.family import Family

FORMAT = 2
FILE_NAME = "anatomy.json"

Axis = Literal["heads", "ffn"]


@dataclass(frozen=True)
class Slice:
    """The part of one linear layer's weight that a group's units share: `span` rows, or columns, a unit.

    A fused layer holds several projections one after another, each with every unit: it has as many `blocks`.
    """

    module: str
    """Dotted path of the `nn.Linear` inside the model."""
    side: Literal["rows", "columns"]
    """`rows` make the unit (outputs of the layer), `columns` read it (inputs of the layer)."""
    span: int
    blocks: int = 1

    @property
    def places(self) -> int:
        """Rows, or columns, of one unit in all blocks."""
        return self.span * self.blocks


@dataclass(frozen=True)
class Group:
    """The units of one axis in one layer, and the cost of each."""

    axis: Axis
    layer: int
    units: int
    slices: tuple[Slice, ...]
    unit_parameters: int
    unit_macs: int
    """Multiply-accumulates of a unit for each token, in linear layers, in one run of its layer."""
    unit_pair_macs: int = 0
    """The same for each pair of tokens: q k^T and its product with v. Local attention counts all pairs, as it masks
    most of them but multiplies them all."""
    repeats: int = 1
    """How often the layer runs in a forward pass: more than once where its weights are shared."""

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
        """FLOPs of one unit on one sequence of `tokens` tokens, all runs; a multiply-accumulate counts as 2."""
        return 2 * tokens * (self.unit_macs + tokens * self.unit_pair_macs) * self.repeats


@dataclass(frozen=True)
class Anatomy:
    """All groups of a model, and the parameters and FLOPs of what belongs to no group."""

    family: str
    layers: int
    """Layers that a forward pass runs; one whose weights are shared counts each time."""
    groups: tuple[Group, ...]
    rest: Mapping[str, int]
    """Parameters outside the groups, by part: `embeddings`, `encoder`, `head`."""
    layer_rest: tuple[int, ...] = ()
    """That part of `rest["encoder"]` which each layer holds, weights that are shared once: norms and output biases."""
    rest_macs: int = 0
    """Multiply-accumulates for each token outside the groups; none of them are a layer's."""
    sequence_macs: int = 0
    """Multiply-accumulates for each sequence, whatever its length (a pooler, a classifier, an image's patches)."""

    @property
    def parameters(self) -> int:
        """Parameters of the whole model, each tied weight counted once."""
        return sum(self.rest.values()) + self._grouped

    @property
    def encoder_parameters(self) -> int:
        """Parameters of the Transformer layers and a norm behind the last: no embeddings, no pooler, no task head."""
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

    def heads_by_layer(self) -> list[int]:
        """Attention heads of each layer that a forward pass runs, in order; a shared layer stands there each time."""
        return [group.units for group in self.of_axis("heads") for _ in range(group.repeats)]

    def with_layers(self, kept: Sequence[int]) -> Anatomy:
        """The same anatomy with only the named layers, of those that run, renumbered: what dropping others leaves."""
        order = [group.layer for group in self.of_axis("heads") for _ in range(group.repeats)]
        wanted = [order[index] for index in kept]
        left = list(dict.fromkeys(wanted))
        groups = [
            replace(group.moved_to(new), repeats=wanted.count(old))
            for new, old in enumerate(left)
            for group in self.groups
            if group.layer == old
        ]
        layer_rest = tuple(self.layer_rest[index] for index in left)
        encoder = self.rest["encoder"] - sum(self.layer_rest) + sum(layer_rest)
        rest = {**self.rest, "encoder": encoder}
        return replace(self, layers=len(kept), groups=tuple(groups), rest=rest, layer_rest=layer_rest)

    def as_json(self) -> dict[str, Any]:
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Anatomy:
        fields = {key: value for key, value in document.items() if key not in ("format", "groups", "layer_rest")}
        groups = tuple(
            Group(**{**group, "slices": tuple(Slice(**s) for s in group["slices"])}) for group in document["groups"]
        )
        return cls(groups=groups, layer_rest=tuple(document["layer_rest"]), **fields)


def group_of(
    model: PreTrainedModel,
    axis: Axis,
    layer: int,
    *,
    spans: Mapping[str, int],
    reader: str,
    blocks: int = 1,
    pair_macs: int = 0,
    repeats: int = 1,
) -> Group:
    """The group whose units are `spans[module]` rows of each named linear layer and as many columns of `reader`.

    The number of units is read from the weights, never from the config: a cut model's config may not be able to say it.

    Args:
        blocks: equal parts that each named layer's rows fall into, each with `spans[module]` rows of every unit.
        pair_macs: multiply-accumulates of a unit for each pair of tokens.
        repeats: how often the layer runs in a forward pass.
    """
    producers = [(Slice(path, "rows", span, blocks), model.get_submodule(path)) for path, span in spans.items()]
    consumer = model.get_submodule(reader)
    first, linear = producers[0]
    units = linear.weight.shape[0] // first.places
    span = consumer.weight.shape[1] // units
    macs = sum(part.places * linear.weight.shape[1] for part, linear in producers) + span * consumer.weight.shape[0]
    biases = sum(part.places for part, linear in producers if linear.bias is not None)
    slices = (*(part for part, _ in producers), Slice(reader, "columns", span))
    return Group(axis, layer, units, slices, macs + biases, macs, pair_macs, repeats)


def anatomy_of(model: PreTrainedModel, family: Family) -> Anatomy:
    """Read a model's anatomy from its weights."""
    from torch import nn

    groups, layers = tuple(family.groups(model)), family.layers(model)
    rest = dict.fromkeys(("embeddings", "encoder", "head"), 0)
    for name, parameter in model.named_parameters():
        rest[family.part(name)] += parameter.numel()
    rest["encoder"] -= sum(group.units * group.unit_parameters for group in groups)

    linear_macs = dict.fromkeys(rest, 0)
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            linear_macs[family.part(name)] += math.prod(module.weight.shape)
    in_groups = sum(group.units * group.unit_macs for group in groups)
    each_token = linear_macs["embeddings"] + linear_macs["encoder"] - in_groups
    each_sequence = family.sequence_macs(model)
    if _head_reads_every_token(model):
        each_token += linear_macs["head"]
    else:
        each_sequence += linear_macs["head"]
    return Anatomy(
        family=family.name,
        layers=len(layers),
        groups=groups,
        rest=rest,
        layer_rest=tuple(_rest_of(layer, index, groups) for index, layer in enumerate(dict.fromkeys(layers))),
        rest_macs=each_token,
        sequence_macs=each_sequence,
    )


def _rest_of(layer: nn.Module, index: int, groups: Sequence[Group]) -> int:
    """Parameters of a layer outside its groups."""
    grouped = sum(group.units * group.unit_parameters for group in groups if group.layer == index)
    return sum(parameter.numel() for parameter in layer.parameters()) - grouped


def _head_reads_every_token(model: PreTrainedModel) -> bool:
    """Whether the linear layers of the head run once a token; those of other heads read one pooled vector a sequence.

    Tasks say so; which of them a model is for, the name of its class tells, by transformers' naming.
    """
    tasks = [catalog.load("tasks", name) for name in catalog.names("tasks")]
    fitting = [task for task in tasks if task.head and type(model).__name__.endswith(task.head)]
    return any(task.head_reads == "tokens" for task in fitting)
