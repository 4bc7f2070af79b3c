"""Magnitude: a unit is worth what its weights are large."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from compress.settings import Settings
from compress.slicing import weights_in
from compress.stage import Context

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from compress.anatomy import Group
    from compress.bundle import Bundle


class Magnitude(Settings):
    """The sum of squared weights of a unit (Li et al. 2017, "Pruning Filters for Efficient ConvNets", with L2).

    Additive over weights, so score per parameter is a mean square and heads and channels can be ranked together.

    Recipe:
        - prune: {target: {encoder_parameters: 0.7}, criterion: {use: magnitude}}
    """

    def score(self, bundle: Bundle, groups: Sequence[Group], context: Context) -> list[Float[Tensor, "unit"]]:
        return [_squares(bundle, group) for group in groups]


def _squares(bundle: Bundle, group: Group) -> Float[Tensor, "unit"]:
    import torch

    total = torch.zeros(group.units)
    for part in group.slices:
        for weight in weights_in(bundle.module, part):
            squares = weight.detach().cpu().square().sum(dim=1)
            total += squares.view(part.blocks, group.units, part.span).sum(dim=(0, 2))
    return total
