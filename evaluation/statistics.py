"""How sure a figure is: bootstrap intervals, paired comparisons, and times measured in rounds.

Where each example is right or wrong and the figure is the share of either, intervals are those of shares
(`evaluation.shares`): resampling can't show what did not happen, and there it needn't. All else is resampled. Where no
resample has another figure than the sample, as where two models decide alike throughout, the interval is that of what
so few examples could not show (`evaluation.undivided`); it is never without width.

All intervals of resampling are percentile intervals at quantiles that are moved outwards a little, as a sample's own
spread is too small by (n - 1) / n and as t is wider than the normal distribution (Hesterberg 2015, "What Teachers
Should Know about the Bootstrap": the expanded percentile interval). With a thousand examples that changes nothing;
with eight rounds of timing the plain interval would be far too narrow.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from compress.errors import DataError
from evaluation.measurement import Verdict
from evaluation.shares import SMALLEST_P, lost_bounds, p_lost, share_bounds
from evaluation.undivided import Ends, Value, p_no_worse_unseen, reach

_CHUNK_BYTES = 96 * 2**20
# Eight bytes each: an index and its copy, and some ten arrays that a metric makes on its way to the figure.
_BYTES_PER_DRAW = 8 * (2 + 10)

_FEWEST_BEYOND = 10
"""Resamples beyond 0 from which on their count tells a p-value (Knijnenburg et al. 2009, "Fewer permutations, more
accurate P-values": with fewer, the tail is better described by a distribution)."""


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
    count, on_all = _examples(evidence=evidence), float(_on_all(value, evidence))
    if not overstates and (scale := share_scale(value, evidence)) is not None:
        bounds = [scale.of(share) for share in share_bounds(int(evidence.sum()), count, confidence=confidence)]
        return Interval(on_all, min(on_all, *bounds), max(on_all, *bounds))
    low, high, figures = _resampled(
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
    count = _examples(baseline=baseline, target=target)
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
    low, high, drops = _resampled(on_drawn, count, seed, resamples, confidence, columns=baseline.shape[1])
    if ends is not None and never_varies(drops):
        farthest = max(reach(value, target, ends, confidence=confidence))
        farthest /= abs(float(value(baseline))) if relative else 1
        return _undivided(lost, farthest, count, p_value=exact, margin=margin, confidence=confidence)
    if overstates:
        low, high, drops = 2 * lost - high, 2 * lost - low, 2 * lost - drops
    return Drop(
        lost,
        low,
        high,
        bootstrap_p_value(drops, lost, count) if exact is None else exact,
        verdict(low, high, higher_is_better=False),
        margin,
        None if margin is None else p_no_worse(drops, margin, count),
    )


def verdict(low: float, high: float, *, no_difference: float = 0.0, higher_is_better: bool) -> Verdict:
    """What an interval of a comparison says. It is a tie as long as `no_difference` lies within.

    >>> verdict(1.1, 1.3, no_difference=1.0, higher_is_better=True)
    'better'
    >>> verdict(0.0, 0.02, higher_is_better=False)
    'tie'
    """
    if low > no_difference:
        return "better" if higher_is_better else "worse"
    if high < no_difference:
        return "worse" if higher_is_better else "better"
    return "tie"


def bootstrap_p_value(differences: np.ndarray, value: float, count: int) -> float:
    """Two-sided p-value of "no difference" from resampled differences: how far into their distribution 0 lies.

    It is counted where enough resamples lie beyond 0, with one added to both counts (Phipson and Smyth 2010,
    "Permutation p-values should never be zero"). Where few do, a count says no more than how many resamples were drawn,
    and after adjusting for many targets nothing could ever be significant: then it is that of Student's t, the value by
    its bootstrap standard error (Efron and Tibshirani 1993, section 12.4), though no larger than the smallest p-value
    that is counted, and no smaller than what `count` examples can show at all if baseline and target were exchanged
    on any of them.

    Args:
        differences: the difference of each resample.
        value: the difference on all examples.
        count: how many examples each resample has.
    """
    tail = min(int(np.sum(differences <= 0)), int(np.sum(differences >= 0)))
    if tail >= _FEWEST_BEYOND:
        return _counted(tail, len(differences))
    error = float(np.std(differences, ddof=1)) * np.sqrt(count / (count - 1))
    p_value = 2 * float(stats.t.sf(abs(value) / error, count - 1)) if error > 0 else 0.0
    smallest = max(SMALLEST_P, 2.0 ** (1 - min(count, 64)))
    return max(smallest, min(p_value, _counted(_FEWEST_BEYOND, len(differences))))


def _counted(tail: int, resamples: int) -> float:
    return min(1.0, 2 * (tail + 1) / (resamples + 1))


def p_no_worse(drops: np.ndarray, margin: float, count: int) -> float:
    """One-sided p-value of "worse by `margin` or more" from resampled drops: the test of non-inferiority. Of shares it
    is `p_lost`.

    It is the interval turned round: below 0.025 where the upper end of the 95 % interval is below `margin`, the
    expansion for few examples included (Wellek 2010, "Testing Statistical Hypotheses of Equivalence and
    Noninferiority", section 1.6, for the correspondence).

    Args:
        drops: the drop of each resample; positive when the target is worse.
        count: how many examples each resample has.
    """
    within = (int(np.sum(drops <= margin)) + 0.5) / (len(drops) + 1)  # a finite number can't show certainty
    return float(stats.t.sf(stats.norm.ppf(within) / np.sqrt(count / (count - 1)), count - 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values of a family of tests, so adjusted that the chance of any false alarm among them stays what a single
    test's would be (Holm 1979, "A simple sequentially rejective multiple test procedure").

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    # The library that has it has the whole of Python collect garbage at each call, a second once torch is loaded.
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return [float(one) for one in np.minimum(adjusted, 1.0)]


def mcnemar(a: np.ndarray, b: np.ndarray) -> float:
    """Two-sided p-value of McNemar's exact test that `a` and `b` are right equally often.

    Only examples that one of them gets right and the other wrong say anything; without a difference these fall either
    way like a coin (McNemar 1947).

    Args:
        a: 1 for an example that is right, 0 for one that is not, (examples,).
        b: likewise.

    Raises:
        DataError: lengths that differ, fewer than two examples, or other values than 0 and 1.
    """
    _examples(a=a[:, None], b=b[:, None])
    for name, column in (("a", a), ("b", b)):
        if not right_or_wrong(column):
            raise DataError(f"McNemar's test: {name} has other values than 0 and 1, wanted right or wrong")
    only_a, only_b = int(np.sum(a > b)), int(np.sum(a < b))
    return float(stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def right_or_wrong(evidence: np.ndarray) -> bool:
    """Whether evidence says no more than which examples are right: one column of 0 and 1.

    >>> right_or_wrong(np.array([[1], [0]])), right_or_wrong(np.array([[0.5], [0]])), right_or_wrong(np.eye(2))
    (True, False, False)
    """
    return (evidence.ndim == 1 or evidence.shape[1] == 1) and bool(np.isin(evidence, (0, 1)).all())


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
    _examples(likeness=likeness[:, None])
    return interval_of(_mean, likeness[:, None], seed=seed, resamples=resamples, confidence=confidence)


def _mean(evidence: np.ndarray) -> np.ndarray:
    return np.asarray(evidence[..., 0].mean(-1))


def percentile_interval(
    rounds: Sequence[np.ndarray], percentile: float, *, seed: int, resamples: int = 2000, confidence: float = 0.95
) -> Interval:
    """A percentile (50 is the median) of all times, with an interval from resampling whole rounds.

    Calls of one block share what the machine was doing then, so rounds are resampled, not calls (Davison and Hinkley
    1997, section 3.8).

    Args:
        rounds: one array of times per round, as `time_interleaved` returns them.
        percentile: from 0 to 100, interpolated between calls as numpy does.

    Raises:
        DataError: fewer than two rounds, an empty round, or times that are not finite.
    """
    count = _rounds(rounds)

    def at(drawn: np.ndarray) -> np.ndarray:
        return _pooled_percentile(rounds, drawn, percentile)

    low, high, _ = _resampled(at, count, seed, resamples, confidence, width=_calls(rounds))
    return Interval(float(at(np.arange(count))), low, high)


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
        p_value = bootstrap_p_value(np.full(_FEWEST_BEYOND, lost), lost, count)
    surely = None
    if margin is not None and farthest > 0:
        surely = p_no_worse_unseen(margin - lost, farthest, count, confidence=confidence)
    elif margin is not None:
        surely = SMALLEST_P if lost <= margin else 1.0
    return Drop(lost, low, high, p_value, verdict(low, high, higher_is_better=False), margin, surely)


def _resampled(
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
    _refuse_not_finite("the metric's values on resamples", result.bootstrap_distribution)
    bounds = result.confidence_interval
    return float(bounds.low), float(bounds.high), result.bootstrap_distribution


def _pooled_percentile(rounds: Sequence[np.ndarray], drawn: np.ndarray, percentile: float) -> np.ndarray:
    """The percentile of all calls of the drawn rounds together: (..., rounds) of indices gives (...).

    Calls are sorted once; a resample only says how often each counts, as rounds differ in how many calls they hold.
    """
    times = np.concatenate(rounds)
    owner = np.repeat(np.arange(len(rounds)), [len(block) for block in rounds])
    order = np.argsort(times)
    weight = (drawn[..., None] == np.arange(len(rounds))).sum(-2)
    reached = np.cumsum(weight[..., owner[order]], axis=-1)
    rank = (reached[..., -1:] - 1) * (percentile / 100)
    below = times[order][(reached > np.floor(rank)).argmax(-1)]
    above = times[order][(reached > np.ceil(rank)).argmax(-1)]
    return np.asarray(below + (above - below) * (rank - np.floor(rank))[..., 0])


def _calls(rounds: Sequence[np.ndarray]) -> int:
    return sum(len(block) for block in rounds)


def _rounds(rounds: Sequence[np.ndarray]) -> int:
    """How many rounds there are."""
    if len(rounds) < 2:
        raise DataError(f"rounds of timing: {len(rounds)}, wanted at least 2")
    if empty := sum(len(block) == 0 for block in rounds):
        raise DataError(f"rounds of timing: {empty} of {len(rounds)} hold no call, wanted at least one in each")
    _refuse_not_finite("rounds of timing", np.concatenate(rounds))
    return len(rounds)


def _on_all(value: Value, evidence: np.ndarray) -> np.ndarray:
    found = np.asarray(value(evidence))
    _refuse_not_finite("the metric's value", found)
    return found


def _examples(**columns: np.ndarray) -> int:
    """How many examples all columns have."""
    shapes = {name: column.shape for name, column in columns.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 2 for shape in shapes.values()):
        raise DataError(f"paired examples: shapes {shapes}, wanted (examples, columns) and the same of each")
    count = next(iter(shapes.values()))[0]
    if count < 2:
        raise DataError(f"paired examples: {count}, wanted at least 2 to say how sure a figure is")
    for name, column in columns.items():
        _refuse_not_finite(name, column)
    return count


def _refuse_not_finite(name: str, values: np.ndarray) -> None:
    if np.issubdtype(values.dtype, np.floating) and (count := int((~np.isfinite(values)).sum())):
        raise DataError(
            f"{name}: {count} of {values.size} are not finite, wanted numbers; did the model diverge or overflow?"
        )
