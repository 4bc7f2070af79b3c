"""Curves over seeds: what each way to prune keeps and loses, and the best of them tested against all others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.pruning.sweep import Method, Sweep, Variant
from compress.errors import DataError
from evaluation.measurement import Comparison, Measurement
from evaluation.metrics.accuracy import Accuracy
from evaluation.statistics.intervals import Drop
from evaluation.statistics.seeds import averaged_drop, combined, combined_drop
from evaluation.statistics.significance import holm

FRACTIONS = (0.75, 0.6, 0.5, 0.4)
BEST = Method("fisher", "least_squares")
KWON = Method("fisher", "scales", interactions=False)
METHODS = (
    BEST,
    Method("fisher", "none"),
    Method("fisher", "scales"),
    KWON,
    *(Method(criterion, repair) for criterion in ("taylor", "magnitude", "random") for repair in (BEST.repair, "none")),
)
UNCUT = "uncut"
OF_ONE_RUN = ("seconds", "seconds_measuring", "peak_memory_bytes", "stages_reused", "energy", "command")
"""What a run tells of itself that is not true of several taken together."""
SIGNIFICANT = 0.05

Points = Mapping[tuple[Method, float], Sequence[Variant]]
"""By method and fraction asked for: one variant a seed."""


def name_of(method: Method) -> str:
    """What a reader calls it."""
    if method == KWON:
        return "Kwon et al. 2022"
    return method.criterion + {"none": "", BEST.repair: " + least squares"}.get(method.repair, f" + {method.repair}")


def joined(sweeps: Sequence[Sweep]) -> Points:
    """Variants by method and fraction, one a seed in the order of the seeds."""
    first = sweeps[0]
    for sweep in sweeps:
        source = sweep.run.tables.get("source", {}).get("digest")
        same = (sweep.data, source) == (first.data, first.run.tables.get("source", {}).get("digest"))
        if not same or not np.array_equal(sweep.examples, first.examples):
            raise DataError(f"{sweep.name}: another model or other test data than {first.name}; wanted the same")
    by_seed = sorted(sweeps, key=lambda sweep: sweep.seed)
    count = len({sweep.seed for sweep in sweeps})
    points = {
        (method, asked): [
            variant
            for sweep in by_seed
            for variant in sweep.variants
            if (variant.method, variant.asked) == (method, asked)
        ]
        for method in METHODS
        for asked in FRACTIONS
    }
    for (method, asked), variants in points.items():
        if len(variants) != count:
            told = f"{name_of(method)} at {asked}: {len(variants)} variants of {count} seeds"
            raise DataError(f"{told}; wanted one of each, is a sweep of other settings in the folder?")
    return points


def curve(points: Points, shared: Mapping[str, Any]) -> list[Measurement]:
    """One accuracy for each method and fraction; it stands where the FLOPs are that were reached."""
    return [
        accuracy(name_of(method), [v.right for v in variants], {**_at(asked, variants), **shared})
        for (method, asked), variants in points.items()
    ]


def accuracy(target: str, evidence: Sequence[np.ndarray], conditions: Mapping[str, Any]) -> Measurement:
    return Measurement(
        target=target,
        name="accuracy",
        unit="ratio",
        count=len(evidence[0]),
        higher_is_better=True,
        conditions=dict(conditions),
        **vars(combined(Accuracy().value, evidence, seed=0)),
    )


def _at(asked: float, variants: Sequence[Variant]) -> dict[str, float]:
    return {"flops_asked": asked, "flops_left": float(np.mean([variant.left for variant in variants]))}


def losses(points: Points, uncut: Sequence[np.ndarray], shared: Mapping[str, Any]) -> list[Comparison]:
    """What every method loses against the model before any cut, pair by pair, as other seeds would show it."""
    found = []
    for (method, asked), variants in points.items():
        drop = combined_drop(
            Accuracy().value, uncut, [variant.right for variant in variants], higher_is_better=True, seed=0
        )
        found.append(lost(name_of(method), UNCUT, drop, {**_at(asked, variants), **shared}, len(uncut[0])))
    return found


def tests(points: Points, shared: Mapping[str, Any]) -> tuple[list[Comparison], list[tuple[Drop, float]]]:
    """The best method against each other one at each fraction, adjusted over all of them. Examples are what is sampled,
    seeds are averaged within each. Beside each the same where seeds are a sample as well, which is more than is asked:
    its interval and its adjusted p-value."""
    tests, wider = [], []
    for (method, asked), variants in points.items():
        if method == BEST:
            continue
        mine = points[BEST, asked]
        sides = [v.right for v in variants], [v.right for v in mine]
        drop = averaged_drop(Accuracy().value, *sides, higher_is_better=True, seed=0)
        wider.append(combined_drop(Accuracy().value, *sides, higher_is_better=True, seed=0))
        conditions = {**_at(asked, mine), **shared}
        tests.append(lost(name_of(BEST), name_of(method), drop, conditions, len(mine[0].right)))
    adjusted = holm([test.p_value for test in tests if test.p_value is not None])
    tests = [
        test.model_copy(update={"adjusted_p_value": p, "verdict": test.verdict if p < SIGNIFICANT else "tie"})
        for test, p in zip(tests, adjusted, strict=True)
    ]
    return tests, list(zip(wider, holm([drop.p_value for drop in wider]), strict=True))


def lost(target: str, baseline: str, drop: Drop, conditions: Mapping[str, Any], count: int) -> Comparison:
    """A drop of accuracy as `run.json` has it."""
    return Comparison(
        target=target,
        baseline=baseline,
        name="quality_drop",
        unit="ratio",
        count=count,
        conditions={"metric": "accuracy", **conditions},
        **vars(drop),
    )


def prune_seconds(points: Points) -> list[Measurement]:
    """The longest that each method took at any fraction and seed; the model is read within it."""
    found = []
    for method in METHODS:
        took = [v.seconds for (one, _), variants in points.items() if one == method for v in variants]
        known = [seconds for seconds in took if seconds is not None]
        if known:
            found.append(
                Measurement(
                    target=name_of(method),
                    name="prune_seconds_longest",
                    value=max(known),
                    unit="s",
                    count=len(known),
                    higher_is_better=False,
                )
            )
    return found
