"""Fine-tune a model on the training split's labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from compress.bundle import Form
from compress.errors import DataError
from compress.feed import TensorBatch
from compress.stage import Context, Sight
from compress.training.loop import Training, train

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from compress.bundle import Bundle


class Finetune(Training):
    """Train on the true labels; dev picks the epoch that is kept.

    Recipe:
        - finetune: {epochs: 1, learning_rate: 1.0e-3, batch: 8}
    """

    consumes: ClassVar[Form] = Form.TORCH
    produces: ClassVar[Form] = Form.TORCH
    sees: ClassVar[tuple[Sight, ...]] = ("train", "dev")
    weight_bytes: ClassVar[float | None] = None

    def apply(self, bundle: Bundle, context: Context) -> Bundle:
        task = bundle.task
        if task.target is not None and context.train.labels is None:
            raise DataError("finetune: the training split has no labels; give its table a `label`")

        def loss_of(model: PreTrainedModel, batch: TensorBatch) -> Tensor:
            return task.losses(task.scores(model(**batch.inputs), batch.inputs), batch.truth).mean()

        return train(bundle, loss_of, context.train, self, context)
