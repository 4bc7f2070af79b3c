"""Shares of examples that are right: Wilson's interval of one, the score interval of two on the same examples.

Resampling can't show what did not happen: twenty examples on which two models decide alike are alike in every resample,
which looks like certainty. Score intervals ask which true shares make the sample likely, so they have a width there.
"""

from __future__ import annotations

import numpy as np
from scipy import optimize, stats

SMALLEST_P = 1e-12
"""No p-value is said to be smaller: the approximations behind it say nothing so far out."""


def share_bounds(right: int, count: int, *, confidence: float) -> tuple[float, float]:
    """Wilson's interval (1927) of a share: which true ones make `right` of `count` likely.

    >>> low, high = share_bounds(100, 100, confidence=0.95)
    >>> round(low, 3), high
    (0.963, 1.0)
    """
    bounds = stats.binomtest(right, count).proportion_ci(confidence_level=confidence, method="wilson")
    return float(bounds.low), float(bounds.high)


def lost_bounds(lost: int, mended: int, count: int, *, confidence: float) -> tuple[float, float]:
    """The score interval of the difference of two shares on the same examples (Tango 1998, "Equivalence test and
    confidence interval for the difference in proportions for the paired-sample design", section 4).

    Without any difference between the two it is Wilson's of none, to both sides.

    Args:
        lost: examples that the first alone has right.
        mended: examples that the second alone has right.
        count: all examples.

    >>> low, high = lost_bounds(0, 0, 20, confidence=0.95)
    >>> round(low, 3), round(high, 3)
    (-0.161, 0.161)
    """
    reach = float(stats.norm.ppf((1 + confidence) / 2))
    return -_upper(mended, lost, count, reach), _upper(lost, mended, count, reach)


def unseen(count: int, *, confidence: float) -> float:
    """How large a share may be of which no example was seen: the upper end of Wilson's interval of none.

    >>> round(unseen(20, confidence=0.95), 3)
    0.161
    """
    return share_bounds(0, count, confidence=confidence)[1]


def p_lost(lost: int, mended: int, count: int, difference: float) -> float:
    """One-sided p-value of "the first share is larger by `difference` or more": the interval turned round.

    It is 0.025 where the upper end of the 95 % interval is `difference`.

    Args:
        lost: as in `lost_bounds`, as are `mended` and `count`.
        difference: from -1 to 1; what lies outside counts as these.
    """
    return max(SMALLEST_P, float(stats.norm.cdf(_score(lost, mended, count, float(np.clip(difference, -1, 1))))))


def _upper(lost: int, mended: int, count: int, reach: float) -> float:
    """The difference above the one observed at which the score is `reach` below 0."""
    observed = (lost - mended) / count
    if observed == 1:
        return 1.0
    return float(optimize.bisect(lambda at: _score(lost, mended, count, at) + reach, observed, 1.0, xtol=1e-12))


def _score(lost: int, mended: int, count: int, difference: float) -> float:
    """How many standard errors the observed difference lies above `difference`, if that were true: Tango's equation
    for it, with the share of mended examples that is the likeliest then."""
    above = lost - mended - count * difference
    if above == 0:
        return 0.0
    linear = (2 * count - lost + mended) * difference - lost - mended
    constant = -mended * difference * (1 - difference)
    likeliest = (np.sqrt(max(0.0, linear**2 - 8 * count * constant)) - linear) / (4 * count)
    variance = count * (2 * likeliest + difference * (1 - difference))
    return float(above / np.sqrt(variance)) if variance > 0 else float(np.copysign(np.inf, above))
