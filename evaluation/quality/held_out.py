"""Quality of one model after another on the same rows, by one metric, where nothing is timed beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from compress.batching import in_order
from compress.data import Split
from compress.errors import DataError
from compress.metric import Metric, evidence_of
from compress.runtime import Session
from evaluation.measurement import Measurement
from evaluation.quality.quality import batches_of
from evaluation.statistics.intervals import interval_of

if TYPE_CHECKING:
    from compress.bundle import Bundle


def evidence_on(bundle: Bundle, session: Session, split: Split, metrics: dict[str, Metric]) -> dict[str, np.ndarray]:
    """What each metric knows of each example of the split, as the session's model decides it.

    Raises:
        DataError: outputs are not finite.
    """
    parts, order = [], []
    for batch in batches_of(bundle, split):
        scores = session.outputs(batch.inputs)
        if not np.isfinite(scores).all():
            raise DataError(f"{split.name}: the model gives outputs that are not finite; is it whole?")
        parts.append(bundle.task.predict(scores, batch))
        order.append(batch.index)
    predictions = in_order(parts, order)
    return {name: evidence_of(metric, bundle.task, split.labels, predictions) for name, metric in metrics.items()}


def quality_row(
    target: str, name: str, metric: Metric, evidence: np.ndarray, *, seed: int, conditions: dict[str, object]
) -> Measurement:
    """A metric's figure with its interval."""
    found = interval_of(metric.value, evidence, seed=seed, overstates=metric.overstates, ends=metric.ends)
    return Measurement(
        target=target,
        name=name,
        value=found.value,
        low=found.low,
        high=found.high,
        unit=metric.unit,
        count=len(evidence),
        higher_is_better=metric.higher_is_better,
        conditions=conditions,
    )
