"""The one training loop. Fine-tuning and distillation differ only in the loss that they hand to it."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from pydantic import Field

from compress import catalog
from compress.errors import ModelError
from compress.feed import TensorBatch, feed
from compress.lineage import digest_of
from compress.settings import Settings
from compress.stage import Context
from compress.training.checkpoint import Checkpoints
from compress.training.judge import dev_score
from compress.training.schedules import Schedule
from compress.training.state import TrainingState

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel

    from compress.anatomy import Anatomy
    from compress.bundle import Bundle
    from compress.data import Split

LOG_EVERY = 10
"""Steps between two points of the loss curve."""


class Training(Settings):
    """How a model is trained; the shared part of every stage that trains."""

    epochs: int = Field(2, ge=1, description="passes over the training split")
    learning_rate: float = Field(1e-4, gt=0, description="at the schedule's peak")
    batch: int = Field(32, ge=1, description="examples a step")
    weight_decay: float = Field(0.01, ge=0, description="AdamW's, on matrices alone")
    clip: float = Field(1.0, gt=0, description="largest norm of the gradient")
    schedule: Schedule = Schedule()
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="bf16: matrix products in bfloat16, weights in float32"
    )
    keep: Literal["best", "last"] = Field("best", description="the epoch whose weights are kept; best: on dev")

    def predict(self, anatomy: Anatomy) -> Anatomy:
        """Training changes no shapes."""
        return anatomy

    def trainings(self, anatomy: Anatomy) -> Sequence[tuple[Training, Anatomy]]:
        """See `Trains`."""
        return [(self, self.predict(anatomy))]


@runtime_checkable
class Trains(Protocol):
    """A stage that trains, once or several times."""

    def trainings(self, anatomy: Anatomy) -> Sequence[tuple[Training, Anatomy]]:
        """Each training, with the anatomy of the model in it; `anatomy` is what comes in. `compress plan` asks."""


def trainings_of(stage: Any, anatomy: Anatomy) -> Sequence[tuple[Training, Anatomy]]:
    """Each training of a stage that `anatomy` comes into, with the anatomy of the model in it; of most stages none."""
    return stage.trainings(anatomy) if isinstance(stage, Trains) else ()


LossOf = Callable[["PreTrainedModel", TensorBatch], "Tensor"]


def train(bundle: Bundle, loss_of: LossOf, split: Split, settings: Training, context: Context) -> Bundle:
    """A bundle with a copy of the model that was trained on `split`.

    Goes through Accelerate, which is where several processes would come in; it is one process so far. Dropout is on,
    and every draw comes from the context's seed.

    Checkpoints lie in the context's scratch folder. A training that finds one of its own goes on from there, and ends
    in the very weights that it would have had undisturbed: `loss_of` must keep nothing from one step to the next. One
    that finds itself at its end does nothing but give these. A stage that trains several times gives each a context of
    its own, from `Context.within`.

    Raises:
        ModelError: the loss stopped being finite.
        StoreError: a checkpoint can't be written.
    """
    import torch
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=context.device.type == "cpu")
    checkpoints = _checkpoints(bundle, split, settings, context)
    with torch.random.fork_rng():
        torch.manual_seed(context.seed)
        model = copy.deepcopy(bundle.module).train()
        optimizer = torch.optim.AdamW(_decayed(model, settings.weight_decay), lr=settings.learning_rate, fused=True)
        prepared, wrapped = accelerator.prepare(model, optimizer)
        rises = catalog.load("metrics", bundle.task.metrics[0]).higher_is_better
        state = TrainingState(accelerator.unwrap_model(prepared), optimizer, context.device, rises)
        if (found := checkpoints.read()) is not None:
            state.restore(*found)
            context.progress(0.0, f"goes on after step {state.step}")
        for step, steps, batch in _steps(bundle, split, settings, context, start=state.step):
            for group in wrapped.param_groups:
                group["lr"] = settings.learning_rate * settings.schedule.factor(step, steps)
            with torch.autocast(context.device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
                loss = loss_of(prepared, batch)
            wrapped.zero_grad()
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(prepared.parameters(), settings.clip)
            wrapped.step()
            state.step = step + 1
            if step % LOG_EVERY == 0 or state.step == steps:
                state.losses.append((state.step, _finite(loss, step)))
                context.progress(state.step / steps, f"loss {state.losses[-1][1]:.3f}")
            if ended := state.step % (steps // settings.epochs) == 0:
                state.score(dev_score(bundle, state.model, context))
                context.progress(state.step / steps, f"dev {bundle.task.metrics[0]} {state.scores[-1][1]:.4f}")
            # The last one always: a stage may go on after a training, and be interrupted then.
            if checkpoints.due(epoch_ended=ended) or state.step == steps:
                checkpoints.write(state.tensors(at_end=state.step == steps), state.notes())
    if settings.keep == "best":
        state.restore_best()
    _record_curves(context, bundle, state.losses, state.scores)
    return bundle.with_model(state.model.cpu().eval())


def _checkpoints(bundle: Bundle, split: Split, settings: Training, context: Context) -> Checkpoints:
    """Where this training's checkpoints lie: a file of its own, for a stage may train several models."""
    parts = [bundle.digest, split.digest, settings.model_dump(mode="json"), context.seed, context.device.type]
    owner = digest_of(parts)
    return Checkpoints(context.scratch / f"training-{owner.removeprefix('sha256:')[:16]}.safetensors", owner)


def _steps(
    bundle: Bundle, split: Split, settings: Training, context: Context, *, start: int
) -> Iterator[tuple[int, int, TensorBatch]]:
    """(step, number of steps, batch) over all epochs, from step `start` on."""
    per_epoch = -(-len(split) // settings.batch)
    step = start
    for epoch in range(start // per_epoch, settings.epochs):
        seed = context.seed * 1000 + epoch
        passed = step - epoch * per_epoch
        for batch in feed(split, bundle, context.device, size=settings.batch, seed=seed, skip=passed):
            yield step, per_epoch * settings.epochs, batch
            step += 1


def _decayed(model: PreTrainedModel, weight_decay: float) -> list[dict[str, object]]:
    """Two groups of parameters: matrices decay, biases and norms do not."""
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def _finite(loss: torch.Tensor, step: int) -> float:
    value = float(loss.detach())
    if not math.isfinite(value):
        raise ModelError(f"training: the loss is {value} at step {step + 1}; a lower learning_rate is the usual cure")
    return value


def _record_curves(
    context: Context, bundle: Bundle, losses: list[tuple[int, float]], scores: list[tuple[int, float]]
) -> None:
    for name, unit, points in (("loss", "loss", losses), ("dev", bundle.task.metrics[0], scores)):
        xs, ys = zip(*points, strict=True)
        context.record(name, {"x": list(xs), "y": list(ys), "x_unit": "step", "y_unit": unit})
