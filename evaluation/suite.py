"""Measure targets side by side: from opened models to the figures of a `Run`.

Every target sees the same examples in the same batches, and the same inputs in interleaved blocks, so each figure can
be compared with every other, pair by pair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.batching import Batch, batches, in_order
from compress.data import Split
from compress.deploy import Deploy, Shape, check_shapes
from compress.errors import CompressError, DataError
from compress.inputs import timing_inputs
from compress.metric import Metric, metric_of
from compress.runtime import Session, runtime_of
from compress.runtimes.timing import clock_of, time_interleaved
from evaluation import statistics
from evaluation.measurement import Comparison, Measurement, Skipped, Target

if TYPE_CHECKING:
    from compress.bundle import Bundle

Progress = Callable[[str, float, str], None]

BATCH = 32
"""Examples at a time when quality is measured; the same for all, as int8 activations are scaled batch by batch."""

SIGNIFICANT = 0.05
"""The p-value below which a difference may be called one."""

_SEED = 0  # of what a task draws at random, such as the tokens that it masks: the same for every target and run


@dataclass(frozen=True)
class Subject:
    """One target and the bundle that stands for it."""

    target: Target
    bundle: Bundle


@dataclass(frozen=True)
class Conditions:
    """What a sitting is measured on."""

    test: Split
    deploy: Deploy
    device: str
    metrics: tuple[str, ...]
    seed: int
    rounds: int = 8

    @property
    def threads(self) -> int:
        return self.deploy.thread_count


@dataclass(frozen=True)
class Sitting:
    """All that one sitting found out."""

    targets: tuple[Target, ...]
    skipped: tuple[Skipped, ...]
    measurements: tuple[Measurement, ...]
    comparisons: tuple[Comparison, ...]
    predictions: Mapping[str, np.ndarray]
    """What the task predicts with each target, (examples, ...) in the order of the split."""


@dataclass
class _Open:
    """A subject that is open for running."""

    subject: Subject
    session: Session
    metrics: Mapping[str, Metric]
    predictions: np.ndarray = field(default_factory=lambda: np.empty(0))
    evidence: dict[str, np.ndarray] = field(default_factory=dict)
    """What each metric knows of each example, (examples, columns)."""
    times: dict[Shape, list[np.ndarray]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.subject.target.name


def measure(
    subjects: Sequence[Subject], conditions: Conditions, *, baselines: Sequence[str], progress: Progress
) -> Sitting:
    """Quality, size and speed of every subject that can run here, and each one against each baseline before it.

    Raises:
        DataError: the test split lacks labels that the task has, a metric does not fit the task, or a model's outputs
            are not finite.
    """
    for subject in subjects:
        _refuse_unlabelled(subject, conditions.test)
        bundle = subject.bundle
        check_shapes(conditions.deploy.shapes, bundle.max_tokens, only=bundle.task.modality == "image")
    metrics = [_metrics(subject, conditions) for subject in subjects]
    with ExitStack() as closing:
        opened, skipped = _open_all(subjects, metrics, conditions, closing)
        opened, unfit = _judged(opened, conditions, progress)
        for index, shape in enumerate(conditions.deploy.shapes):
            _time(opened, shape, conditions, _part(progress, index, len(conditions.deploy.shapes)))
        measurements = [row for one in opened for row in _measurements(one, conditions)]
        comparisons = [
            row
            for place, baseline in enumerate(opened)
            if baseline.name in baselines
            for one in opened[place + 1 :]
            for row in _comparisons(one, baseline, conditions)
        ]
    predictions = {one.name: one.predictions for one in opened}
    targets = tuple(one.subject.target for one in opened)
    return Sitting(targets, (*skipped, *unfit), tuple(measurements), tuple(comparisons), predictions)


def _judged(opened: Sequence[_Open], conditions: Conditions, progress: Progress) -> tuple[list[_Open], list[Skipped]]:
    """The targets with what each predicts; and the variants, one of many, that can't be judged."""
    judged, unfit = list[_Open](), list[Skipped]()
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


def _refuse_unlabelled(subject: Subject, test: Split) -> None:
    if subject.bundle.task.target is not None and test.labels is None:
        raise DataError(f"{test.name}: no labels to measure quality against; give its table a `label`")


def _metrics(subject: Subject, conditions: Conditions) -> dict[str, Metric]:
    """The metrics, told what they ask for: the number of classes, as a resample may miss one, names and contexts."""
    bundle = subject.bundle
    return {
        name: metric_of(name, bundle.task.target, labels=bundle.labels, contexts=conditions.test.pairs or ())
        for name in conditions.metrics
    }


def _open_all(
    subjects: Sequence[Subject], metrics: Sequence[Mapping[str, Metric]], conditions: Conditions, closing: ExitStack
) -> tuple[list[_Open], list[Skipped]]:
    opened: list[_Open] = []
    skipped: list[Skipped] = []
    for subject, judges in zip(subjects, metrics, strict=True):
        runtime = runtime_of(subject.target.runtime)
        obstacle = runtime.obstacle(conditions.device)
        if obstacle:
            skipped.append(Skipped(target=subject.target.name, reason=obstacle))
            continue
        opening = partial(runtime.open, subject.bundle, device=conditions.device, threads=conditions.threads)
        session, obstacle = _tried(opening, subject, conditions.test)
        if session is None:
            skipped.append(Skipped(target=subject.target.name, reason=obstacle))
            continue
        closing.callback(session.close)
        opened.append(_Open(subject, session, judges))
    return opened, skipped


def _tried(opening: Callable[[], Session], subject: Subject, test: Split) -> tuple[Session | None, str]:
    """The open session; or None and why, for a baseline or a variant that turns out not to run here once it is called.

    A compiler that is missing a header shows only then. A result or a stage that does not run is no such matter.
    """
    if subject.target.kind not in ("baseline", "variant"):
        return opening(), ""
    inputs = next(_batches(subject.bundle, test.take(2))).inputs
    with ExitStack() as closing:
        try:
            session = opening()
            closing.callback(session.close)
            session.outputs(inputs)
        except CompressError as fault:  # a damaged file, not a runtime that is missing something
            if subject.target.kind == "baseline":
                raise
            return None, str(fault)
        except Exception as fault:  # whatever a compiler or a runtime may raise; the target is named, with the reason
            return None, f"{type(fault).__name__}: {str(fault).strip().splitlines()[0] if str(fault).strip() else ''}"
        closing.pop_all()
    return session, ""


def _predictions(one: _Open, test: Split) -> np.ndarray:
    """What the task predicts for every example, in the order of the split."""
    task = one.subject.bundle.task
    parts, order, bad = [], [], 0
    for batch in _batches(one.subject.bundle, test):
        scores = one.session.outputs(batch.inputs)
        unfit = ~np.isfinite(scores).all(axis=tuple(range(1, scores.ndim)))
        bad += len(np.unique(batch.example[unfit]))
        if not bad:  # a task need not cope with such scores, and what it makes of them may look sound
            parts.append(task.predict(scores, batch))
            order.append(batch.index)
    if bad:
        raise DataError(f"{one.name}: {bad} of {len(test)} {test.name} examples give scores that are not finite")
    return in_order(parts, order)


def _batches(bundle: Bundle, split: Split) -> Iterator[Batch]:
    encoded = bundle.task.encode(split, bundle.processor, max_tokens=bundle.max_tokens, seed=_SEED)
    return batches(encoded, BATCH)


def _part(progress: Progress, index: int, count: int) -> Callable[[float, str], None]:
    """Progress within piece `index` of `count` equal pieces of the timing."""

    def tell(fraction: float, message: str) -> None:
        progress("latency", (index + fraction) / count, message)

    return tell


def _time(
    opened: Sequence[_Open], shape: Shape, conditions: Conditions, progress: Callable[[float, str], None]
) -> None:
    """Time all subjects at one shape, in interleaved blocks."""
    calls = {}
    for one in opened:
        inputs = timing_inputs(one.subject.bundle, conditions.test, shape)
        calls[one.name] = one.session.bind(inputs)
    times = time_interleaved(
        calls,
        seed=conditions.seed,
        rounds=conditions.rounds,
        clock=clock_of(conditions.device),
        progress=lambda part, text: progress(part, f"{shape}, {text}"),
    )
    for one in opened:
        one.times[shape] = times[one.name]


def _measurements(one: _Open, conditions: Conditions) -> list[Measurement]:
    return [*_quality(one, conditions), *_size(one, conditions), *_speed(one, conditions)]


def _quality(one: _Open, conditions: Conditions) -> list[Measurement]:
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
                conditions=_ran_on(one, conditions) | _split_of(conditions),
            )
        )
    return rows


def _size(one: _Open, conditions: Conditions) -> list[Measurement]:
    anatomy = one.subject.bundle.anatomy

    def counted(name: str, value: float, unit: str, **where: Any) -> Measurement:
        return Measurement(target=one.name, name=name, value=value, unit=unit, higher_is_better=False, conditions=where)

    return [
        counted("parameters", anatomy.parameters, "parameters"),
        counted("encoder_parameters", anatomy.encoder_parameters, "parameters"),
        counted("bytes", one.session.weight_bytes, "bytes"),
        *(
            counted("flops", anatomy.flops(s.batch, s.tokens), "FLOPs", batch=s.batch, tokens=s.tokens)
            for s in conditions.deploy.shapes
        ),
    ]


def _speed(one: _Open, conditions: Conditions) -> list[Measurement]:
    rows = []
    for shape, rounds in one.times.items():
        for name, percentile in (("latency_p50_ms", 50), ("latency_p95_ms", 95)):
            found = statistics.percentile_interval(rounds, percentile, seed=conditions.seed)
            rows.append(
                Measurement(
                    target=one.name,
                    name=name,
                    value=found.value,
                    unit="ms",
                    low=found.low,
                    high=found.high,
                    count=sum(len(block) for block in rounds),
                    higher_is_better=False,
                    conditions=_ran_on(one, conditions) | {"batch": shape.batch, "tokens": shape.tokens},
                )
            )
    return rows


def _comparisons(one: _Open, baseline: _Open, conditions: Conditions) -> list[Comparison]:
    pair = {"target": one.name, "baseline": baseline.name}
    rows = [_quality_drop(name, one, baseline, conditions) for name in one.metrics]
    likeness = one.subject.bundle.task.alike(baseline.predictions, one.predictions)
    alike = statistics.agreement(likeness, seed=conditions.seed)
    counted = {"unit": "ratio", "count": len(conditions.test), "conditions": _split_of(conditions)}
    rows.append(Comparison(**pair, name="agreement", **counted, **vars(alike)))
    ratio = baseline.session.weight_bytes / one.session.weight_bytes
    sized = statistics.verdict(ratio, ratio, no_difference=1.0, higher_is_better=True)
    rows.append(Comparison(**pair, name="compression_ratio", value=ratio, unit="ratio", verdict=sized))
    for shape, rounds in one.times.items():
        found = statistics.ratio_of_medians(baseline.times[shape], rounds, seed=conditions.seed)
        said = statistics.verdict(found.low, found.high, no_difference=1.0, higher_is_better=True)
        where = {"batch": shape.batch, "tokens": shape.tokens, "rounds": conditions.rounds}
        rows.append(Comparison(**pair, name="speedup", unit="ratio", verdict=said, conditions=where, **vars(found)))
    return rows


def _quality_drop(name: str, one: _Open, baseline: _Open, conditions: Conditions) -> Comparison:
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
        conditions=_split_of(conditions) | {"metric": name},
        **vars(drop),
    )


def _ran_on(one: _Open, conditions: Conditions) -> dict[str, Any]:
    return {
        "runtime": one.subject.target.runtime,
        "device": conditions.device,
        "threads": conditions.threads,
        "seed": conditions.seed,
    }


def _split_of(conditions: Conditions) -> dict[str, Any]:
    return {"split": conditions.test.name, "data": conditions.test.digest}
