"""Teaching: settings by which a model learns what another one knows, and the training that they make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from compress.bundle import reading_of
from compress.errors import DataError, ModelError
from compress.feed import TensorBatch, placed
from compress.settings import Settings
from compress.stage import Context, Sight
from compress.training.loop import Training, train
from compress.training.losses import hidden_states

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from compress.bundle import Bundle
    from compress.data import Split

SEEN: tuple[Sight, ...] = ("train", "dev", "transfer", "reference")
"""What of a context teaching looks at."""


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


class Distillation(Training):
    """How a student learns from the reference; the shared part of every stage that teaches."""

    learning_rate: float = Field(2e-4, gt=0, description="at the schedule's peak")
    losses: Losses = Losses(logits=LogitsLoss(), hidden=HiddenLoss())

    def teach(self, student: Bundle, context: Context, *, twins: tuple[int, ...] | None = None) -> Bundle:
        """A bundle with a copy of the student that has learnt from the context's reference.

        It learns on the training split, and on the transfer split as well where there is one. A stage that teaches
        several times gives each a context of its own, from `Context.within`: an interrupted one is then resumed.

        Args:
            twins: for each of the student's layers the teacher's layer, from 0, whose output it learns; left out:
                paired by depth.

        Raises:
            ModelError: there is no teacher, or none that this student can learn from in the way that is asked.
            DataError: true labels are asked for, and there are none.
        """
        reference, texts = teacher_of(context), _texts(context)
        if reading_of(student.processor) != reading_of(reference.processor):
            raise ModelError(
                "distill: teacher and student read different tokens; the axis vocabulary belongs after distill"
            )
        if self.losses.labels is not None and student.task.target is not None and texts.labels is None:
            raise DataError("distill: losses.labels needs labels; the training or the transfer split has none")
        pairs = twins or spread(reference.anatomy.layers, student.anatomy.layers)
        if self.losses.hidden is not None:
            _check_hidden_states(student, reference, pairs)
        teacher = placed(reference.module, context.device)

        def loss_of(model: PreTrainedModel, batch: TensorBatch) -> Tensor:
            return self._loss(model, teacher, pairs, batch, student)

        return train(student, loss_of, texts, self, context)

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


def teacher_of(context: Context) -> Bundle:
    """The reference, from which a stage's student learns.

    Raises:
        ModelError: it is still being prepared.
    """
    if context.reference is None:
        raise ModelError("distill: there is no teacher yet; distill belongs under `stages`, after `prepare`")
    return context.reference


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


def _texts(context: Context) -> Split:
    return context.train if context.transfer is None else context.train.plus(context.transfer)


def _check_hidden_states(student: Bundle, reference: Bundle, twins: tuple[int, ...]) -> None:
    """See that each of the student's layers has an output of its own kind to learn from."""
    ours, theirs = (bundle.module.config.hidden_size for bundle in (student, reference))
    if ours != theirs:
        raise ModelError(
            f"distill: the student's hidden size is {ours}, the teacher's {theirs}, so their hidden states have "
            "nothing to be compared by; leave out losses.hidden"
        )
    last = reference.anatomy.layers - 1
    if student.family.normed_last and twins[-1] != last:
        raise ModelError(
            f"distill: a {student.family.name}'s last hidden states are normed, the others' are not, so the "
            f"student's last layer has none to learn from; keep layer {last}, or leave out losses.hidden"
        )
