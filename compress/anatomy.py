"""A model's anatomy: which weights must leave together, and what each such unit costs.

A `Group` is one layer's attention heads, KV groups or FFN channels, or the model's hidden size; a *unit* is what leaves
as a whole: a head is its rows of the query, key and value projections and its columns of the output projection. The
`Anatomy` of a model is all its groups and the cost of the rest. It is plain data: it is saved beside the weights
(`anatomy.json`), rebuilds cut shapes on loading, survives into ONNX, and counts parameters and FLOPs of any cut without
a model at hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

FORMAT = 3
_MOST = 10_000_000
"""More than any model has of anything that is counted in one layer; a file that says more was damaged."""
FILE_NAME = "anatomy.json"

Axis = Literal["heads", "kv_groups", "ffn", "hidden"]
"""What a group's units are. Layers leave whole: a layer is no unit of a group, but all groups of one number."""


@dataclass(frozen=True)
class Amount:
    """A count that follows the hidden size h: fixed + each * h + squared * h^2."""

    fixed: int = 0
    each: int = 0
    squared: int = 0

    def at(self, hidden: int) -> int:
        return self.fixed + self.each * hidden + self.squared * hidden**2

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.fixed + other.fixed, self.each + other.each, self.squared + other.squared)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.fixed - other.fixed, self.each - other.each, self.squared - other.squared)


@dataclass(frozen=True)
class Slice:
    """The part of one module's weight that a group's units share: `span` rows, or columns, a unit.

    A fused layer holds several projections one after another, each with every unit: it has as many `blocks`.
    """

    module: str
    """Dotted path inside the model: of a linear layer; of the hidden size's also of embeddings, norms, convolutions and
    bare parameters."""
    side: Literal["rows", "columns"]
    """`rows` make the unit (outputs of the module), `columns` read it (inputs of the module)."""
    span: int = 1
    blocks: int = 1

    @property
    def places(self) -> int:
        """Rows, or columns, of one unit in all blocks."""
        return self.span * self.blocks


@dataclass(frozen=True)
class Group:
    """The units of one axis in one layer, or of the hidden size in the whole model, and the cost of each."""

    axis: Axis
    layer: int | None
    """None for the hidden size, which all layers share."""
    units: int
    slices: tuple[Slice, ...]
    unit_parameters: int
    """Of the hidden size: what one channel less would take away, at the present widths."""
    unit_macs: int
    """Multiply-accumulates of a unit for each token, in linear layers, in one run of its layer."""
    unit_pair_macs: int = 0
    """The same for each pair of tokens: q k^T and its product with v. Local attention counts all pairs, as it masks
    most of them but multiplies them all."""
    repeats: int = 1
    """How often the layer runs in a forward pass: more than once where its weights are shared."""
    heads: int = 0
    """Attention heads in each unit: several where a KV group has several query heads, none in FFN channels."""

    @property
    def name(self) -> str:
        return self.axis if self.layer is None else f"layers.{self.layer}.{self.axis}"

    @property
    def readers(self) -> tuple[Slice, ...]:
        """The slices that read the units' outputs."""
        return tuple(s for s in self.slices if s.side == "columns")

    def at_hidden(self, before: int, after: int) -> Group:
        """A layer's group in a model of another hidden size: every weight of its units reads or writes that."""
        macs = self.unit_macs // before * after
        return replace(self, unit_macs=macs, unit_parameters=self.unit_parameters - self.unit_macs + macs)

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
    """Of the layers, in order."""
    hidden: int
    """The hidden size: channels of embeddings, norms and residual sums."""
    rest: Mapping[str, Amount]
    """Parameters outside the layers' groups, by part: `embeddings`, `encoder`, `head`."""
    layer_rest: tuple[Amount, ...] = ()
    """That part of `rest["encoder"]` which each layer holds, weights that are shared once: norms and output biases."""
    rest_macs: Amount = Amount()
    """Multiply-accumulates for each token outside the groups; none of them are a layer's."""
    sequence_macs: Amount = Amount()
    """Multiply-accumulates for each sequence, whatever its length (a pooler, a classifier, an image's patches)."""

    @property
    def parameters(self) -> int:
        """Parameters of the whole model, each tied weight counted once."""
        return sum(self.rest_of(part) for part in self.rest) + self._grouped

    @property
    def encoder_parameters(self) -> int:
        """Parameters of the Transformer layers and a norm behind the last: no embeddings, no pooler, no task head."""
        return self.rest_of("encoder") + self._grouped

    def rest_of(self, part: str) -> int:
        """Parameters of a part outside the layers' groups."""
        return self.rest[part].at(self.hidden)

    @property
    def _grouped(self) -> int:
        return sum(group.units * group.unit_parameters for group in self.groups)

    def flops(self, batch: int, tokens: int) -> int:
        """FLOPs of one forward pass, matrix products alone; a multiply-accumulate counts as 2."""
        grouped = sum(group.units * group.unit_flops(tokens) for group in self.groups)
        each_token, each_sequence = self.rest_macs.at(self.hidden), self.sequence_macs.at(self.hidden)
        return batch * (grouped + 2 * tokens * each_token + 2 * each_sequence)

    def of_axis(self, axis: Axis) -> tuple[Group, ...]:
        return tuple(group for group in self.groups if group.axis == axis)

    def with_units(self, units: Mapping[str, int]) -> Anatomy:
        """The same anatomy with other unit counts, by group name, `hidden` among them: what a cut would leave."""
        hidden = units.get("hidden", self.hidden)
        groups = [replace(group, units=units.get(group.name, group.units)) for group in self.groups]
        if hidden != self.hidden:
            groups = [group.at_hidden(self.hidden, hidden) for group in groups]
        return replace(self, groups=tuple(groups), hidden=hidden)

    def heads_by_layer(self) -> list[int]:
        """Attention heads of each layer that a forward pass runs, in order; a shared layer stands there each time."""
        return [group.units * group.heads for group in self._attentions()]

    def with_layers(self, kept: Sequence[int]) -> Anatomy:
        """The same anatomy with only the named layers, of those that run, renumbered: what dropping others leaves."""
        order = self.runs
        wanted = [order[index] for index in kept]
        left = list(dict.fromkeys(wanted))
        groups = [
            replace(group.moved_to(new), repeats=wanted.count(old))
            for new, old in enumerate(left)
            for group in self.groups
            if group.layer == old
        ]
        layer_rest = tuple(self.layer_rest[index] for index in left)
        encoder = self.rest["encoder"] - sum(self.layer_rest, Amount()) + sum(layer_rest, Amount())
        rest = {**self.rest, "encoder": encoder}
        return replace(self, layers=len(kept), groups=tuple(groups), rest=rest, layer_rest=layer_rest)

    @property
    def runs(self) -> list[int]:
        """For each layer that a forward pass runs, in order, the number that its groups know it by."""
        return [group.layer for group in self._attentions() if group.layer is not None]

    def _attentions(self) -> list[Group]:
        """The attention's group of each layer that a forward pass runs, in order."""
        return [group for group in self.groups if group.heads for _ in range(group.repeats)]

    def as_json(self) -> dict[str, Any]:
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Anatomy:
        """Read it back.

        Raises:
            KeyError: something is missing.
            TypeError: something is no count, or no count that a model could have.
        """
        return cls(
            family=document["family"],
            layers=_count(document["layers"]),
            groups=tuple(_group_from(each) for each in document["groups"]),
            hidden=_count(document["hidden"]),
            rest={part: Amount(**document["rest"][part]) for part in ("embeddings", "encoder", "head")},
            layer_rest=tuple(Amount(**amount) for amount in document["layer_rest"]),
            rest_macs=Amount(**document["rest_macs"]),
            sequence_macs=Amount(**document["sequence_macs"]),
        )


def _group_from(document: Mapping[str, Any]) -> Group:
    group = Group(**{**document, "slices": tuple(Slice(**part) for part in document["slices"])})
    for count in (group.units, group.repeats, *(part.span for part in group.slices), *(p.blocks for p in group.slices)):
        _count(count)
    _count(group.heads, least=0)
    if group.axis not in get_args(Axis):
        raise TypeError(f"{group.axis!r} is no axis")
    if len(group.slices) < 2:  # what makes the units, and what reads them
        raise TypeError(f"{group.name} has {len(group.slices)} slices")
    return group


def _count(value: object, least: int = 1) -> int:
    if type(value) is not int or not least <= value <= _MOST:
        raise TypeError(f"{value!r} stands where a whole number from {least} is wanted")
    return value
