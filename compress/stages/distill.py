"""Distil the reference into a student made from some of the model's layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, field_validator, model_validator

from compress.bundle import Form
from compress.errors import DataError, ModelError
from compress.feed import TensorBatch, placed
from compress.settings import Settings
from compress.stage import Context, Sight
from compress.surgery import keep_layers
from compress.training.loop import Training, train
from compress.training.losses import hidden_states

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from compress.anatomy import Anatomy
    from compress.bundle import Bundle


class Student(Settings):
    """Which layers of the incoming model the student starts from."""

    layers: Annotated[int, Field(ge=1)] | tuple[int, ...] = Field(
        description="a count, spread evenly from first to last; or the layers, from 0"
    )

    def chosen(self, count: int) -> tuple[int, ...]:
        """The layers kept of a model that has `count`."""
        if isinstance(self.layers, int):
            return spread(count, self.layers)
        if any(layer not in range(count) for layer in self.layers):
            raise ModelError(f"distill: layers {list(self.layers)} wanted of a model that has layers 0 to {count - 1}")
        return self.layers

    @field_validator("layers")
    @classmethod
    def _some_and_each_once(cls, layers: int | tuple[int, ...]) -> int | tuple[int, ...]:
        if isinstance(layers, tuple) and (not layers or list(layers) != sorted(set(layers))):
            raise ValueError(f"wanted layers in rising order, each once; got {list(layers)}")
        return layers


class LogitsLoss(Settings):
    """Soft labels (Hinton et al. 2015)."""

    weight: float = Field(1.0, gt=0)
    temperature: float = Field(2.0, gt=0)


class HiddenLoss(Settings):
    """Layer outputs (Jiao et al. 2020)."""

    weight: float = Field(0.5, gt=0)


class LabelsLoss(Settings):
    """The true labels."""

    weight: float = Field(0.3, gt=0)


class Losses(Settings):
    """The terms of the loss; one that is left out counts for nothing."""

    logits: LogitsLoss | None = None
    hidden: HiddenLoss | None = None
    labels: LabelsLoss | None = None

    @model_validator(mode="after")
    def _at_least_one(self) -> Losses:
        if self.logits is None and self.hidden is None and self.labels is None:
            raise ValueError("wanted at least one of logits, hidden, labels")
        return self


class Distill(Training):
    """Teach a smaller model what the reference knows.

    It trains on the training split, and on the transfer split as well where the recipe has one. Without `student` the
    incoming model itself is taught: recovery after a cut.

    Recipe:
        - distill: {student: {layers: 2}, epochs: 1, learning_rate: 1.0e-3, batch: 8}
    """

    consumes: ClassVar[Form] = Form.TORCH
    produces: ClassVar[Form] = Form.TORCH
    sees: ClassVar[tuple[Sight, ...]] = ("train", "dev", "transfer", "reference")
    weight_bytes: ClassVar[float | None] = None

    learning_rate: float = Field(2e-4, gt=0, description="at the schedule's peak")
    student: Student | None = Field(None, description="left out: the incoming model, with all its layers")
    losses: Losses = Losses(logits=LogitsLoss(), hidden=HiddenLoss())

    def apply(self, bundle: Bundle, context: Context) -> Bundle:
        if context.reference is None:
            raise ModelError("distill: there is no teacher yet; distill belongs under `stages`, after `prepare`")
        texts = context.train if context.transfer is None else context.train.plus(context.transfer)
        if self.losses.labels is not None and bundle.task.target is not None and texts.labels is None:
            raise DataError("distill: losses.labels needs labels; the training or the transfer split has none")
        count = bundle.anatomy.layers
        if self.student is not None:
            bundle = bundle.with_model(keep_layers(bundle.module, bundle.family, self.student.chosen(count)))
        # A student made of chosen teacher layers learns from just those; any other is paired by depth.
        depth = context.reference.anatomy.layers
        twins = self.student.chosen(count) if self.student and count == depth else spread(depth, bundle.anatomy.layers)
        if self.losses.hidden is not None and bundle.family.normed_last and twins[-1] != depth - 1:
            raise ModelError(
                f"distill: a {bundle.family.name}'s last hidden states are normed, the others' are not, so the "
                f"student's last layer has none to learn from; keep layer {depth - 1}, or leave out losses.hidden"
            )
        teacher = placed(context.reference.module, context.device)

        def loss_of(model: PreTrainedModel, batch: TensorBatch) -> Tensor:
            return self._loss(model, teacher, twins, batch, bundle)

        return train(bundle, loss_of, texts, self, context)

    def predict(self, anatomy: Anatomy) -> Anatomy:
        """The anatomy that the stage will leave."""
        return anatomy if self.student is None else anatomy.with_layers(self.student.chosen(anatomy.layers))

    def _loss(
        self,
        model: PreTrainedModel,
        teacher: PreTrainedModel,
        twins: tuple[int, ...],
        batch: TensorBatch,
        bundle: Bundle,
    ) -> Tensor:
        import torch

        task = bundle.task
        layered: dict[str, Any] = {"output_hidden_states": self.losses.hidden is not None}
        with torch.no_grad():
            wanted = teacher(**batch.inputs, **layered)
        got = model(**batch.inputs, **layered)
        scores = task.scores(got, batch.inputs)
        loss = torch.zeros((), device=scores.device)
        if (soft := self.losses.logits) is not None:
            target = task.scores(wanted, batch.inputs)
            apart = task.distillation(scores, target, batch.inputs, batch.labels, temperature=soft.temperature)
            loss = loss + soft.weight * apart
        if self.losses.hidden is not None:
            # hidden_states[0] is the embeddings' output; layer i's is at i + 1.
            ours = [batch.flat(states) for states in got.hidden_states[1:]]
            theirs = [batch.flat(wanted.hidden_states[layer + 1]) for layer in twins]
            loss = loss + self.losses.hidden.weight * hidden_states(ours, theirs)
        if self.losses.labels is not None:
            loss = loss + self.losses.labels.weight * task.losses(scores, batch.truth).mean()
        return loss


def spread(count: int, wanted: int) -> tuple[int, ...]:
    """`wanted` of `count` layers, evenly spread; the last is always kept, and the first where more than one is.

    Raises:
        ModelError: more layers are wanted than there are, or none.

    >>> spread(6, 3), spread(6, 6), spread(12, 1)
    ((0, 2, 5), (0, 1, 2, 3, 4, 5), (11,))
    """
    if not 0 < wanted <= count:
        raise ModelError(f"distill: {wanted} layers wanted of a model with {count}")
    if wanted == 1:
        return (count - 1,)
    return tuple(round(index * (count - 1) / (wanted - 1)) for index in range(wanted))
