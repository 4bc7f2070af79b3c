"""Taylor: a unit is worth what the loss would change, to first order, if it were gone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from compress.errors import DataError
from compress.feed import feed, placed
from compress.settings import Settings
from compress.stage import Context

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor
    from transformers import PreTrainedModel

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

        unlabelled = context.calibration.labels is None and bundle.task.target is not None
        if unlabelled or not len(context.calibration):
            raise DataError("criterion taylor: needs labelled calibration examples; the recipe's calibration has none")
        model = placed(bundle.module, context.device)
        totals = [torch.zeros(group.units, dtype=torch.float64) for group in groups]
        inputs: dict[str, list[Tensor]] = {group.name: [] for group in groups}
        hooks = [_catch_input(model, group, inputs) for group in groups]
        try:
            for batch in feed(context.calibration, bundle, context.device, size=self.batch):
                scores = bundle.task.scores(model(**batch.inputs), batch.inputs)
                # Summed, not averaged: an example's gradient must not shrink with the size of its batch. A loss that
                # ranks a batch's examples against each other, as that of sentence-embedding, still depends on which
                # others stand beside it.
                loss = bundle.task.losses(scores, batch.truth).sum()
                caught = [inputs[group.name] for group in groups]
                gradients = iter(torch.autograd.grad(loss, [value for values in caught for value in values]))
                for index, values in enumerate(caught):
                    # A layer that runs several times has one mask for all its runs.
                    moved = [_mask_gradients(value.detach() * next(gradients), groups[index]) for value in values]
                    totals[index] += torch.stack(moved).sum(dim=0).abs().sum(dim=0).double().cpu()
                    values.clear()
        finally:
            for hook in hooks:
                hook.remove()
        return [(total / len(context.calibration)).float() for total in totals]


def _catch_input(model: PreTrainedModel, group: Group, inputs: dict[str, list[Tensor]]) -> Any:
    """Keep what the group's reader is given, each time it runs: the units' outputs, side by side."""

    def keep(_module: object, args: tuple[Tensor, ...]) -> None:
        inputs[group.name].append(args[0])

    return model.get_submodule(group.readers[0].module).register_forward_pre_hook(keep)


def _mask_gradients(product: Float[Tensor, "batch tokens width"], group: Group) -> Float[Tensor, "batch unit"]:
    """d loss / d mask of each unit on each example: the sum of output times gradient over tokens and the unit."""
    return product.sum(dim=1).view(len(product), group.units, -1).sum(dim=-1)
