"""What the readers of groups are given on the calibration texts: the mean and the spread of each of their inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compress.errors import DataError
from compress.feed import TensorBatch, feed, placed
from compress.linear import weight_of

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from compress.anatomy import Group
    from compress.bundle import Bundle
    from compress.stage import Context


@dataclass
class Moments:
    """Sums over all real calibration tokens, and over all runs of a layer that runs several times."""

    count: int
    total: Float[Tensor, "width"]
    squares: Float[Tensor, "width"]

    @property
    def mean(self) -> Float[Tensor, "width"]:
        return self.total / self.count

    @property
    def mean_square(self) -> Float[Tensor, "width"]:
        return self.squares / self.count

    @property
    def variance(self) -> Float[Tensor, "width"]:
        """With Bessel's correction; never below 0, which rounding might bring it to."""
        spread = self.squares - self.total.square() / self.count
        return spread.clamp_min(0) / max(self.count - 1, 1)


def reader_moments(
    bundle: Bundle, groups: Sequence[Group], context: Context, *, batch: int, criterion: str
) -> dict[str, Moments]:
    """The moments of what each group's readers are given, in float64 on the CPU; by reader. Labels are not read.

    Args:
        batch: examples at a time.
        criterion: whose name a fault is told under.

    Raises:
        DataError: there are no calibration examples.
    """
    import torch

    if not len(context.calibration):
        raise DataError(f"criterion {criterion}: needs calibration examples; the recipe's calibration has none")
    model = placed(bundle.module, context.device)
    readers = {part.module: model.get_submodule(part.module) for group in groups for part in group.readers}
    found = {
        path: Moments(0, *torch.zeros(2, weight_of(module).shape[1], dtype=torch.float64))
        for path, module in readers.items()
    }
    now: list[TensorBatch] = []
    hooks = [module.register_forward_pre_hook(_adding(found[path], now)) for path, module in readers.items()]
    try:
        with torch.no_grad():
            for examples in feed(context.calibration, bundle, context.device, size=batch):
                now[:] = [examples]
                model(**examples.inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _adding(moments: Moments, now: list[TensorBatch]) -> Callable[..., None]:
    """A hook that adds a reader's inputs to its moments."""

    def add(_module: object, args: tuple[Any, ...]) -> None:
        values = now[0].vectors(args[0]).double()
        moments.count += len(values)
        moments.total += values.sum(dim=0).cpu()
        moments.squares += values.square().sum(dim=0).cpu()

    return add


def reading_costs(
    bundle: Bundle, groups: Sequence[Group], found: Mapping[str, Moments], energy: Callable[[Moments], Tensor]
) -> list[Float[Tensor, "unit"]]:
    """For each unit, `energy` of what is read of it times the square of the weights that read it, summed."""
    import torch

    scores = []
    for group in groups:
        read = []
        for part in group.readers:
            weight = weight_of(bundle.module.get_submodule(part.module)).detach().cpu().double()
            read.append(energy(found[part.module]) * weight.square().sum(dim=0))
        scores.append(torch.stack(read).sum(dim=0).view(group.units, -1).sum(dim=-1))
    return scores
