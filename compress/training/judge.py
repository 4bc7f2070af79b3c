"""Judge a model on the dev split, the only one that stages may choose by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compress.batching import in_order
from compress.feed import feed
from compress.metric import evidence_of, metric_of
from compress.stage import Context

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from compress.bundle import Bundle


def dev_score(bundle: Bundle, model: PreTrainedModel, context: Context) -> float:
    """The task's first metric on the dev split, the model left in training mode as it was."""
    import torch

    task, was_training = bundle.task, model.training
    model.eval()
    predictions, index = [], []
    with torch.inference_mode():
        for batch in feed(context.dev, bundle, context.device, size=64):
            scores = task.scores(model(**batch.inputs), batch.inputs)
            predictions.append(task.predict(scores.float().cpu().numpy(), batch.source))
            index.append(batch.source.index)
    model.train(was_training)
    contexts = context.dev.pairs or ()
    metric = metric_of(task.metrics[0], task.target, labels=bundle.labels, contexts=contexts)
    evidence = evidence_of(metric, task, context.dev.labels, in_order(predictions, index))
    return float(metric.value(evidence))
