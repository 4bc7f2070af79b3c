"""What each attention head is worth to a criterion, and how far its order can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import ModelError

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from compress.anatomy import Group
    from compress.bundle import Bundle
    from compress.stage import Context, Criterion

FEWEST_HALVED = 8
"""Examples, below which halves of them say nothing about each other."""


@dataclass(frozen=True)
class Importance:
    """Scores of all units of a model, on the same scale, higher is worth more.

    Attributes:
        groups: attention and FFN of every layer.
        scores: one tensor a group, one score a unit.
        agreement: Spearman's rank correlation of the attention units' scores between two halves of the examples; None
            where there are too few of them, or all scores of a half are equal.
    """

    groups: tuple[Group, ...]
    scores: tuple[Float[Tensor, "unit"], ...]
    agreement: float | None

    def head_rows(self) -> list[dict[str, Any]]:
        """One row a head: `layer`, `head`, `score`, and `rank`, 1 for the highest score of all.

        Heads of one KV group leave together: they share its score and its rank, and `kv_group` says which it is. A
        layer whose weights run several times has one row a head, under the number of its weights.
        """
        attention = [pair for pair in zip(self.groups, self.scores, strict=True) if pair[0].heads]
        every = sorted((float(score) for _, scores in attention for score in scores), reverse=True)
        rank = {score: place for place, score in reversed(list(enumerate(every, start=1)))}
        return [
            {"layer": group.layer, "head": unit * group.heads + head}
            | ({"kv_group": unit} if group.axis == "kv_groups" else {})
            | {"score": float(score), "rank": rank[float(score)]}
            for group, scores in attention
            for unit, score in enumerate(scores)
            for head in range(group.heads)
        ]


def importance(bundle: Bundle, criterion: Criterion, context: Context) -> Importance:
    """Score every unit on the calibration examples, and the attention's once more on each half of them.

    Raises:
        DataError: the criterion needs examples, or labels, that are not there.
        ModelError: scores are not finite.
    """
    groups = bundle.anatomy.groups
    scores = criterion.score(bundle, groups, context)
    for group, score in zip(groups, scores, strict=True):
        if not score.isfinite().all():
            raise ModelError(f"head importance: scores of {group.name} are not finite; is the model whole?")
    return Importance(groups, tuple(scores), _agreement(bundle, criterion, context))


def _agreement(bundle: Bundle, criterion: Criterion, context: Context) -> float | None:
    """The rank correlation between two halves: every other example is in the other one."""
    from scipy.stats import spearmanr

    examples = len(context.calibration)
    if examples < FEWEST_HALVED:
        return None
    attention = [group for group in bundle.anatomy.groups if group.heads]
    halves = [_on_half(bundle, criterion, attention, context, half) for half in (0, 1)]
    if any(len(set(half)) == 1 for half in halves):
        return None
    return float(spearmanr(*halves).statistic)


def _on_half(bundle: Bundle, criterion: Criterion, groups: Sequence[Group], context: Context, half: int) -> list[float]:
    part = context.calibration.rows(np.arange(half, len(context.calibration), 2))
    found = criterion.score(bundle, groups, replace(context, calibration=part))
    return [float(score) for scores in found for score in scores]
