"""Measure targets side by side: from opened models to the figures of a `Run`.

Every target sees the same examples in the same batches, and the same inputs in interleaved blocks, so each figure can
be compared with every other, pair by pair.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import pairwise

from compress.data import Split
from compress.deploy import check_shapes
from compress.errors import CompressError
from compress.metric import Metric
from compress.runtime import Session, runtime_of
from evaluation.measurement import Comparison, Measurement, Skipped
from evaluation.quality.broke import what_broke
from evaluation.quality.quality import (
    batches_of,
    corrected,
    judged,
    kept_evidence,
    metrics_of,
    quality_comparisons,
    quality_rows,
    refuse_unlabelled,
)
from evaluation.quality.reading import reading_rows
from evaluation.sitting import Conditions, Opened, Progress, Sitting, Subject
from evaluation.size.cost import cost_rows
from evaluation.size.parts import part_rows
from evaluation.size.size import size_comparison, size_rows
from evaluation.speed.footprint import footprints
from evaluation.speed.speed import speed_comparisons, speed_rows, time_all


def measure(
    subjects: Sequence[Subject], conditions: Conditions, *, baselines: Sequence[str], progress: Progress
) -> Sitting:
    """Quality, size and speed of every subject that can run here, and each one against each baseline before it.

    Raises:
        DataError: the test split lacks labels that the task has, a metric does not fit the task, or no target's outputs
            are finite.
        ModelError: no target can be opened, and a file of one is to blame.
    """
    started = time.monotonic()
    for subject in subjects:
        refuse_unlabelled(subject, conditions.test)
        bundle = subject.bundle
        check_shapes(conditions.deploy.shapes, bundle.max_tokens, only=bundle.task.modality == "image")
    metrics = [metrics_of(subject, conditions) for subject in subjects]
    with ExitStack() as closing:
        opened, skipped = _open_all(subjects, metrics, conditions, closing)
        opened, unfit = judged(opened, conditions, progress)
        time_all(opened, conditions, progress)
        measurements = [row for one in opened for row in _measurements(one, conditions)]
        if conditions.footprint:
            taken, unknown = footprints(opened, conditions, progress)
            measurements += taken
            unfit += unknown
        comparisons = [
            row for one, baseline in _pairs(opened, baselines) for row in _comparisons(one, baseline, conditions)
        ]
        names = [one.name for one in opened]
        broken = what_broke(opened, conditions, reference=next((name for name in baselines if name in names), None))
        parts = [row for one in opened for row in part_rows(one.name, one.subject.bundle.anatomy)]
        tables = {**broken, "parts": parts}
        if reading := reading_rows(opened, conditions.test):
            tables["reading"] = reading
    predictions = {one.name: one.predictions for one in opened}
    targets = tuple(one.subject.target for one in opened)
    return Sitting(
        targets,
        (*skipped, *unfit),
        tuple(measurements),
        tuple(corrected(comparisons, baselines)),
        predictions,
        {one.name: kept_evidence(one) for one in opened},
        tables,
        time.monotonic() - started,
    )


def _pairs(opened: Sequence[Opened], baselines: Sequence[str]) -> list[tuple[Opened, Opened]]:
    """Each target with every baseline before it, and each step with the step before it, which tells what it did."""
    pairs = [
        (one, baseline)
        for place, baseline in enumerate(opened)
        if baseline.name in baselines
        for one in opened[place + 1 :]
    ]
    steps = [one for one in opened if one.subject.target.kind in ("stage", "result")]
    return pairs + [(one, before) for before, one in pairwise(steps) if before.name not in baselines]


def _open_all(
    subjects: Sequence[Subject], metrics: Sequence[Mapping[str, Metric]], conditions: Conditions, closing: ExitStack
) -> tuple[list[Opened], list[Skipped]]:
    opened: list[Opened] = []
    skipped: list[Skipped] = []
    faults: list[CompressError] = []
    for subject, judges in zip(subjects, metrics, strict=True):
        runtime = runtime_of(subject.target.runtime)
        obstacle = runtime.obstacle(conditions.device)
        if obstacle:
            skipped.append(Skipped(target=subject.target.name, reason=obstacle))
            continue
        opening = partial(runtime.open, subject.bundle, device=conditions.device, threads=conditions.threads)
        session, obstacle = _tried(opening, subject, conditions.test, faults)
        if session is None:
            skipped.append(Skipped(target=subject.target.name, reason=obstacle))
            continue
        closing.callback(session.close)
        opened.append(Opened(subject, session, judges, opening))
    if faults and not opened:
        raise faults[0]
    return opened, skipped


def _tried(
    opening: Callable[[], Session], subject: Subject, test: Split, faults: list[CompressError]
) -> tuple[Session | None, str]:
    """The open session; or None and why, for a baseline or a variant that turns out not to run here once it is called.

    A compiler that is missing a header shows only then. A result or a stage that does not run is no such matter.
    """
    if subject.target.kind not in ("baseline", "variant"):
        return opening(), ""
    inputs = next(batches_of(subject.bundle, test.take(2))).inputs
    with ExitStack() as closing:
        try:
            session = opening()
            closing.callback(session.close)
            session.outputs(inputs)
        except CompressError as fault:  # a damaged file, or one that this runtime can't read
            faults.append(fault)
            return None, str(fault)
        except Exception as fault:  # whatever a compiler or a runtime may raise; the target is named, with the reason
            return None, f"{type(fault).__name__}: {str(fault).strip().splitlines()[0] if str(fault).strip() else ''}"
        closing.pop_all()
    return session, ""


def _measurements(one: Opened, conditions: Conditions) -> list[Measurement]:
    speed = speed_rows(one, conditions)
    return [
        *quality_rows(one, conditions),
        *size_rows(one, conditions),
        *speed,
        *cost_rows(speed, conditions.price),
    ]


def _comparisons(one: Opened, baseline: Opened, conditions: Conditions) -> list[Comparison]:
    return [
        *quality_comparisons(one, baseline, conditions),
        size_comparison(one, baseline),
        *speed_comparisons(one, baseline, conditions),
    ]
