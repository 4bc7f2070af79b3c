"""One size, many shapes: how many heads a model keeps, and how many FFN channels then make up the same parameters."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compress.errors import ModelError
from compress.pruning.allocation import Scored, by_rank, strongest
from compress.pruning.repair import repair
from compress.surgery import keep_units

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from compress.anatomy import Anatomy, Group
    from compress.bundle import Bundle
    from compress.stage import Context

CHANNELS = 16
"""FFN channels that leave together; where a layer has fewer, they leave one by one."""


@dataclass(frozen=True)
class Cut:
    """How many units each group keeps, and the anatomy that this leaves."""

    units: tuple[int, ...]
    anatomy: Anatomy

    @property
    def heads(self) -> int:
        """Attention heads in all layers, those of shared weights once."""
        return sum(group.units * group.heads for group in self.anatomy.groups)

    @property
    def channels(self) -> int:
        """FFN channels in all layers, those of shared weights once."""
        return sum(group.units for group in self.anatomy.of_axis("ffn"))


def equal_cuts(
    anatomy: Anatomy, scores: Sequence[Float[Tensor, "unit"]], *, keep: float, fractions: Sequence[float]
) -> list[Cut]:
    """Cuts to one and the same number of encoder parameters that keep different numbers of heads, most heads first.

    Heads leave first, then FFN channels, each the least worth over all layers, until the encoder's parameters are
    `keep` of what they were, to within a block of channels. Every layer keeps a head and a block.

    Args:
        scores: one tensor a group of the anatomy.
        keep: the fraction of the encoder's parameters that is left.
        fractions: of the heads that are left, 1 for all; beside them stands the least number of heads with which the
            FFN still can make up the size, and a fraction below that is left out. So is one that would need less than
            one block of channels in each layer.

    Raises:
        ModelError: no number of heads meets the size.
    """
    budget = keep * anatomy.encoder_parameters
    fewest = _fewest_heads(anatomy, scores, budget)
    heads = sum(group.units * group.heads for group in anatomy.groups)
    wanted = sorted({max(round(fraction * heads), fewest) for fraction in fractions} | {fewest}, reverse=True)
    cuts = {cut.heads: cut for count in wanted if (cut := _cut(anatomy, scores, count, budget))}
    if not cuts:
        raise ModelError(f"head counts: no number of heads leaves {keep:g} of the encoder's parameters; ask for more")
    return list(cuts.values())


def made(bundle: Bundle, scores: Sequence[Float[Tensor, "unit"]], cut: Cut, context: Context) -> Bundle:
    """The cut model, what reads its cut groups repaired by least squares on the calibration examples."""
    groups = bundle.anatomy.groups
    keep = [strongest(score, count) for score, count in zip(scores, cut.units, strict=True)]
    smaller = keep_units(bundle.module, bundle.family, groups, keep)
    repair(bundle, smaller, groups, keep, context, way="least_squares")
    return bundle.with_model(smaller)


def _fewest_heads(anatomy: Anatomy, scores: Sequence[Float[Tensor, "unit"]], budget: float) -> int:
    """The least number of heads with which the model, its FFN whole, is not below the budget already."""
    counts = range(_heads(anatomy) + 1)  # no layer loses all of its heads, whatever the count
    least = bisect_left(counts, budget, key=lambda count: _with_heads(anatomy, scores, count).encoder_parameters)
    return _heads(_with_heads(anatomy, scores, least))


def _cut(anatomy: Anatomy, scores: Sequence[Float[Tensor, "unit"]], heads: int, budget: float) -> Cut | None:
    """None where so many heads leave the FFN less than a block in each layer."""
    fewer = _with_heads(anatomy, scores, heads)
    ffn = [(group, score) for group, score in zip(fewer.groups, scores, strict=True) if group.axis == "ffn"]
    try:
        left = _ranked(fewer, ffn, budget, lambda each: each.encoder_parameters)
    except ModelError:
        return None
    return Cut(tuple(group.units for group in left.groups), left)


def _with_heads(anatomy: Anatomy, scores: Sequence[Float[Tensor, "unit"]], heads: int) -> Anatomy:
    """At most so many heads, and one unit at least in each layer; those worth least leave first."""
    attention = [(group, score) for group, score in zip(anatomy.groups, scores, strict=True) if group.heads]
    return _ranked(anatomy, attention, max(heads, sum(group.heads for group, _ in attention)), _heads)


def _ranked(
    anatomy: Anatomy,
    worth: Sequence[tuple[Group, Float[Tensor, "unit"]]],
    budget: float,
    cost: Callable[[Anatomy], int],
) -> Anatomy:
    """The anatomy once the units of these groups that are worth least have left."""
    scored = Scored(anatomy, [group for group, _ in worth], [score for _, score in worth], None, _block)
    return by_rank(scored, budget=budget, cost=cost).of(anatomy)


def _block(group: Group) -> int:
    return CHANNELS if group.axis == "ffn" and group.units > CHANNELS else 1


def _heads(anatomy: Anatomy) -> int:
    return sum(group.units * group.heads for group in anatomy.groups)
