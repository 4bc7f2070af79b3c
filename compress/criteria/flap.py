"""FLAP: a unit is worth what its output fluctuates, as a constant output could be replaced by a bias."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from compress.pruning.moments import reader_moments, reading_costs
from compress.settings import Settings
from compress.stage import Context

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from compress.anatomy import Group
    from compress.bundle import Bundle


class Flap(Settings):
    """The variance of each input of the unit's reader times the square of that input's column of weights, summed.

    An et al. 2024, "Fluctuation-based Adaptive Structured Pruning for Large Language Models", equation 5. It goes with
    `repair: bias` or `least_squares`, which put the mean of what is cut back. Scores of a group are divided by their
    standard deviation after their mean is taken off, so that layers can be ranked together (the paper's "adaptive
    global" search, section 3.3), and moved to begin above 0.

    Recipe:
        - prune: {target: {encoder_parameters: 0.7}, criterion: {use: flap, standardize: true}, repair: bias}
    """

    standardize: bool = Field(default=True, description="in units of each group's own spread")
    batch: int = Field(default=32, ge=1, description="examples at a time")

    def score(self, bundle: Bundle, groups: Sequence[Group], context: Context) -> list[Float[Tensor, "unit"]]:
        found = reader_moments(bundle, groups, context, batch=self.batch, criterion="flap")
        scores = reading_costs(bundle, groups, found, lambda moments: moments.variance)
        return (
            [_standard(score, group) for score, group in zip(scores, groups, strict=True)]
            if self.standardize
            else scores
        )


def _standard(scores: Float[Tensor, "unit"], group: Group) -> Float[Tensor, "unit"]:
    """In standard deviations above the smallest, for each parameter of a unit: a ranking by score per cost then ranks
    these values, as the paper does, which weighs heads against channels by cost."""
    spread = scores.std() if len(scores) > 1 else scores.abs().max()
    return (scores - scores.min()) / spread.clamp_min(1e-30) * group.unit_parameters
