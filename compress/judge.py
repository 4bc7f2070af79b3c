"""Judge a model on the dev split, the only one that stages may choose by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compress import catalog
from compress.feed import feed
from compress.stage import Context

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from compress.bundle import Bundle


def dev_score(bundle: Bundle, model: PreTrainedModel, context: Context) -> float:
    """The task's first metric on the dev split, the model left in training mode as it was."""
    import torch

    was_training = model.training
    model.eval()
    truth, decisions = [], []
    with torch.inference_mode():
        for batch in feed(context.dev, bundle, context.device, size=64):
            truth.append(batch.truth.cpu())
            decisions.append(
                torch.from_numpy(bundle.task.decide(bundle.task.scores(model(**batch.inputs)).float().cpu().numpy()))
            )
    model.train(was_training)
    metric = catalog.load("metrics", bundle.task.metrics[0])()
    return float(metric.value(torch.cat(truth).numpy(), torch.cat(decisions).numpy()))
