"""Fisher: a unit is worth what the loss would rise, to second order, if it were gone beside those gone before it."""

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


class Fisher(Settings):
    """The empirical Fisher information of mask variables on the units' outputs, at 1.

    Kwon et al. 2022, "A Fast Post-Training Pruning Framework for Transformers", sections 4.1 and 4.2: at a trained
    model the gradient is near 0 and the Hessian of the loss near the Fisher matrix F = E[g g^T], so that removing the
    set S costs half of the sum of F over S x S. With `interactions`, the units of a layer leave one by one, each time
    the one that adds least beside those that have left (the paper swaps masks within a layer to the same end); a unit
    is then worth what it adds, and never less than one that left before it. Without, only F's diagonal counts.

    Gradients of every example are kept: examples x units x 8 bytes.

    Recipe:
        - prune: {target: {flops: 0.6}, criterion: {use: fisher, interactions: true, batch: 16}}
    """

    interactions: bool = Field(default=True, description="units of a layer are judged beside those that left before")
    batch: int = Field(default=16, ge=1, description="examples at a time")

    def score(self, bundle: Bundle, groups: Sequence[Group], context: Context) -> list[Float[Tensor, "unit"]]:
        import torch

        found = list(mask_gradients(bundle, groups, context, batch=self.batch, criterion="fisher"))
        every = [torch.cat(gradients) for gradients in zip(*found, strict=True)]
        examples = len(context.calibration)
        if not self.interactions:
            return [gradients.square().sum(dim=0) / (2 * examples) for gradients in every]
        return [_added(gradients) / (2 * examples) for gradients in every]


def _added(gradients: Float[Tensor, "row unit"]) -> Float[Tensor, "unit"]:
    """What each unit adds to the sum of squares of the gradients' sum over all that has left, leaving cheapest first;
    and never less than what one that left before it added.

    So the units stay in the order in which they leave, and their sum is more than what F says they cost together: in F,
    what one unit does is made up for by the next to leave, and that holds near the whole model alone.
    """
    import torch

    alone = gradients.square().sum(dim=0)
    beside = torch.zeros_like(alone)  # the product of each unit's gradients with the sum of those that have left
    added, left = torch.zeros_like(alone), torch.zeros_like(alone, dtype=torch.bool)
    hair = float(alone.max()) * 1e-12  # equal scores would be sorted by place, not as they leave
    highest = 0.0
    for _ in range(len(alone)):
        costs = (alone + 2 * beside).masked_fill(left, torch.inf)
        unit = int(costs.argmin())
        highest = max(highest + hair, float(costs[unit]))
        added[unit], left[unit] = highest, True
        beside += gradients.T @ gradients[:, unit]
    return added
