"""Wanda: a unit is worth the size of its reader's weights times the size of what they are given."""

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


class Wanda(Settings):
    """The sum over the unit's inputs of its reader of |W| ||x||, squared: its share of the reader's output energy.

    Sun et al. 2024, "A Simple and Effective Pruning Approach for Large Language Models", equation 1, there for single
    weights; for a structured unit the squares of its weights' scores are summed (as An et al. 2024 do for their
    comparison). ||x|| is the root mean square over calibration tokens. Labels are not read.

    Recipe:
        - prune: {target: {encoder_parameters: 0.7}, criterion: {use: wanda}}
    """

    batch: int = Field(default=32, ge=1, description="examples at a time")

    def score(self, bundle: Bundle, groups: Sequence[Group], context: Context) -> list[Float[Tensor, "unit"]]:
        found = reader_moments(bundle, groups, context, batch=self.batch, criterion="wanda")
        return reading_costs(bundle, groups, found, lambda moments: moments.mean_square)
