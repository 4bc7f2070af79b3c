"""Quality, example by example: what each target predicts, how good that is, and how much worse than a baseline's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from compress.batching import Batch, batches, in_order
from compress.data import Split
from compress.errors import DataError
from compress.metric import Metric, metric_of
from evaluation import statistics
from evaluation.measurement import Comparison, Measurement, Skipped
from evaluation.sitting import Conditions, Opened, Progress, Subject, ran_on, split_of

if TYPE_CHECKING:
    from compress.bundle import Bundle

BATCH = 32
"""Examples at a time when quality is measured; the same for all, as int8 activations are scaled batch by batch."""

SIGNIFICANT = 0.05
"""The p-value below which a difference may be called one."""

_SEED = 0  # of what a task draws at random, such as the tokens that it masks: the same for every target and run


def judged(opened: Sequence[Opened], conditions: Conditions, progress: Progress) -> tuple[list[Opened], list[Skipped]]:
    """The targets with what each predicts; and the variants, one of many, that can't be judged."""
    judged, unfit = list[Opened](), list[Skipped]()
    for index, one in enumerate(opened):
        progress("quality", index / len(opened), one.name)
        try:
            one.predictions = _predictions(one, conditions.test)
        except DataError as fault:
            if one.subject.target.kind != "variant":
                raise
            unfit.append(Skipped(target=one.name, reason=str(fault)))
            continue
        decisions = one.subject.bundle.task.decide(one.predictions)
        one.evidence = {name: m.evidence(conditions.test.labels, decisions) for name, m in one.metrics.items()}
        judged.append(one)
    progress("quality", 1.0, "done")
    return judged, unfit


def refuse_unlabelled(subject: Subject, test: Split) -> None:
    if subject.bundle.task.target is not None and test.labels is None:
        raise DataError(f"{test.name}: no labels to measure quality against; give its table a `label`")


def metrics_of(subject: Subject, conditions: Conditions) -> dict[str, Metric]:
    """The metrics, told what they ask for: the number of classes, as a resample may miss one, names and contexts."""
    bundle = subject.bundle
    return {
        name: metric_of(name, bundle.task.target, labels=bundle.labels, contexts=conditions.test.pairs or ())
        for name in conditions.metrics
    }


def quality_rows(one: Opened, conditions: Conditions) -> list[Measurement]:
    rows = []
    for name, metric in one.metrics.items():
        found = statistics.interval_of(metric.value, one.evidence[name], seed=conditions.seed)
        rows.append(
            Measurement(
                target=one.name,
                name=name,
                value=found.value,
                unit=metric.unit,
                low=found.low,
                high=found.high,
                count=len(conditions.test),
                higher_is_better=metric.higher_is_better,
                conditions=ran_on(one, conditions) | split_of(conditions),
            )
        )
    return rows


def quality_comparisons(one: Opened, baseline: Opened, conditions: Conditions) -> list[Comparison]:
    """What is lost by each metric, and how alike the two are."""
    likeness = one.subject.bundle.task.alike(baseline.predictions, one.predictions)
    alike = Comparison(
        target=one.name,
        baseline=baseline.name,
        name="agreement",
        unit="ratio",
        count=len(conditions.test),
        conditions=split_of(conditions),
        **vars(statistics.agreement(likeness, seed=conditions.seed)),
    )
    return [*(_quality_drop(name, one, baseline, conditions) for name in one.metrics), alike]


def _predictions(one: Opened, test: Split) -> np.ndarray:
    """What the task predicts for every example, in the order of the split."""
    task = one.subject.bundle.task
    parts, order, bad = [], [], 0
    for batch in batches_of(one.subject.bundle, test):
        scores = one.session.outputs(batch.inputs)
        unfit = ~np.isfinite(scores).all(axis=tuple(range(1, scores.ndim)))
        bad += len(np.unique(batch.example[unfit]))
        if not bad:  # a task need not cope with such scores, and what it makes of them may look sound
            parts.append(task.predict(scores, batch))
            order.append(batch.index)
    if bad:
        raise DataError(f"{one.name}: {bad} of {len(test)} {test.name} examples give scores that are not finite")
    return in_order(parts, order)


def batches_of(bundle: Bundle, split: Split) -> Iterator[Batch]:
    encoded = bundle.task.encode(split, bundle.processor, max_tokens=bundle.max_tokens, seed=_SEED)
    return batches(encoded, BATCH)


def _quality_drop(name: str, one: Opened, baseline: Opened, conditions: Conditions) -> Comparison:
    metric = one.metrics[name]
    before, after = baseline.evidence[name], one.evidence[name]
    drop = statistics.paired_drop(
        metric.value,
        before,
        after,
        higher_is_better=metric.higher_is_better,
        relative=metric.relative_drop,
        seed=conditions.seed,
    )
    if statistics.right_or_wrong(before) and statistics.right_or_wrong(after):
        # The exact test beats the bootstrap's p-value: only how many are right can enter any figure of such evidence.
        drop = replace(drop, p_value=statistics.mcnemar(before[:, 0], after[:, 0]))
    if drop.p_value >= SIGNIFICANT:  # interval and test have to agree before anything is called a difference
        drop = replace(drop, verdict="tie")
    return Comparison(
        target=one.name,
        baseline=baseline.name,
        name="quality_drop",
        unit="relative" if metric.relative_drop else metric.unit,
        count=len(conditions.test),
        conditions=split_of(conditions) | {"metric": name},
        **vars(drop),
    )
