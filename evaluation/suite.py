"""Measure targets side by side: from opened models to the figures of a `Run`.

Every target sees the same examples in the same batches, and the same inputs in interleaved blocks, so each figure can
be compared with every other, pair by pair.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from compress import catalog
from compress.data import Split, batches, encode, fixed_batch
from compress.deploy import Deploy, Shape, check_shapes
from compress.errors import CompressError, DataError
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
    """The task's raw scores of each target, (examples, ...) in the order of the split."""


@dataclass
class _Open:
    """A subject that is open for running."""

    subject: Subject
    session: Session
    scores: np.ndarray = field(default_factory=lambda: np.empty(0))
    times: dict[Shape, list[np.ndarray]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.subject.target.name

    @property
    def decisions(self) -> np.ndarray:
        return self.subject.bundle.task.decide(self.scores)


def measure(
    subjects: Sequence[Subject], conditions: Conditions, *, baselines: Sequence[str], progress: Progress
) -> Sitting:
    """Quality, size and speed of every subject that can run here, and each one against each baseline before it.

    Raises:
        DataError: the test split has no labels, or a model's scores are not finite.
    """
    if conditions.test.labels is None:
        raise DataError("test: no labels to measure quality against; give its table a `label`")
    for subject in subjects:
        check_shapes(conditions.deploy.shapes, subject.bundle.max_tokens)
    with ExitStack() as closing:
        opened, skipped = _open_all(subjects, conditions, closing)
        for index, one in enumerate(opened):
            progress("quality", index / len(opened), one.name)
            one.scores = _scores(one, conditions.test)
        progress("quality", 1.0, "done")
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
    predictions = {one.name: one.scores for one in opened}
    targets = tuple(one.subject.target for one in opened)
    return Sitting(targets, tuple(skipped), tuple(measurements), tuple(comparisons), predictions)


def _open_all(
    subjects: Sequence[Subject], conditions: Conditions, closing: ExitStack
) -> tuple[list[_Open], list[Skipped]]:
    opened: list[_Open] = []
    skipped: list[Skipped] = []
    for subject in subjects:
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
        opened.append(_Open(subject, session))
    return opened, skipped


def _tried(opening: Callable[[], Session], subject: Subject, test: Split) -> tuple[Session | None, str]:
    """The open session; or None and why, for a baseline that turns out not to run here once it is called.

    A compiler that is missing a header shows only then. A result or a stage that does not run is no such matter.
    """
    if subject.target.kind != "baseline":
        return opening(), ""
    bundle = subject.bundle
    inputs = next(batches(encode(test.take(2), bundle.processor, max_tokens=bundle.max_tokens), 2)).inputs
    with ExitStack() as closing:
        try:
            session = opening()
            closing.callback(session.close)
            session.outputs(inputs)
        except CompressError:  # a damaged file, not a runtime that is missing something
            raise
        except Exception as fault:  # whatever a compiler or a runtime may raise; the target is named, with the reason
            return None, f"{type(fault).__name__}: {str(fault).strip().splitlines()[0] if str(fault).strip() else ''}"
        closing.pop_all()
    return session, ""


def _scores(one: _Open, test: Split) -> np.ndarray:
    """The model's scores on every example, in the order of the split."""
    bundle = one.subject.bundle
    encoded = encode(test, bundle.processor, max_tokens=bundle.max_tokens)
    parts, order = [], []
    for batch in batches(encoded, BATCH):
        parts.append(one.session.outputs(batch.inputs))
        order.append(batch.index)
    scores = np.concatenate(parts)[np.argsort(np.concatenate(order))]
    bad = int((~np.isfinite(scores)).any(axis=tuple(range(1, scores.ndim))).sum())
    if bad:
        raise DataError(f"{one.name}: {bad} of {len(scores)} test examples give scores that are not finite")
    return scores


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
        inputs = fixed_batch(one.subject.bundle.processor, conditions.test.texts, shape.batch, shape.tokens)
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
    truth = conditions.test.labels
    assert truth is not None, "checked before anything ran"
    for name in conditions.metrics:
        metric = _metric(name, one)
        found = statistics.interval_of(metric.value, truth, one.decisions, seed=conditions.seed)
        rows.append(
            Measurement(
                target=one.name,
                name=name,
                value=found.value,
                unit=metric.unit,
                low=found.low,
                high=found.high,
                count=len(truth),
                higher_is_better=metric.higher_is_better,
                conditions=_ran_on(one, conditions) | _split_of(conditions),
            )
        )
    return rows


def _metric(name: str, one: _Open) -> Any:
    """The metric, told how many classes there are where it asks: a resample may miss one."""
    chosen = catalog.load("metrics", name)
    asks = "classes" in chosen.model_fields
    return chosen(classes=len(one.subject.bundle.labels)) if asks else chosen()


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
    truth = conditions.test.labels
    assert truth is not None, "checked before anything ran"
    pair = {"target": one.name, "baseline": baseline.name}
    rows = []
    for name in conditions.metrics:
        metric = _metric(name, one)
        sides = (baseline.decisions, one.decisions)
        drop = statistics.paired_drop(
            metric.value, truth, *sides, higher_is_better=metric.higher_is_better, seed=conditions.seed
        )
        if name == "accuracy":  # each example is right or wrong: the exact test beats the bootstrap's p-value
            drop = replace(drop, p_value=statistics.mcnemar(truth, *sides))
        if drop.p_value >= SIGNIFICANT:  # interval and test have to agree before anything is called a difference
            drop = replace(drop, verdict="tie")
        where = _split_of(conditions) | {"metric": name}
        rows.append(Comparison(**pair, name="quality_drop", count=len(truth), conditions=where, **vars(drop)))
    alike = statistics.agreement(baseline.decisions, one.decisions)
    rows.append(Comparison(**pair, name="agreement", count=len(truth), conditions=_split_of(conditions), **vars(alike)))
    ratio = baseline.session.weight_bytes / one.session.weight_bytes
    sized = statistics.verdict(ratio, ratio, no_difference=1.0, higher_is_better=True)
    rows.append(Comparison(**pair, name="compression_ratio", value=ratio, verdict=sized))
    for shape, rounds in one.times.items():
        found = statistics.ratio_of_medians(baseline.times[shape], rounds, seed=conditions.seed)
        said = statistics.verdict(found.low, found.high, no_difference=1.0, higher_is_better=True)
        where = {"batch": shape.batch, "tokens": shape.tokens, "rounds": conditions.rounds}
        rows.append(Comparison(**pair, name="speedup", verdict=said, conditions=where, **vars(found)))
    return rows


def _ran_on(one: _Open, conditions: Conditions) -> dict[str, Any]:
    return {
        "runtime": one.subject.target.runtime,
        "device": conditions.device,
        "threads": conditions.threads,
        "seed": conditions.seed,
    }


def _split_of(conditions: Conditions) -> dict[str, Any]:
    return {"split": conditions.test.name, "data": conditions.test.digest}
