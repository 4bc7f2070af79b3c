"""Intervals: of a figure, and of what was lost of it; by its bootstrap, or exact where that is possible.

Where each example is right or wrong and the figure is the share of either, intervals are those of shares (`shares.py`):
resampling can't show what did not happen, and there it needn't. All else is resampled. Where no resample has another
figure than the sample, as where two models decide alike throughout, the interval is that of what so few examples could
not show (`undivided.py`).

All intervals of resampling are percentile intervals at quantiles that are moved outwards a little, as a sample's own
spread is too small by (n - 1) / n and as t is wider than the normal distribution (Hesterberg 2015, "What Teachers
Should Know about the Bootstrap": the expanded percentile interval). With a thousand examples that changes nothing;
with eight rounds of timing the plain interval would be far too narrow.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from evaluation.measurement import Verdict
from evaluation.statistics.evidence import examples_of, refuse_not_finite, right_or_wrong
from evaluation.statistics.shares import SMALLEST_P, lost_bounds, p_lost, share_bounds
from evaluation.statistics.significance import FEWEST_BEYOND, bootstrap_p_value, mcnemar, p_no_worse, verdict
from evaluation.statistics.undivided import Ends, Value, p_no_worse_unseen, reach

FEW_DIFFERING = 10
"""Examples that two targets decide differently, up to which resampling alone is not believed."""
_CHUNK_BYTES = 96 * 2**20
# Eight bytes each: an index and its copy, and some ten arrays that a metric makes on its way to the figure.
_BYTES_PER_DRAW = 8 * (2 + 10)


@dataclass(frozen=True)
class Interval:
    """A figure and the bounds of its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Drop:
    """What quality was lost, in the metric's units: positive when the target is worse than the baseline."""

    value: float
    low: float
    high: float
    p_value: float
    verdict: Verdict
    margin: float | None = None
    margin_p_value: float | None = None
    """One-sided p-value of "worse by `margin` or more": a small one shows that the target is no worse than that."""


def interval_of(
    value: Value,
    evidence: np.ndarray,
    *,
    seed: int,
    overstates: bool = False,
    ends: Ends | None = None,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> Interval:
    """A metric's value on all examples, and its interval: Wilson's of a share, else that of the bootstrap (Efron and
    Tibshirani 1993, chapter 13).

    The same seed and number of examples give the same resamples, whatever the metric and the evidence.

    Args:
        value: the metric's figure, of many rows at once.
        evidence: what the metric knows of each example, (examples, columns).
        overstates: whether a sample's noise makes the figure, which is then never below 0, larger. The interval is
            then reflected at the value (the basic interval of Davison and Hinkley 1997, section 5.2), which takes
            that out, and holds the value all the same.
        ends: the metric's, which give the interval its width where all resamples have the same figure; without them it
            has none there.

    Raises:
        DataError: fewer than two examples, or what is not finite in the evidence or in the metric's values.
    """
    count, on_all = examples_of(evidence=evidence), float(_on_all(value, evidence))
    if not overstates and (scale := share_scale(value, evidence)) is not None:
        bounds = [scale.of(share) for share in share_bounds(int(evidence.sum()), count, confidence=confidence)]
        return Interval(on_all, min(on_all, *bounds), max(on_all, *bounds))
    low, high, figures = resampled(
        lambda drawn: value(evidence[drawn]), count, seed, resamples, confidence, columns=evidence.shape[1]
    )
    if ends is not None and never_varies(figures):
        below, above = reach(value, evidence, ends, confidence=confidence)
        return Interval(on_all, on_all - below, on_all + above)
    if overstates:
        low, high = min(on_all, max(0.0, 2 * on_all - high)), max(on_all, 2 * on_all - low)
    return Interval(on_all, low, high)


def paired_drop(
    value: Value,
    baseline: np.ndarray,
    target: np.ndarray,
    *,
    higher_is_better: bool,
    relative: bool = False,
    overstates: bool = False,
    ends: Ends | None = None,
    margin: float | None = None,
    seed: int,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> Drop:
    """How much worse the target is than the baseline on the same examples.

    Of shares of right examples by the score interval (`lost_bounds`), with `p_lost` for the margin. All else by a
    paired bootstrap: both are resampled with the same indices, so that what is hard about an example cancels out (Koehn
    2004, "Statistical significance tests for machine translation evaluation"). `p_value` is that of `mcnemar`, which is
    exact, where each example is right or wrong, as only how many are can enter any figure; else of the bootstrap.

    Where every resample loses the same, as where both decide alike throughout, the interval reaches as far to both
    sides as examples could lead that are too rare to have been seen (`undivided.reach`); so does the margin's p-value.

    Args:
        value: the metric's figure, of many rows at once.
        baseline: the metric's evidence on the baseline's decisions, (examples, columns).
        target: likewise on the target's.
        higher_is_better: whether a larger value of the metric is better; the drop is positive when the target is worse.
        relative: the drop as a fraction of the baseline's value.
        overstates: as in `interval_of`.
        ends: likewise.
        margin: a drop that is small enough; how sure it is that the target is no worse than by that is then said.

    Raises:
        DataError: fewer than two examples, shapes that differ, or what is not finite in the evidence or in the values.
    """
    count = examples_of(baseline=baseline, target=target)
    exact = mcnemar(baseline[:, 0], target[:, 0]) if right_or_wrong(baseline) and right_or_wrong(target) else None
    scale = None if relative or overstates else share_scale(value, baseline, target)

    def drop(before: np.ndarray, after: np.ndarray) -> np.ndarray:
        lost = before - after if higher_is_better else after - before
        return np.asarray(lost / before if relative else lost)

    def on_drawn(drawn: np.ndarray) -> np.ndarray:
        return drop(value(baseline[drawn]), value(target[drawn]))

    lost = float(drop(_on_all(value, baseline), _on_all(value, target)))
    if exact is not None and scale is not None:
        unit = scale.turned(higher_is_better)
        return _lost_share(lost, unit, baseline, target, p_value=exact, margin=margin, confidence=confidence)
    low, high, drops = resampled(on_drawn, count, seed, resamples, confidence, columns=baseline.shape[1])
    few = ends is not None and (baseline != target).any(axis=1).sum() <= FEW_DIFFERING
    farthest = max(reach(value, target, ends, confidence=confidence)) if ends and (few or never_varies(drops)) else 0.0
    farthest /= abs(float(value(baseline))) if relative else 1
    if ends is not None and never_varies(drops):
        return _undivided(lost, farthest, count, p_value=exact, margin=margin, confidence=confidence)
    if overstates:
        low, high, drops = 2 * lost - high, 2 * lost - low, 2 * lost - drops
    surely = None if margin is None else p_no_worse(drops, margin, count)
    if few:  # resampling shows hardly more than it would of none: not surer than of two that decide alike
        low, high = min(low, lost - farthest), max(high, lost + farthest)
        if margin is not None and surely is not None and farthest > 0:
            surely = max(surely, p_no_worse_unseen(margin - lost, farthest, count, confidence=confidence))
    return Drop(
        lost,
        low,
        high,
        bootstrap_p_value(drops, lost, count) if exact is None else exact,
        verdict(low, high, higher_is_better=False),
        margin,
        surely,
    )


@dataclass(frozen=True)
class ShareScale:
    """How a figure follows from the share of right examples: a straight line."""

    at_none: float
    at_all: float

    def of(self, share: float) -> float:
        return self.at_none + (self.at_all - self.at_none) * share

    def turned(self, higher_is_better: bool) -> float:
        """What is lost by one right example less in one."""
        return (self.at_all - self.at_none) * (1 if higher_is_better else -1)


def share_scale(value: Value, *evidence: np.ndarray) -> ShareScale | None:
    """The scale, where every example is right or wrong and the figure is a share of these; else None."""
    if not all(right_or_wrong(each) for each in evidence):
        return None
    first = evidence[0]
    with np.errstate(all="ignore"):  # a figure that is no share may have no value where all are right
        scale = ShareScale(float(value(np.zeros_like(first))), float(value(np.ones_like(first))))
        figures = [float(value(each)) for each in evidence]
    shares = [scale.of(float(each.mean())) for each in evidence]
    return scale if scale.at_none != scale.at_all and np.allclose(figures, shares, rtol=1e-9, atol=1e-12) else None


def never_varies(figures: np.ndarray) -> bool:
    """Whether all figures are the same.

    >>> never_varies(np.array([0.1 + 0.2, 0.3])), never_varies(np.array([0.3, 0.4]))
    (True, False)
    """
    return bool(np.ptp(figures) <= 1e-12 * max(1.0, float(np.abs(figures).max())))  # but for rounding


def agreement(likeness: np.ndarray, *, seed: int, resamples: int = 2000, confidence: float = 0.95) -> Interval:
    """How alike two models are, on average: Wilson's interval (1927) where each example is alike or not, else that of
    the bootstrap.

    Args:
        likeness: (examples,), 1 for the same.

    Raises:
        DataError: fewer than two examples, or likeness that is not finite.
    """
    likeness = np.minimum(likeness.astype(np.float64), 1.0)  # a cosine may lie past 1 by rounding
    examples_of(likeness=likeness[:, None])
    return interval_of(_mean, likeness[:, None], seed=seed, resamples=resamples, confidence=confidence)


def logit_error(baseline: np.ndarray, target: np.ndarray, *, seed: int, resamples: int = 2000) -> Interval | None:
    """How far a target's scores lie from a baseline's: the L2 norm of their difference over that of the baseline's
    scores around their mean, with the interval of the bootstrap; None where the baseline scores all examples alike.

    Args:
        baseline: (examples, ...), what the baseline predicts; the mean is taken of each score over the examples.
        target: likewise, of the target.

    Raises:
        DataError: fewer than two examples, shapes that differ, or scores that are not finite.
    """
    count = len(baseline)
    before, after = (scores.reshape(count, -1).astype(np.float64) for scores in (baseline, target))
    examples_of(baseline=before, target=after)
    error, spread = ((after - before) ** 2).sum(1), ((before - before.mean(0)) ** 2).sum(1)
    if not spread.any():
        return None
    least = 1e-12 * spread.mean()  # a resample may hold one example alone, and that may lie at the mean

    def value(evidence: np.ndarray) -> np.ndarray:
        return np.asarray(np.sqrt(evidence[..., 0].mean(-1) / np.maximum(evidence[..., 1].mean(-1), least)))

    return interval_of(value, np.stack([error, spread], axis=-1), seed=seed, resamples=resamples)


def _mean(evidence: np.ndarray) -> np.ndarray:
    return np.asarray(evidence[..., 0].mean(-1))


def _lost_share(
    value: float,
    unit: float,
    baseline: np.ndarray,
    target: np.ndarray,
    *,
    p_value: float,
    margin: float | None,
    confidence: float,
) -> Drop:
    """The drop of a share of right examples in units of `unit`; of the share of wrong ones where that is negative."""
    before, after = (baseline, target) if unit > 0 else (target, baseline)
    lost, mended, count = int((before > after).sum()), int((before < after).sum()), len(before)
    low, high = (abs(unit) * end for end in lost_bounds(lost, mended, count, confidence=confidence))
    surely = None if margin is None else p_lost(lost, mended, count, margin / abs(unit))
    return Drop(value, low, high, p_value, verdict(low, high, higher_is_better=False), margin, surely)


def _undivided(
    lost: float, farthest: float, count: int, *, p_value: float | None, margin: float | None, confidence: float
) -> Drop:
    """The drop where every resample loses the same."""
    low, high = lost - farthest, lost + farthest
    if p_value is None:
        p_value = bootstrap_p_value(np.full(FEWEST_BEYOND, lost), lost, count)
    surely = None
    if margin is not None and farthest > 0:
        surely = p_no_worse_unseen(margin - lost, farthest, count, confidence=confidence)
    elif margin is not None:
        surely = SMALLEST_P if lost <= margin else 1.0
    return Drop(lost, low, high, p_value, verdict(low, high, higher_is_better=False), margin, surely)


def resampled(
    statistic: Callable[[np.ndarray], np.ndarray],
    count: int,
    seed: int,
    resamples: int,
    confidence: float,
    *,
    width: int | None = None,
    columns: int = 1,
) -> tuple[float, float, np.ndarray]:
    """Low, high and all values of a statistic of drawn indices: (..., count) to (...).

    `width` is the length of the longest row that the statistic works on, `columns` how many values each draw gathers;
    memory is bounded by them.
    """
    # Expanded percentiles: what t says at n - 1 degrees of freedom, seen through the normal distribution.
    reach = stats.t.ppf((1 + confidence) / 2, count - 1) * np.sqrt(count / (count - 1))
    with warnings.catch_warnings():
        # NaN is reported below, in words that fit: scipy blames a method that is not in use here.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        result = stats.bootstrap(
            (np.arange(count),),
            # scipy hands the axis to all that is vectorized, and its quantiles want floating-point numbers
            lambda drawn, axis: np.asarray(statistic(drawn), dtype=np.float64),  # noqa: ARG005
            vectorized=True,
            method="percentile",
            n_resamples=resamples,
            batch=max(1, _CHUNK_BYTES // ((_BYTES_PER_DRAW + 8 * columns) * (width or count))),
            confidence_level=1 - 2 * stats.norm.sf(reach),
            rng=np.random.default_rng(seed),
        )
    refuse_not_finite("the metric's values on resamples", result.bootstrap_distribution)
    bounds = result.confidence_interval
    return float(bounds.low), float(bounds.high), result.bootstrap_distribution


def _on_all(value: Value, evidence: np.ndarray) -> np.ndarray:
    found = np.asarray(value(evidence))
    refuse_not_finite("the metric's value", found)
    return found
