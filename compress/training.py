"""The one training loop. Fine-tuning and distillation differ only in the loss that they hand to it."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from compress.errors import ModelError
from compress.feed import TensorBatch, feed
from compress.judge import dev_score
from compress.schedules import Schedule
from compress.settings import Settings
from compress.stage import Context

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel

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


LossOf = Callable[["PreTrainedModel", TensorBatch], "Tensor"]


def train(bundle: Bundle, loss_of: LossOf, split: Split, settings: Training, context: Context) -> Bundle:
    """A bundle with a copy of the model that was trained on `split`.

    Goes through Accelerate, which is where several processes would come in; it is one process so far. Dropout is on,
    and every draw comes from the context's seed.

    Raises:
        ModelError: the loss stopped being finite.
    """
    import torch
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=context.device.type == "cpu")
    with torch.random.fork_rng():
        torch.manual_seed(context.seed)
        model = copy.deepcopy(bundle.module).train()
        optimizer = torch.optim.AdamW(_decayed(model, settings.weight_decay), lr=settings.learning_rate, fused=True)
        model, optimizer = accelerator.prepare(model, optimizer)
        losses: list[tuple[int, float]] = []
        scores: list[tuple[int, float]] = []
        best: tuple[float, dict[str, Tensor]] | None = None
        for step, steps, batch in _steps(bundle, split, settings, context):
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * settings.schedule.factor(step, steps)
            with torch.autocast(context.device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
                loss = loss_of(model, batch)
            optimizer.zero_grad()
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(model.parameters(), settings.clip)
            optimizer.step()
            if step % LOG_EVERY == 0 or step == steps - 1:
                losses.append((step + 1, _finite(loss, step)))
                context.progress((step + 1) / steps, f"loss {losses[-1][1]:.3f}")
            if (step + 1) % (steps // settings.epochs) == 0:
                inner = accelerator.unwrap_model(model)
                scores.append((step + 1, dev_score(bundle, inner, context)))
                context.progress((step + 1) / steps, f"dev {bundle.task.metrics[0]} {scores[-1][1]:.4f}")
                if best is None or scores[-1][1] > best[0]:
                    best = (scores[-1][1], copy.deepcopy(inner.state_dict()))
        trained = accelerator.unwrap_model(model)
    assert best is not None, "every run has at least one epoch"
    if settings.keep == "best":
        trained.load_state_dict(best[1])
    _record_curves(context, bundle, losses, scores)
    return bundle.with_model(trained.cpu().eval())


def _steps(
    bundle: Bundle, split: Split, settings: Training, context: Context
) -> Iterator[tuple[int, int, TensorBatch]]:
    """(step, number of steps, batch) over all epochs."""
    per_epoch = -(-len(split) // settings.batch)
    step = 0
    for epoch in range(settings.epochs):
        seed = context.seed * 1000 + epoch
        for batch in feed(split, bundle, context.device, size=settings.batch, seed=seed):
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
