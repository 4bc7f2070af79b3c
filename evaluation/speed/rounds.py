"""What rounds of timing say of a ratio: targets run side by side in each round, so each round has its own ratio.

A machine's speed drifts by tens of per cent within a sitting: other programs come and go, and the clock follows heat.
Within a round that drift is shared, and a ratio is free of it. A block that was disturbed is one bad ratio among the
rounds', which their median ignores; pooled calls or a mean of ratios carry it into the figure and its interval.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from compress.errors import DataError
from evaluation.measurement import Verdict
from evaluation.statistics.intervals import Interval
from evaluation.statistics.significance import verdict


def paired_ratio(
    baseline_rounds: Sequence[np.ndarray], target_rounds: Sequence[np.ndarray], *, confidence: float = 0.95
) -> Interval:
    """Speed-up: the median over rounds of the baseline's median time over the target's; above 1, the target is faster.

    The interval holds whatever the distribution of the rounds' ratios: it lies between order statistics, interpolated
    to the confidence that is asked for (Hettmansperger and Sheather 1986, "Confidence intervals based on interpolated
    order statistics"). With fewer than six rounds it is their whole range, which is less sure than 95 %.

    Args:
        baseline_rounds: one array of times per round; round i ran beside round i of the target.
        target_rounds: as many rounds, in the same unit.

    Raises:
        DataError: fewer than two rounds, numbers of rounds that differ, an empty round, or times that are not finite.
    """
    counts = len(baseline_rounds), len(target_rounds)
    if counts[0] != counts[1] or counts[0] < 2:
        raise DataError(f"rounds of timing: {list(counts)}, wanted as many of each variant, and at least 2")
    for block in (*baseline_rounds, *target_rounds):
        if not len(block) or not np.isfinite(block).all() or not (np.asarray(block) > 0).all():
            raise DataError("rounds of timing: a round is empty or has times that are no positive numbers")
    pairs = zip(baseline_rounds, target_rounds, strict=True)
    ratios = np.log([np.median(before) / np.median(after) for before, after in pairs])
    low, high = _around_median(np.sort(ratios), confidence)
    return Interval(*(float(np.exp(value)) for value in (np.median(ratios), low, high)))


def beyond_noise(ratio: Interval, noise: float) -> Verdict:
    """What a speed-up's interval says once the noise floor is taken off: a tie unless it clears 1 by that much.

    >>> beyond_noise(Interval(1.05, 1.03, 1.07), 0.02), beyond_noise(Interval(1.05, 1.03, 1.07), 0.04)
    ('better', 'tie')
    """
    return verdict(ratio.low / (1 + noise), ratio.high * (1 + noise), no_difference=1.0, higher_is_better=True)


LEAST_FLOOR = 0.03
"""What one file opened twice may differ by, and go on to differ by for as long as both are open: where weights and
threads come to lie is decided then, and no number of rounds shows it (Mytkowicz et al. 2009, "Producing Wrong Data
Without Doing Anything Obviously Wrong!", sections 4 and 5). One pair of openings seldom shows how much it can be."""


def joint_floor(one: float, other: float) -> float:
    """The noise floor of a ratio between two runtimes, from the floor of each: the root of the mean of their squares,
    but never below `LEAST_FLOOR`.

    A ratio of two targets scatters by both targets' scatter; a ratio of a target to its twin by its own twice.

    >>> joint_floor(0.05, 0.05), joint_floor(0.0, 0.01), joint_floor(0.04, 0.08) < 0.08
    (0.05, 0.03, True)
    """
    return max(LEAST_FLOOR, float(np.sqrt((one**2 + other**2) / 2)))


def off_by(ratio: Interval) -> float:
    """How far a ratio lies from 1, as a fraction, whichever way."""
    return max(ratio.value, 1 / ratio.value) - 1


def _around_median(ordered: np.ndarray, confidence: float) -> tuple[float, float]:
    """The interval of the median of sorted values."""
    count = len(ordered)

    def sure(depth: int) -> float:
        """How often the `depth`-th smallest and the `depth`-th largest value have the median between them."""
        return float(1 - 2 * stats.binom.cdf(depth - 1, count, 0.5))

    depth = max((d for d in range(1, count // 2 + 1) if sure(d) >= confidence), default=0)
    if depth == 0 or depth == count // 2:
        return float(ordered[max(depth - 1, 0)]), float(ordered[-max(depth, 1)])
    share = (sure(depth) - confidence) / (sure(depth) - sure(depth + 1))
    inward = (count - depth) * share / (depth + (count - 2 * depth) * share)
    low = ordered[depth - 1] + inward * (ordered[depth] - ordered[depth - 1])
    high = ordered[-depth] + inward * (ordered[-depth - 1] - ordered[-depth])
    return float(low), float(high)
