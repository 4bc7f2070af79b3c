"""Several runs compared pair by pair, from what they kept: across machines, and with what can't be compared said.

Quality is compared example by example, so it is as sure as within one run. Times are from different sittings: they are
compared only where the same machine ran them in the same way, and by both runs' own intervals and noise.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from compress.errors import DataError
from evaluation.across.comparable import why_not_quality, why_not_speed
from evaluation.across.kept import Kept
from evaluation.measurement import Across, Comparison, Measurement, Obstacle, SeedGroup
from evaluation.quality.quality import corrected, drop_of
from evaluation.speed.rounds import beyond_noise
from evaluation.statistics.intervals import Interval, agreement
from evaluation.statistics.seeds import combined, combined_drop
from evaluation.statistics.significance import verdict

SEED = 13
"""Of the resamples: the same for any set of runs, so that adding one changes no other's figures."""

MANY = 8
"""More runs than these are each compared with the first alone, on fewer resamples: pairs grow as their square."""

_RESAMPLES, _RESAMPLES_OF_MANY = 2000, 500

_NOT_THE_MODEL = ("seed", "name", "report", "gates")
"""Keys of a recipe that may differ between runs whose seeds are taken together; of these, `seed` does."""


def across(runs: Sequence[Kept]) -> Across:
    """What can be said of each pair of runs, and of those that differ by seed alone.

    Of more than `MANY` runs, each is compared with the first.

    Nothing is raised for a run whose predictions are missing or damaged, or whose file contradicts itself: that is
    said, and the others are compared.
    """
    subjects = {kept.label: kept.subject for kept in runs if kept.subject is not None}
    doubted = {kept.label: found for kept in runs if (found := kept.doubts())}
    comparisons: list[Comparison] = []
    obstacles: list[Obstacle] = []
    many = len(runs) > MANY
    resamples = _RESAMPLES_OF_MANY if many else _RESAMPLES
    for first, second in ((runs[0], each) for each in runs[1:]) if many else combinations(runs, 2):
        rows = [*_compared(first, second, doubted, resamples)]
        comparisons += [row for row in rows if isinstance(row, Comparison)]
        obstacles += [row for row in rows if isinstance(row, Obstacle)]
    return Across(
        runs=[kept.label for kept in runs],
        subjects=subjects,
        comparisons=corrected(comparisons),
        obstacles=obstacles,
        seeds=[_seeds(group, resamples) for group in _by_recipe([kept for kept in runs if kept.label not in doubted])],
        doubts=doubted,
    )


def _compared(
    first: Kept, second: Kept, doubted: Mapping[str, list[str]], resamples: int
) -> Iterator[Comparison | Obstacle]:
    """All that can be said of one pair, and what can't."""
    reason = _unfit(first, second, doubted)
    if reason is not None:
        yield Obstacle(first=first.label, second=second.label, what="quality", reason=reason)
        yield Obstacle(first=first.label, second=second.label, what="speed", reason=reason)
        return
    yield from _quality(first, second, resamples)
    yield from _size(first, second)
    yield from _speed(first, second)


def _unfit(first: Kept, second: Kept, doubted: Mapping[str, list[str]]) -> str | None:
    for kept in (first, second):
        if kept.label in doubted:
            return f"the run.json of {kept.label} contradicts itself or its predictions"
        if kept.subject is None:
            return f"{kept.label} has no one result; of a sweep, name the folders of its variants"
    return None


def _quality(first: Kept, second: Kept, resamples: int) -> Iterator[Comparison | Obstacle]:
    """Drops by every metric that both have, and agreement."""

    def obstacle(reason: str) -> Obstacle:
        return Obstacle(first=first.label, second=second.label, what="quality", reason=reason)

    one, other = first.subject or "", second.subject or ""
    try:
        reason = why_not_quality(first, second)
        if reason is not None:
            yield obstacle(reason)
            return
        ours, theirs = first.measured(one), second.measured(other)
    except DataError as fault:
        yield obstacle(str(fault))
        return
    for name in ours.keys() ^ theirs.keys():
        yield obstacle(f"{name} was measured in {(first if name in ours else second).label} alone")
    for name in (name for name in ours if name in theirs):
        try:
            evidence = first.evidence(one, name), second.evidence(other, name)
            metric = first.metric(one, name)
            drop = drop_of(metric, *evidence, seed=SEED, resamples=resamples)
        except DataError as fault:
            yield obstacle(f"{name}: {fault}")
            continue
        yield Comparison(
            target=second.label,
            baseline=first.label,
            name="quality_drop",
            unit="relative" if metric.relative_drop else metric.unit,
            count=len(evidence[0]),
            conditions=_split(ours[name]) | {"metric": name, "resamples": resamples},
            **vars(drop),
        )
    try:
        yield _agreement(first, second)
    except DataError as fault:
        yield obstacle(f"agreement: {fault}")


def _agreement(first: Kept, second: Kept) -> Comparison:
    one, other = first.predictions(first.subject or ""), second.predictions(second.subject or "")
    if one.scores.shape != other.scores.shape:
        raise DataError(f"predictions of shapes {one.scores.shape} and {other.scores.shape}")
    likeness = first.task(first.subject or "").alike(one.scores, other.scores)
    return Comparison(
        target=second.label,
        baseline=first.label,
        name="agreement",
        unit="ratio",
        count=len(likeness),
        conditions={"data": one.data},
        **vars(agreement(likeness, seed=SEED)),
    )


def _split(row: Measurement) -> dict[str, Any]:
    return {key: row.conditions[key] for key in ("split", "data") if key in row.conditions}


def _size(first: Kept, second: Kept) -> Iterator[Comparison]:
    before, after = (kept.run.measured(kept.subject or "", "bytes") for kept in (first, second))
    if before is not None and after is not None and after.value:
        ratio = before.value / after.value
        yield Comparison(
            target=second.label,
            baseline=first.label,
            name="compression_ratio",
            value=ratio,
            unit="ratio",
            verdict=verdict(ratio, ratio, no_difference=1.0, higher_is_better=True),
        )


def _speed(first: Kept, second: Kept) -> Iterator[Comparison | Obstacle]:
    """The ratio of median times at every shape that both have; one obstacle, where they do not compare."""
    ours, theirs = (_times(kept) for kept in (first, second))
    shared = [shape for shape in ours if shape in theirs]
    reason = None if shared else "no shape was timed in both"
    for shape in shared:
        reason = why_not_speed(first, second, (ours[shape], theirs[shape]))
        if reason is not None:
            break
        yield _speedup(first, second, ours[shape], theirs[shape])
    if reason is not None:
        yield Obstacle(first=first.label, second=second.label, what="speed", reason=reason)


def _times(kept: Kept) -> dict[tuple[int, int], Measurement]:
    """The subject's median times at fixed shapes."""
    return {
        (row.conditions["batch"], row.conditions["tokens"]): row
        for row in kept.run.measurements
        if (row.target, row.name) == (kept.subject, "latency_p50_ms") and {"batch", "tokens"} <= row.conditions.keys()
    }


def _speedup(first: Kept, second: Kept, before: Measurement, after: Measurement) -> Comparison:
    """How much faster the second run's subject is. The times' own intervals are joined into one of their ratio, as
    squares of logarithms (Zou and Donner 2008). What both sittings' twins were off by counts as noise, and so does how
    far the machine drifted between them, which the reference shows that both timed; without one there is no verdict.
    """
    ratio = before.value / after.value
    below = math.hypot(_log(before.value, before.low), _log(after.high, after.value))
    above = math.hypot(_log(before.high, before.value), _log(after.value, after.low))
    found = Interval(ratio, ratio * math.exp(-below), ratio * math.exp(above))
    shape = {"batch": before.conditions["batch"], "tokens": before.conditions["tokens"]}
    drift = _drift(first, second, shape)
    noise = sum(_noise(kept, shape) for kept in (first, second)) + (drift or 0.0)
    return Comparison(
        target=second.label,
        baseline=first.label,
        name="speedup",
        unit="ratio",
        noise=noise,
        verdict=None if drift is None else beyond_noise(found, noise),
        conditions=shape | {"sittings": "apart", "drift": drift},
        **vars(found),
    )


def _drift(first: Kept, second: Kept, shape: dict[str, Any]) -> float | None:
    """How much slower or faster the same reference ran in the other sitting; None where they share none."""
    if first.reference in (None, first.subject) or first.reference != second.reference:
        return None
    sizes = [kept.run.measured(kept.reference or "", "parameters") for kept in (first, second)]
    times = [kept.run.measured(kept.reference or "", "latency_p50_ms", **shape) for kept in (first, second)]
    if None in sizes or None in times or sizes[0].value != sizes[1].value:  # type: ignore[union-attr]
        return None
    one, other = (time.value for time in times if time is not None)
    return max(one, other) / min(one, other) - 1 if min(one, other) > 0 else None


def _log(larger: float | None, smaller: float | None) -> float:
    return math.log(larger / smaller) if larger and smaller else 0.0


def _noise(kept: Kept, shape: dict[str, Any]) -> float:
    """How far a target's ratio to itself lay from 1 in the run's sitting; 0 where an older version did not look."""
    rows = [row for row in kept.run.measurements if row.name == "noise" and shape.items() <= row.conditions.items()]
    return max((row.value - 1 for row in rows), default=0.0)


def _by_recipe(runs: Sequence[Kept]) -> list[list[Kept]]:
    """Groups of runs that differ by seed alone: the same recipe, comparable predictions, no seed twice."""
    groups: dict[str, list[Kept]] = {}
    for kept in runs:
        recipe = {key: value for key, value in kept.run.recipe.items() if key not in _NOT_THE_MODEL}
        seed = kept.run.recipe.get("seed")
        if not recipe or not isinstance(seed, int) or kept.subject is None or kept.reference is None:
            continue
        group = groups.setdefault(json.dumps(recipe, sort_keys=True, default=str), [])
        if all(each.run.recipe["seed"] != seed and _alike(each, kept) for each in group):
            group.append(kept)
    return [group for group in groups.values() if len(group) > 1]


def _alike(first: Kept, second: Kept) -> bool:
    """Whether two runs' subjects and references can be compared pair by pair."""
    if (first.subject, first.reference) != (second.subject, second.reference):
        return False
    try:
        for kept in (first, second):
            kept.predictions(kept.reference or "")
        return why_not_quality(first, second) is None
    except DataError:
        return False


def _seeds(group: Sequence[Kept], resamples: int) -> SeedGroup:
    """Every metric's mean over the seeds, and the mean of what is lost against each seed's own reference."""
    first = group[0]
    subject, reference = first.subject or "", first.reference or ""
    measurements, comparisons = [], []
    for name, row in first.measured(subject).items():
        metric = first.metric(subject, name)
        try:
            after = [kept.evidence(subject, name) for kept in group]
            before = [kept.evidence(reference, name) for kept in group]
        except DataError:
            continue  # said of each pair
        about = _split(row) | {"seeds": len(group)}
        measurements.append(
            Measurement(
                target=subject,
                name=name,
                unit=metric.unit,
                count=len(after[0]),
                higher_is_better=metric.higher_is_better,
                conditions=about,
                **vars(
                    combined(
                        metric.value,
                        after,
                        overstates=metric.overstates,
                        ends=metric.ends,
                        seed=SEED,
                        resamples=resamples,
                    )
                ),
            )
        )
        drop = combined_drop(
            metric.value,
            before,
            after,
            higher_is_better=metric.higher_is_better,
            relative=metric.relative_drop,
            overstates=metric.overstates,
            ends=metric.ends,
            seed=SEED,
            resamples=resamples,
        )
        comparisons.append(
            Comparison(
                target=subject,
                baseline=reference,
                name="quality_drop",
                unit="relative" if metric.relative_drop else metric.unit,
                count=len(after[0]),
                conditions=about | {"metric": name},
                **vars(drop),
            )
        )
    seeds = [kept.run.recipe["seed"] for kept in group]
    return SeedGroup(
        runs=[kept.label for kept in group], seeds=seeds, measurements=measurements, comparisons=corrected(comparisons)
    )
