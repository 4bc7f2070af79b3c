"""How sure a figure is: bootstrap intervals, paired comparisons, and times measured in rounds.

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

Metric = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(truth, decisions), each (resamples, examples), to (resamples,)."""

_BATCH_BYTES = 120 * 2**20
_BYTES_PER_DRAW = 72  # an index, three gathered values and a metric's own arrays, eight bytes each


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


def interval_of(
    metric: Metric,
    truth: np.ndarray,
    decisions: np.ndarray,
    *,
    seed: int,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> Interval:
    """A metric's value on all examples, and its bootstrap interval (Efron and Tibshirani 1993, chapter 13).

    The same seed and number of examples give the same resamples, whatever the metric and the decisions.

    Args:
        metric: works on whole batches: (resamples, examples) twice gives (resamples,).
        truth: what is right, (examples,).
        decisions: what the model said, (examples,).

    Raises:
        DataError: fewer than two examples, lengths that differ, or NaN in what came or in the metric's values.
    """
    count = _examples(truth=truth, decisions=decisions)
    low, high, _ = _resampled(lambda drawn: metric(truth[drawn], decisions[drawn]), count, seed, resamples, confidence)
    return Interval(float(metric(truth, decisions)), low, high)


def paired_drop(
    metric: Metric,
    truth: np.ndarray,
    baseline_decisions: np.ndarray,
    target_decisions: np.ndarray,
    *,
    higher_is_better: bool,
    seed: int,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> Drop:
    """How much worse the target is than the baseline on the same examples: a paired bootstrap.

    Both are resampled with the same indices, so that what is hard about an example cancels out (Koehn 2004,
    "Statistical significance tests for machine translation evaluation"). `p_value` is that of the bootstrap; for
    accuracy, `mcnemar` is exact.

    Args:
        metric: works on whole batches: (resamples, examples) twice gives (resamples,).
        truth: what is right, (examples,).
        baseline_decisions: what the baseline said, (examples,).
        target_decisions: what the target said, (examples,).
        higher_is_better: whether a larger value of the metric is better; the drop is positive when the target is worse.

    Raises:
        DataError: fewer than two examples, lengths that differ, or NaN in what came or in the metric's values.
    """
    count = _examples(truth=truth, baseline=baseline_decisions, target=target_decisions)
    sign = 1.0 if higher_is_better else -1.0

    def drop(drawn: np.ndarray) -> np.ndarray:
        right = truth[drawn]
        return sign * (metric(right, baseline_decisions[drawn]) - metric(right, target_decisions[drawn]))

    low, high, drops = _resampled(drop, count, seed, resamples, confidence)
    value = sign * float(metric(truth, baseline_decisions) - metric(truth, target_decisions))
    return Drop(value, low, high, bootstrap_p_value(drops), verdict(low, high, higher_is_better=False))


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


def bootstrap_p_value(differences: np.ndarray) -> float:
    """Two-sided p-value of "no difference" from resampled differences: how far into their distribution 0 lies.

    One is added to both counts, as a finite number of resamples can't show certainty (Phipson and Smyth 2010,
    "Permutation p-values should never be zero").
    """
    count = len(differences)
    tail = min(int(np.sum(differences <= 0)), int(np.sum(differences >= 0)))
    return min(1.0, 2 * (tail + 1) / (count + 1))


def mcnemar(truth: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """Two-sided p-value of McNemar's exact test that `a` and `b` are right equally often. All are (examples,).

    Only examples that one of them gets right and the other wrong say anything; without a difference these fall either
    way like a coin (McNemar 1947).

    Raises:
        DataError: lengths that differ, or fewer than two examples.
    """
    _examples(truth=truth, a=a, b=b)
    only_a = int(np.sum((a == truth) & (b != truth)))
    only_b = int(np.sum((a != truth) & (b == truth)))
    return float(stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def agreement(a: np.ndarray, b: np.ndarray, *, confidence: float = 0.95) -> Interval:
    """The share of examples on which two models decide alike, (examples,) each, with Wilson's interval (1927).

    Raises:
        DataError: lengths that differ, or fewer than two examples.
    """
    count = _examples(a=a, b=b)
    alike = stats.binomtest(int(np.sum(a == b)), count)
    bounds = alike.proportion_ci(confidence_level=confidence, method="wilson")
    return Interval(float(alike.statistic), float(bounds.low), float(bounds.high))


def ratio_of_medians(
    baseline_rounds: Sequence[np.ndarray],
    target_rounds: Sequence[np.ndarray],
    *,
    seed: int,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> Interval:
    """Speed-up: the baseline's median time over the target's, above 1 when the target is faster.

    Calls of one block share what the machine was doing then, so whole rounds are resampled, not calls (Davison and
    Hinkley 1997, section 3.8), and round i of both stays together, since they ran side by side.

    Args:
        baseline_rounds: one array of times per round, as `time_interleaved` returns them.
        target_rounds: as many rounds, in the same unit.

    Raises:
        DataError: fewer than two rounds, numbers of rounds that differ, an empty round, or NaN.
    """
    count = _rounds(baseline_rounds, target_rounds)

    def ratio(drawn: np.ndarray) -> np.ndarray:
        return _pooled_percentile(baseline_rounds, drawn, 50) / _pooled_percentile(target_rounds, drawn, 50)

    low, high, _ = _resampled(
        ratio, count, seed, resamples, confidence, width=_calls(baseline_rounds) + _calls(target_rounds)
    )
    return Interval(float(ratio(np.arange(count))), low, high)


def percentile_interval(
    rounds: Sequence[np.ndarray], percentile: float, *, seed: int, resamples: int = 2000, confidence: float = 0.95
) -> Interval:
    """A percentile (50 is the median) of all times, with an interval from resampling whole rounds.

    Args:
        rounds: one array of times per round, as `time_interleaved` returns them.
        percentile: from 0 to 100, interpolated between calls as numpy does.

    Raises:
        DataError: fewer than two rounds, an empty round, or NaN.
    """
    count = _rounds(rounds)

    def at(drawn: np.ndarray) -> np.ndarray:
        return _pooled_percentile(rounds, drawn, percentile)

    low, high, _ = _resampled(at, count, seed, resamples, confidence, width=_calls(rounds))
    return Interval(float(at(np.arange(count))), low, high)


def _resampled(
    statistic: Callable[[np.ndarray], np.ndarray],
    count: int,
    seed: int,
    resamples: int,
    confidence: float,
    *,
    width: int | None = None,
) -> tuple[float, float, np.ndarray]:
    """Low, high and all values of a statistic of drawn indices: (..., count) to (...).

    `width` is the length of the longest row that the statistic works on; memory is bounded by it.
    """
    # Expanded percentiles: what t says at n - 1 degrees of freedom, seen through the normal distribution.
    reach = stats.t.ppf((1 + confidence) / 2, count - 1) * np.sqrt(count / (count - 1))
    with warnings.catch_warnings():
        # NaN is reported below, in words that fit: scipy blames a method that is not in use here.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        result = stats.bootstrap(
            (np.arange(count),),
            lambda drawn, axis: statistic(drawn),  # noqa: ARG005  scipy hands the axis to all that is vectorized
            vectorized=True,
            method="percentile",
            n_resamples=resamples,
            batch=max(1, _BATCH_BYTES // (_BYTES_PER_DRAW * (width or count))),
            confidence_level=1 - 2 * stats.norm.sf(reach),
            rng=np.random.default_rng(seed),
        )
    _refuse_nan("the metric's values on resamples", result.bootstrap_distribution)
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


def _rounds(*variants: Sequence[np.ndarray]) -> int:
    """How many rounds all variants have."""
    counts = [len(rounds) for rounds in variants]
    if len(set(counts)) > 1 or counts[0] < 2:
        raise DataError(f"rounds of timing: {counts}, wanted as many of each variant, and at least 2")
    for rounds in variants:
        if empty := sum(len(block) == 0 for block in rounds):
            raise DataError(f"rounds of timing: {empty} of {len(rounds)} hold no call, wanted at least one in each")
        _refuse_nan("rounds of timing", np.concatenate(rounds))
    return counts[0]


def _examples(**columns: np.ndarray) -> int:
    """How many examples all columns have."""
    lengths = {name: column.shape for name, column in columns.items()}
    if len(set(lengths.values())) > 1 or any(len(shape) != 1 for shape in lengths.values()):
        raise DataError(f"paired examples: shapes {lengths}, wanted one value per example and as many of each")
    count = next(iter(lengths.values()))[0]
    if count < 2:
        raise DataError(f"paired examples: {count}, wanted at least 2 to say how sure a figure is")
    for name, column in columns.items():
        _refuse_nan(name, column)
    return count


def _refuse_nan(name: str, values: np.ndarray) -> None:
    if np.issubdtype(values.dtype, np.floating) and (count := int(np.isnan(values).sum())):
        raise DataError(f"{name}: {count} of {values.size} are NaN, wanted numbers; did the model diverge or overflow?")
