"""Quality, example by example: what each target predicts, how good that is, and how much worse than a baseline's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from compress.batching import Batch, batches, in_order
from compress.data import Split
from compress.errors import DataError
from compress.metric import Metric, evidence_of, metric_of
from evaluation.measurement import NOT_FINITE, Comparison, Measurement, Skipped
from evaluation.sitting import Conditions, Opened, Progress, Subject, ran_on, split_of
from evaluation.statistics.intervals import Drop, agreement, interval_of, logit_error, paired_drop
from evaluation.statistics.significance import holm

if TYPE_CHECKING:
    from compress.bundle import Bundle

BATCH = 32
"""Examples at a time when quality is measured; the same for all, as int8 activations are scaled batch by batch."""

SIGNIFICANT = 0.05
"""The p-value below which a difference may be called one."""

_SCORED = ("class", "classes", "number")
"""Targets of tasks that give each example scores, which can be compared as numbers."""

_SEED = 0  # of what a task draws at random, such as the tokens that it masks: the same for every target and run


def judged(opened: Sequence[Opened], conditions: Conditions, progress: Progress) -> tuple[list[Opened], list[Skipped]]:
    """The targets with what each predicts; and those, baselines and variants, whose outputs are not finite.

    A stage or a result with such outputs stays, with their number instead of a quality: it is what the run made.

    Raises:
        DataError: the outputs of all targets are not finite.
    """
    judged, unfit = list[Opened](), list[Skipped]()
    for index, one in enumerate(opened):
        progress("quality", index / len(opened), one.name)
        one.predictions, one.not_finite = _predictions(one, conditions.test)
        if one.not_finite and one.subject.target.kind in ("baseline", "variant"):
            unfit.append(Skipped(target=one.name, reason=_unfit(one, conditions.test)))
            continue
        if not one.not_finite:
            task, truth = one.subject.bundle.task, conditions.test.labels
            one.evidence = {name: evidence_of(m, task, truth, one.predictions) for name, m in one.metrics.items()}
        judged.append(one)
    if opened and not judged:
        raise DataError("; ".join(f"{each.target}: {each.reason}" for each in unfit))
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
    """Each metric's figure; of a target whose outputs are not finite, how many these are and nothing else."""
    if one.not_finite:
        return [_not_finite(one, conditions)]
    rows = []
    for name, metric in one.metrics.items():
        found = interval_of(
            metric.value, one.evidence[name], seed=conditions.seed, overstates=metric.overstates, ends=metric.ends
        )
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
    """What is lost by each metric, and how alike the two are, in decisions and in scores; nothing where outputs are not
    finite, or the two were asked different things."""
    task = one.subject.bundle.task
    if one.not_finite or baseline.not_finite or not task.comparable(baseline.predictions, one.predictions):
        return []
    likeness = task.alike(baseline.predictions, one.predictions)
    alike = Comparison(
        target=one.name,
        baseline=baseline.name,
        name="agreement",
        unit="ratio",
        count=len(conditions.test),
        conditions=split_of(conditions),
        **vars(agreement(likeness, seed=conditions.seed)),
    )
    drops = [_quality_drop(name, one, baseline, conditions) for name in one.metrics]
    return [*drops, alike, *_logit_error(one, baseline, conditions)]


def corrected(rows: Sequence[Comparison], baselines: Sequence[str] | None = None) -> list[Comparison]:
    """The comparisons with the p-values of quality drops adjusted, and verdicts by the adjusted ones.

    A family is all comparisons by one metric, whatever the baseline: whoever looks through them for a difference makes
    so many tests, and which of a pair is called the baseline changes nothing. A run's steps, each compared with the
    step before it, answer another question and are a family of their own. Interval and test have to agree before
    anything is called a difference.

    Args:
        rows: what one sitting found, or one set of runs.
        baselines: a comparison with any other is one of steps; None where there are no steps.
    """
    families: dict[tuple[str, bool], list[int]] = {}
    for place, row in enumerate(rows):
        if row.name == "quality_drop" and row.p_value is not None:
            of_steps = baselines is not None and row.baseline not in baselines
            families.setdefault((row.conditions["metric"], of_steps), []).append(place)
    found = list(rows)
    for places in families.values():
        adjusted = holm([p for place in places if (p := rows[place].p_value) is not None])
        for place, p_value in zip(places, adjusted, strict=True):
            change = {"adjusted_p_value": p_value} | ({"verdict": "tie"} if p_value >= SIGNIFICANT else {})
            found[place] = rows[place].model_copy(update=change)
    return found


def drop_of(
    metric: Metric,
    before: np.ndarray,
    after: np.ndarray,
    *,
    seed: int,
    margin: float | None = None,
    resamples: int = 2000,
) -> Drop:
    """What is lost by a metric, from both sides' evidence.

    Raises:
        DataError: as `paired_drop`.
    """
    return paired_drop(
        metric.value,
        before,
        after,
        higher_is_better=metric.higher_is_better,
        relative=metric.relative_drop,
        overstates=metric.overstates,
        ends=metric.ends,
        margin=margin,
        seed=seed,
        resamples=resamples,
    )


def kept_evidence(one: Opened) -> dict[str, np.ndarray]:
    """What metrics that need the texts know of each example; all others can be had from predictions and labels."""
    return {name: one.evidence[name] for name in one.evidence if hasattr(one.metrics[name], "texts")}


def batches_of(bundle: Bundle, split: Split) -> Iterator[Batch]:
    encoded = bundle.task.encode(split, bundle.processor, max_tokens=bundle.max_tokens, seed=_SEED)
    return batches(encoded, BATCH)


def _predictions(one: Opened, test: Split) -> tuple[np.ndarray, int]:
    """What the task predicts for every example, in the order of the split, and 0; or none, and the number of examples
    whose outputs are not finite."""
    task = one.subject.bundle.task
    parts, order, bad = [], [], set[int]()
    for batch in batches_of(one.subject.bundle, test):
        scores = one.session.outputs(batch.inputs)
        unfit = ~np.isfinite(scores).all(axis=tuple(range(1, scores.ndim)))
        bad.update(batch.index[batch.example[unfit]].tolist())
        if not bad:  # a task need not cope with such scores, and what it makes of them may look sound
            parts.append(task.predict(scores, batch))
            order.append(batch.index)
    return (np.empty(0), len(bad)) if bad else (in_order(parts, order), 0)


def _unfit(one: Opened, test: Split) -> str:
    return f"{one.not_finite} of {len(test)} {test.name} examples give scores that are not finite"


def _not_finite(one: Opened, conditions: Conditions) -> Measurement:
    return Measurement(
        target=one.name,
        name=NOT_FINITE,
        value=one.not_finite,
        unit="examples",
        count=len(conditions.test),
        higher_is_better=False,
        conditions=ran_on(one, conditions) | split_of(conditions),
    )


def _logit_error(one: Opened, baseline: Opened, conditions: Conditions) -> Iterator[Comparison]:
    """How far the scores lie from the baseline's, where a task gives each example some."""
    if one.subject.bundle.task.target not in _SCORED:
        return
    found = logit_error(baseline.predictions, one.predictions, seed=conditions.seed)
    if found is not None:
        yield Comparison(
            target=one.name,
            baseline=baseline.name,
            name="logit_error",
            unit="ratio",
            count=len(conditions.test),
            conditions=split_of(conditions),
            **vars(found),
        )


def _quality_drop(name: str, one: Opened, baseline: Opened, conditions: Conditions) -> Comparison:
    metric, margin = one.metrics[name], conditions.margins.get(name)
    return Comparison(
        target=one.name,
        baseline=baseline.name,
        name="quality_drop",
        unit="relative" if metric.relative_drop else metric.unit,
        count=len(conditions.test),
        conditions=split_of(conditions) | {"metric": name},
        **vars(drop_of(metric, baseline.evidence[name], one.evidence[name], seed=conditions.seed, margin=margin)),
    )
