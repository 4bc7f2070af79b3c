"""Whether a difference is one: p-values, their adjustment for many comparisons, and verdicts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from compress.errors import DataError
from evaluation.measurement import Verdict
from evaluation.statistics.evidence import examples_of, right_or_wrong
from evaluation.statistics.shares import SMALLEST_P

FEWEST_BEYOND = 10
"""Resamples beyond 0 from which on their count tells a p-value (Knijnenburg et al. 2009, "Fewer permutations, more
accurate P-values": with fewer, the tail is better described by a distribution)."""


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
    if tail >= FEWEST_BEYOND:
        return _counted(tail, len(differences))
    error = float(np.std(differences, ddof=1)) * np.sqrt(count / (count - 1))
    p_value = 2 * float(stats.t.sf(abs(value) / error, count - 1)) if error > 0 else 0.0
    smallest = max(SMALLEST_P, 2.0 ** (1 - min(count, 64)))
    return max(smallest, min(p_value, _counted(FEWEST_BEYOND, len(differences))))


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
    examples_of(a=a[:, None], b=b[:, None])
    for name, column in (("a", a), ("b", b)):
        if not right_or_wrong(column):
            raise DataError(f"McNemar's test: {name} has other values than 0 and 1, wanted right or wrong")
    only_a, only_b = int(np.sum(a > b)), int(np.sum(a < b))
    return float(stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
