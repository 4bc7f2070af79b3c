"""Random: the control that every criterion has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from compress.settings import Settings
from compress.stage import Context

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from compress.anatomy import Group
    from compress.bundle import Bundle


class Random(Settings):
    """A uniform draw for each unit, in proportion to its size: a ranking by score per cost is then blind to size.

    Recipe:
        - prune: {target: {encoder_parameters: 0.7}, criterion: {use: random}}
    """

    def score(self, bundle: Bundle, groups: Sequence[Group], context: Context) -> list[Float[Tensor, "unit"]]:
        import torch

        generator = torch.Generator().manual_seed(context.seed)
        return [torch.rand(group.units, generator=generator) * group.unit_parameters for group in groups]
