"""Runs of one recipe that differ by seed alone, taken together: how it comes out with another seed, on other examples.

Every seed's models answer the same examples, so seeds and examples are crossed, and both are samples. The bootstrap
over examples says how far other examples would move the mean over seeds; what is left is that another few seeds have
another mean, which Student's t bounds: the seeds are too few to be resampled, and two of them resampled would show half
of their spread at most. The two parts are joined as squares (the method of variance estimates recovery: Zou and Donner
2008, "Construction of confidence limits about effect measures"). That is never too narrow, however few the seeds, and
with two of them it is wide.

The part of the examples is at least as wide as what none of them showed may be, as the bootstrap has no width where no
seed's models differ: where each example is right or wrong (`evaluation.statistics.shares`), and else where it has none
(`evaluation.statistics.undivided`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from scipy import optimize, stats

from compress.errors import DataError
from evaluation.statistics.intervals import Drop, Interval, interval_of, never_varies, paired_drop, share_scale
from evaluation.statistics.shares import unseen
from evaluation.statistics.significance import verdict
from evaluation.statistics.undivided import Ends, Value, reach

_SURE = 1e-12
"""The smallest p-value that is looked for."""


def combined(
    value: Value,
    evidence: Sequence[np.ndarray],
    *,
    overstates: bool = False,
    ends: Ends | None = None,
    seed: int,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> Interval:
    """The mean of a metric over seeds, with its interval.

    Args:
        value: the metric's figure, of many rows at once.
        evidence: for each seed, what the metric knows of each example, (examples, columns).
        overstates: as in `interval_of`: the interval over examples is reflected before that over seeds is joined to it.
        ends: as in `interval_of`.

    Raises:
        DataError: fewer than two seeds, shapes that differ, or figures that are not finite.
    """
    joined, on_all = _joined([evidence], lambda parts: value(parts[0]))
    found = interval_of(on_all, joined, overstates=overstates, seed=seed, resamples=resamples, confidence=confidence)
    scale = share_scale(value, *evidence)
    if scale is not None:
        least = abs(scale.at_all - scale.at_none) * unseen(len(joined), confidence=confidence)
        bounds = sorted((scale.at_none, scale.at_all))
        found = replace(found, low=max(bounds[0], min(found.low, found.value - least)))
        found = replace(found, high=min(bounds[1], max(found.high, found.value + least)))
    elif ends is not None and never_varies(np.array([found.low, found.high])):
        below, above = np.mean([reach(value, each, ends, confidence=confidence) for each in evidence], axis=0)
        found = replace(found, low=found.value - float(below), high=found.value + float(above))
    spread = _spread([float(value(each)) for each in evidence])
    whole = _widened(found, spread, len(evidence), confidence)
    return replace(whole, low=max(0.0, whole.low)) if overstates else whole


def combined_drop(
    value: Value,
    baselines: Sequence[np.ndarray],
    targets: Sequence[np.ndarray],
    *,
    higher_is_better: bool,
    relative: bool = False,
    overstates: bool = False,
    ends: Ends | None = None,
    seed: int,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> Drop:
    """The mean over seeds of what each seed's target loses against the same seed's baseline.

    Args:
        value: the metric's figure, of many rows at once.
        baselines: for each seed, the metric's evidence on the baseline's decisions, (examples, columns).
        targets: likewise on the target's.
        higher_is_better: whether a larger value of the metric is better.
        relative: the drop as a fraction of the baseline's value.
        overstates: as in `combined`.
        ends: likewise.

    Raises:
        DataError: fewer than two seeds, shapes that differ, or figures that are not finite.
    """

    def drop(parts: Sequence[np.ndarray]) -> np.ndarray:
        before, after = (value(part) for part in parts)
        lost = before - after if higher_is_better else after - before
        return np.asarray(lost / before if relative else lost)

    joined, on_all = _joined([baselines, targets], drop)
    found = interval_of(on_all, joined, seed=seed, resamples=resamples, confidence=confidence)
    scale = None if relative else share_scale(value, *baselines, *targets)
    if scale is not None:
        least = abs(scale.at_all - scale.at_none) * unseen(len(joined), confidence=confidence)
        found = replace(found, low=min(found.low, found.value - least), high=max(found.high, found.value + least))
    elif ends is not None and never_varies(np.array([found.low, found.high])):
        least = _farthest(value, baselines, targets, ends, relative=relative, confidence=confidence)
        found = replace(found, low=found.value - least, high=found.value + least)
    if overstates:  # a drop may be below 0, so it is not for `interval_of` to reflect
        found = replace(found, low=2 * found.value - found.high, high=2 * found.value - found.low)
    spread = _spread([float(drop(pair)) for pair in zip(baselines, targets, strict=True)])
    whole = _widened(found, spread, len(targets), confidence)
    p_value = _p_value(whole.value, _half_width(found) / _reach(confidence), spread, len(targets))
    return Drop(whole.value, whole.low, whole.high, p_value, verdict(whole.low, whole.high, higher_is_better=False))


def averaged_drop(
    value: Value,
    baselines: Sequence[np.ndarray],
    targets: Sequence[np.ndarray],
    *,
    higher_is_better: bool,
    seed: int,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> Drop:
    """What is lost on the average of these very seeds: examples are the sample, seeds are averaged within each.

    `combined_drop` asks how other seeds would come out; this asks how these would on other examples. So it is surer,
    and says nothing of a seed that was not run.

    Args:
        value: as in `combined_drop`, as are the others.

    Raises:
        DataError: fewer than two seeds, shapes that differ, or figures that are not finite.
    """
    (before, mean), (after, _) = (_joined([side], lambda parts: value(parts[0])) for side in (baselines, targets))
    found = paired_drop(
        mean,
        before,
        after,
        higher_is_better=higher_is_better,
        seed=seed,
        resamples=resamples,
        confidence=confidence,
    )
    scale = share_scale(value, *baselines, *targets)
    least = 0.0 if scale is None else abs(scale.at_all - scale.at_none) * unseen(len(before), confidence=confidence)
    low, high = min(found.low, found.value - least), max(found.high, found.value + least)
    return Drop(found.value, low, high, found.p_value, verdict(low, high, higher_is_better=False))


def _joined(
    sides: Sequence[Sequence[np.ndarray]], figure: Callable[[Sequence[np.ndarray]], np.ndarray]
) -> tuple[np.ndarray, Value]:
    """All evidence beside each other, (examples, all columns), and the mean of `figure` over seeds as a value of it.

    So one draw of examples serves every seed and both sides.
    """
    count = len(sides[0])
    shapes = {each.shape for side in sides for each in side}
    if count < 2 or len(shapes) > 1 or any(len(side) != count for side in sides):
        raise DataError(f"seeds: {count} of them, with evidence of the shapes {sorted(shapes)}; wanted two and one")
    width = sides[0][0].shape[1]

    def mean(evidence: np.ndarray) -> np.ndarray:
        parts = [evidence[..., at : at + width] for at in range(0, evidence.shape[-1], width)]
        return np.mean([figure(parts[place::count]) for place in range(count)], axis=0)

    return np.concatenate([each for side in sides for each in side], axis=1), mean


def _farthest(
    value: Value,
    baselines: Sequence[np.ndarray],
    targets: Sequence[np.ndarray],
    ends: Ends,
    *,
    relative: bool,
    confidence: float,
) -> float:
    """How far examples that none of the sample is like could move the drop, on the average of the seeds."""
    units = [abs(float(value(each))) if relative else 1.0 for each in baselines]
    moves = [max(reach(value, each, ends, confidence=confidence)) for each in targets]
    return float(np.mean(np.divide(moves, units)))


def _spread(figures: Sequence[float]) -> float:
    """The standard error of the seeds' mean."""
    return float(np.std(figures, ddof=1) / np.sqrt(len(figures)))


def _widened(found: Interval, spread: float, count: int, confidence: float) -> Interval:
    """An interval over examples, and that over seeds, as one that holds the value."""
    by_seed = float(stats.t.ppf((1 + confidence) / 2, count - 1)) * spread
    # what noise makes larger may lie outside its own interval over examples
    ends = max(0.0, found.value - found.low), max(0.0, found.high - found.value)
    below, above = (np.hypot(end, by_seed) for end in ends)
    return Interval(found.value, float(found.value - below), float(found.value + above))


def _half_width(found: Interval) -> float:
    return (found.high - found.low) / 2


def _reach(confidence: float) -> float:
    return float(stats.norm.ppf((1 + confidence) / 2))


def _p_value(value: float, by_example: float, by_seed: float, count: int) -> float:
    """Two-sided: the level at which the joint interval ends at zero.

    Args:
        by_example: the standard error over examples.
        by_seed: the standard error over seeds.
    """

    def room(p_value: float) -> float:
        reach = np.hypot(stats.norm.isf(p_value / 2) * by_example, stats.t.isf(p_value / 2, count - 1) * by_seed)
        return float(abs(value) - reach)

    if value == 0 or room(1 - _SURE) <= 0:
        return 1.0
    return _SURE if room(_SURE) >= 0 else float(optimize.brentq(room, _SURE, 1 - _SURE))
