"""Taylor: a unit is worth what the loss would change, to first order, if it were gone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from compress.pruning.masks import mask_gradients
from compress.settings import Settings
from compress.stage import Context

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from compress.anatomy import Group
    from compress.bundle import Bundle


class Taylor(Settings):
    """The mean over examples of |dL/dm|, where m is a mask variable on the unit's output, at m = 1.

    Michel et al. 2019, "Are Sixteen Heads Really Better than One?", section 4.1, there for heads; the same variable
    serves FFN channels. Labels are those of the calibration examples. Where a task makes several rows of an example,
    the absolute value is taken of each row's gradient, and an example counts with their sum.

    Recipe:
        - prune: {target: {encoder_parameters: 0.7}, criterion: {use: taylor, batch: 16}}
    """

    batch: int = Field(default=16, ge=1, description="examples at a time")

    def score(self, bundle: Bundle, groups: Sequence[Group], context: Context) -> list[Float[Tensor, "unit"]]:
        import torch

        totals = [torch.zeros(group.units, dtype=torch.float64) for group in groups]
        for gradients in mask_gradients(bundle, groups, context, batch=self.batch, criterion="taylor"):
            for index, gradient in enumerate(gradients):
                totals[index] += gradient.abs().sum(dim=0)
        return [(total / len(context.calibration)).float() for total in totals]
