"""Parts of the test split, by label, by length and by any column: where a target got worse than the reference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from compress.data import Split
from compress.errors import DataError
from compress.metric import Metric, evidence_of, metric_of
from evaluation.quality.quality import drop_of
from evaluation.quality.recall import recalls
from evaluation.sitting import Conditions, Opened
from evaluation.statistics.significance import holm

FEWEST = 20
"""Examples that a slice must have to be judged; of fewer, only the figures are given."""

RESAMPLES = 500
"""Fewer than a whole split's: a slice's interval is wide anyway, and a sweep has very many."""

MOST_VALUES = 20
"""Values of one column that are looked at, the most frequent first."""

Part = tuple[str, str, np.ndarray]
"""What is sliced by, the value, and the positions of its examples."""


@dataclass(frozen=True)
class _Slice:
    """What both models' decisions on some examples are judged by, and what the metric knows of them."""

    what: str
    value: str
    metric_name: str
    metric: Metric
    before: np.ndarray
    after: np.ndarray


def sliced(others: Sequence[Opened], reference: Opened, conditions: Conditions) -> list[dict[str, Any]]:
    """A row for every slice of every target: what it loses against the reference, a target's worst first; those too
    small to judge come last.

    Slices are judged by the first metric that was asked for; of one class an example by accuracy, as other figures mean
    little where all examples have one class. Where an example may hold several labels, tags or entities, each of them
    is a slice of the examples that hold it, judged by its recall. P-values are adjusted by Holm's method over all
    slices of all targets: they stand in one table, which is looked through for any that got worse.
    """
    rows = [row for one in others for row in _of_one(one, reference, conditions)]
    judged = [row for row in rows if row["p_value"] is not None]
    for row, p_value in zip(judged, holm([row["p_value"] for row in judged]), strict=True):
        row["adjusted_p_value"] = p_value
    return rows


def _of_one(one: Opened, reference: Opened, conditions: Conditions) -> list[dict[str, Any]]:
    who = {"target": one.name, "baseline": reference.name}
    rows = []
    for part in (*_of_classes(one, reference, conditions), *_of_parts(one, reference, conditions)):
        figures = _compared(part.metric, part.before, part.after, conditions.seed) if len(part.before) else None
        if figures is not None:
            unit = "relative" if part.metric.relative_drop else part.metric.unit
            about = {"metric": part.metric_name, "unit": unit, "slice": part.what, "value": part.value}
            rows.append({**who, **about, **figures})
    return sorted(rows, key=lambda row: (row["p_value"] is None, -row["drop"]))


def _of_classes(one: Opened, reference: Opened, conditions: Conditions) -> Iterator[_Slice]:
    task, truth, names = one.subject.bundle.task, conditions.test.labels, one.subject.bundle.labels
    if truth is None:
        return
    before, after = (recalls(task.target, truth, task.decide(each.predictions), names) for each in (reference, one))
    share = metric_of("accuracy", "tags")  # of what is found in all that is true, as of right words in all words
    for (what, name, first), (_, _, second) in zip(before, after, strict=True):
        yield _Slice(what, name, "recall", share, first, second)


def _of_parts(one: Opened, reference: Opened, conditions: Conditions) -> Iterator[_Slice]:
    name, metric = _metric(one, conditions)
    task, truth = one.subject.bundle.task, conditions.test.labels
    before, after = (evidence_of(metric, task, truth, each.predictions) for each in (reference, one))
    labels, quote = one.subject.bundle.labels, conditions.quote
    for what, value, places in _parts(conditions.test, task.target, labels, quote=quote):
        yield _Slice(what, value, name, metric, before[places], after[places])


def _metric(one: Opened, conditions: Conditions) -> tuple[str, Metric]:
    task, labels = one.subject.bundle.task, one.subject.bundle.labels
    if task.target == "class":
        return "accuracy", metric_of("accuracy", task.target, labels=labels)
    name = conditions.metrics[0]
    return name, one.metrics[name]


def _compared(metric: Metric, before: np.ndarray, after: np.ndarray, seed: int) -> dict[str, Any] | None:
    """One slice's figures, with an interval where there are enough examples; None where the metric has no value."""
    first, second = float(metric.value(before)), float(metric.value(after))
    if not np.isfinite([first, second]).all():
        return None
    lost = (first - second if metric.higher_is_better else second - first) / (first if metric.relative_drop else 1)
    row: dict[str, Any] = {"count": len(before), "before": first, "after": second, "drop": lost}
    row |= {"low": None, "high": None, "p_value": None, "adjusted_p_value": None}
    if len(before) < FEWEST:
        return row
    try:
        drop = drop_of(metric, before, after, seed=seed, resamples=RESAMPLES)
    except DataError:  # some resample of the slice has no value: it is too small in what the metric counts
        return row
    return row | {"low": drop.low, "high": drop.high, "p_value": drop.p_value}


def _parts(test: Split, target: str | None, names: Sequence[str], *, quote: bool) -> Iterator[Part]:
    if test.labels is not None and target == "class":
        for index, name in enumerate(names):
            yield "label", name, np.flatnonzero(test.labels == index)
    if test.labels is not None and target == "span":
        yield from _by_answer(test.labels)
    if test.pictures is None:
        pairs = test.pairs or ("",) * len(test)
        characters = np.array([len(text) + len(pair) for text, pair in zip(test.texts, pairs, strict=True)])
        yield from _quarters("length", characters, " characters")
    for column, values in test.slices.items():
        numbers = _numbers(values)
        if numbers is not None and len(np.unique(numbers)) > MOST_VALUES:
            yield from _quarters(column, numbers, "")
            continue
        for value, count in Counter(values).most_common(MOST_VALUES):
            if not quote and count < FEWEST:  # it may be a name, or a text of its own
                continue
            yield column, value, np.flatnonzero([each == value for each in values])


def _by_answer(truth: np.ndarray) -> Iterator[Part]:
    """Questions that have an answer and those that have none, where there are both: a model may lose either alone."""
    answered = (truth[..., 0] >= 0).any(axis=1)
    if answered.any() and not answered.all():
        yield "answer", "some answer", np.flatnonzero(answered)
        yield "answer", "no answer", np.flatnonzero(~answered)


def _quarters(what: str, numbers: np.ndarray, unit: str) -> Iterator[Part]:
    """Four slices of about as many examples each; fewer where many numbers are the same."""
    edges = np.unique(np.quantile(numbers, [0.25, 0.5, 0.75]))
    bucket = np.searchsorted(edges, numbers, side="left")  # an edge belongs to the slice below it
    for index in np.unique(bucket):
        places = np.flatnonzero(bucket == index)
        low, high = numbers[places].min(), numbers[places].max()
        yield what, f"{low:g}{unit}" if low == high else f"{low:g} to {high:g}{unit}", places


def _numbers(values: Sequence[str]) -> np.ndarray | None:
    """The values as numbers, where all of them are finite ones."""
    try:
        numbers = np.array([float(value) for value in values])
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() else None
