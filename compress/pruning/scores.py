"""What a criterion says of all that may leave: units, and layers as the sum of theirs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from compress.errors import ModelError
from compress.pruning.allocation import Block, Scored
from compress.slicing import weights_in

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from compress.anatomy import Group
    from compress.bundle import Bundle
    from compress.stage import Context, Criterion


def scored_for(
    bundle: Bundle, groups: Sequence[Group], criterion: Criterion, context: Context, *, layers: bool, block: Block
) -> Scored:
    """The groups with a score for each unit and, where layers may leave, one for each layer that runs.

    A layer is worth what all its units are together: to first order, that is what the loss of each of them adds.

    Raises:
        ModelError: scores that are not finite; the message names layer and axis.
    """
    anatomy = bundle.anatomy
    others = [group for group in anatomy.groups if layers and group not in groups]
    every = [*groups, *others]
    scores = criterion.score(bundle, every, context)
    _refuse_not_finite(bundle, every, scores)
    worth = None
    if layers:
        sums = dict.fromkeys(anatomy.runs, 0.0)
        for group, score in zip(every, scores, strict=True):
            if group.layer is not None:
                sums[group.layer] += float(score.sum()) / group.repeats
        worth = [sums[owner] for owner in anatomy.runs]
    return Scored(anatomy, groups, scores[: len(groups)], worth, block)


def _refuse_not_finite(bundle: Bundle, groups: Sequence[Group], scores: Sequence[Float[Tensor, "unit"]]) -> None:
    """A weight that is no number spoils the scores of all that is computed from it: it is the one to name."""
    for group, score in zip(groups, scores, strict=True):
        bad = int((~score.isfinite()).sum())
        if bad:
            spoilt = [each.name for each in groups if not _finite(bundle, each)]
            raise ModelError(
                f"prune: {bad} of {group.units} scores of {group.name} are not finite; "
                + (f"nor are weights of {', '.join(spoilt[:3])}" if spoilt else "all weights there are: is the loss?")
            )


def _finite(bundle: Bundle, group: Group) -> bool:
    return all(bool(one.isfinite().all()) for part in group.slices for one in weights_in(bundle.module, part))
