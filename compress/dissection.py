"""Read a model's anatomy from its weights: its groups, its hidden size, and what belongs to neither."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from compress import catalog
from compress.anatomy import Amount, Anatomy, Axis, Group, Slice
from compress.hidden import Hidden, hidden_of
from compress.linear import is_linear, weight_of

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

    from compress.family import Family


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
    heads: int = 0,
) -> Group:
    """The group whose units are `spans[module]` rows of each named linear layer and as many columns of `reader`.

    The number of units is read from the weights, never from the config: a cut model's config may not be able to say it.

    Args:
        blocks: equal parts that each named layer's rows fall into, each with `spans[module]` rows of every unit.
        pair_macs: multiply-accumulates of a unit for each pair of tokens.
        repeats: how often the layer runs in a forward pass.
        heads: attention heads in each unit.
    """
    producers = [(Slice(path, "rows", span, blocks), model.get_submodule(path)) for path, span in spans.items()]
    consumer = weight_of(model.get_submodule(reader))
    first, linear = producers[0]
    units = len(weight_of(linear)) // first.places
    span = consumer.shape[1] // units
    macs = sum(part.places * weight_of(linear).shape[1] for part, linear in producers) + span * len(consumer)
    biases = sum(part.places for part, linear in producers if linear.bias is not None)
    slices = (*(part for part, _ in producers), Slice(reader, "columns", span))
    return Group(axis, layer, units, slices, macs + biases, macs, pair_macs, repeats, heads)


def anatomy_of(model: PreTrainedModel, family: Family) -> Anatomy:
    """Read a model's anatomy from its weights."""
    groups, layers = tuple(family.groups(model)), list(family.layers(model))
    hidden = hidden_of(model, family, groups)
    rest = dict.fromkeys(("embeddings", "encoder", "head"), Amount())
    linear_macs = dict(rest)
    for name, parameter in model.named_parameters():
        rest[family.part(name)] += hidden.amount(name, parameter)
    for name, module in model.named_modules():
        if is_linear(module):
            linear_macs[family.part(name)] += hidden.amount(f"{name}.weight", module.weight)
    rest["encoder"] -= _in_groups(groups, hidden)
    each_token = linear_macs["embeddings"] + linear_macs["encoder"] - _weights_in(groups, hidden)
    # What stands in front of the layers and is no linear layer writes the hidden size.
    each_sequence = Amount(each=family.sequence_macs(model) // hidden.size)
    if family.causal or _head_reads_every_token(model):
        each_token += linear_macs["head"]
    else:
        each_sequence += linear_macs["head"]
    named = list(model.named_parameters())
    return Anatomy(
        family=family.name,
        layers=len(layers),
        groups=groups,
        hidden=hidden.size,
        rest=rest,
        layer_rest=tuple(
            _rest_of(layer, named, [group for group in groups if group.layer == index], hidden)
            for index, layer in enumerate(dict.fromkeys(layers))
        ),
        rest_macs=each_token,
        sequence_macs=each_sequence,
    )


def hidden_group(model: PreTrainedModel, family: Family) -> Group:
    """The channels of the hidden size as units: what writes them, norms them and reads them, in the whole model."""
    anatomy = anatomy_of(model, family)
    less = anatomy.with_units({"hidden": anatomy.hidden - 1})
    return Group(
        "hidden",
        None,
        anatomy.hidden,
        hidden_of(model, family, anatomy.groups).slices(model),
        unit_parameters=anatomy.parameters - less.parameters,
        unit_macs=(anatomy.flops(1, 1) - less.flops(1, 1)) // 2,
    )


def _in_groups(groups: Iterable[Group], hidden: Hidden) -> Amount:
    """Parameters of the groups' units; their biases don't follow the hidden size."""
    groups = list(groups)
    biases = sum(group.units * (group.unit_parameters - group.unit_macs) for group in groups)
    return Amount(biases) + _weights_in(groups, hidden)


def _weights_in(groups: Iterable[Group], hidden: Hidden) -> Amount:
    """Weights of the groups' units: each of them reads or writes the hidden size."""
    return Amount(each=sum(group.units * group.unit_macs for group in groups) // hidden.size)


def _rest_of(layer: nn.Module, named: Iterable[tuple[str, Tensor]], groups: Sequence[Group], hidden: Hidden) -> Amount:
    """Parameters of a layer outside its groups: norms and output biases."""
    own = {id(parameter) for parameter in layer.parameters()}
    found = (hidden.amount(name, parameter) for name, parameter in named if id(parameter) in own)
    return sum(found, Amount()) - _in_groups(groups, hidden)


def _head_reads_every_token(model: PreTrainedModel) -> bool:
    """Whether the linear layers of the head run once a token; those of other heads read one pooled vector a sequence.

    Tasks say so; which of them a model is for, the name of its class tells, by transformers' naming.
    """
    tasks = [catalog.load("tasks", name) for name in catalog.names("tasks")]
    fitting = [task for task in tasks if task.serves(type(model).__name__)]
    return any(task.head_reads == "tokens" for task in fitting)
