"""Mask variables, one on each unit as it is read, at 1: the gradient of each example's loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from compress.errors import DataError
from compress.feed import feed, placed

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor
    from transformers import PreTrainedModel

    from compress.anatomy import Group
    from compress.bundle import Bundle
    from compress.stage import Context


def mask_gradients(
    bundle: Bundle, groups: Sequence[Group], context: Context, *, batch: int, criterion: str
) -> Iterator[list[Float[Tensor, "row unit"]]]:
    """For each batch of the calibration examples, dL/dm of every group's units, in float64 on the CPU.

    A unit's mask stands on what each of its readers is given: a head's or a channel's one reader, and of a channel of
    the hidden size every layer that reads the residual stream. L is a row's loss. Losses are summed, not averaged: an
    example's gradient must not shrink with the size of its batch. A loss that ranks a batch's examples against each
    other, as that of sentence-embedding, still depends on which others stand beside it. A layer that runs several times
    has one mask for all its runs.

    Args:
        batch: examples at a time.
        criterion: whose name a fault is told under.

    Raises:
        DataError: there are no calibration examples, or the task needs labels and they have none.
    """
    import torch

    unlabelled = context.calibration.labels is None and bundle.task.target is not None
    if unlabelled or not len(context.calibration):
        raise DataError(
            f"criterion {criterion}: needs labelled calibration examples; the recipe's calibration has none"
        )
    model = placed(bundle.module, context.device)
    readers = list(dict.fromkeys(part.module for group in groups for part in group.readers))
    inputs: dict[str, list[Tensor]] = {path: [] for path in readers}
    hooks = [_catch_input(model, path, inputs[path]) for path in readers]
    try:
        for examples in feed(context.calibration, bundle, context.device, size=batch):
            scores = bundle.task.scores(model(**examples.inputs), examples.inputs)
            loss = bundle.task.losses(scores, examples.truth).sum()
            caught = [value for path in readers for value in inputs[path]]
            gradients = iter(torch.autograd.grad(loss, caught))
            # Summed over tokens at once, so that one number a column is all that is kept of each reader.
            columns = {
                path: torch.stack([_by_row(value.detach() * next(gradients)) for value in inputs[path]]).sum(dim=0)
                for path in readers
            }
            yield [_of_units(columns, group) for group in groups]
            for values in inputs.values():
                values.clear()
    finally:
        for hook in hooks:
            hook.remove()


def _catch_input(model: PreTrainedModel, path: str, inputs: list[Tensor]) -> Any:
    """Keep what a reader is given, each time it runs, as a tensor of its own: others read the same, and its gradient
    has to be that of this reading alone."""

    def keep(_module: object, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        inputs.append(args[0].view_as(args[0]))
        return inputs[-1], *args[1:]

    return model.get_submodule(path).register_forward_pre_hook(keep)


def _by_row(product: Float[Tensor, "row ... width"]) -> Float[Tensor, "row width"]:
    """The sum over a row's tokens; a task's head may read one vector a row."""
    return product.flatten(1, -2).sum(dim=1) if product.ndim > 2 else product


def _of_units(columns: Mapping[str, Tensor], group: Group) -> Float[Tensor, "row unit"]:
    """d loss / d mask of each unit on each row: the sum over all that reads it, and over the unit's columns."""
    import torch

    total = torch.stack([columns[part.module] for part in group.readers]).sum(dim=0)
    return total.view(len(total), group.units, -1).sum(dim=-1).double().cpu()
