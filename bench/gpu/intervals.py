"""A statistic of timed rounds with its 95 % interval."""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist

import numpy as np

from bench.gpu.timing import Rounds

_T_975 = {2: 4.303, 7: 2.365}  # Student's t, 97.5 %, by degrees of freedom


def interval(statistic: Callable[..., float], *variants: Rounds, seed: int, resamples: int = 1000) -> dict[str, float]:
    """A statistic of rounds and its 95 % interval; whole rounds are resampled, the same ones of each variant.

    Calls of one round are not independent, and rounds are few: hence the expanded percentiles (Hesterberg 2015, "What
    Teachers Should Know about the Bootstrap").
    """
    random = np.random.default_rng(seed)
    count = len(variants[0])
    drawn = random.integers(0, count, (resamples, count))
    values = [statistic(*([rounds[i] for i in row] for rounds in variants)) for row in drawn]
    tail = NormalDist().cdf(-_T_975[count - 1] * (count / (count - 1)) ** 0.5)
    low, high = np.quantile(values, [tail, 1 - tail])
    return {"value": statistic(*variants), "low": float(low), "high": float(high)}


def median(rounds: Rounds) -> float:
    return float(np.median(np.concatenate(rounds)))


def p95(rounds: Rounds) -> float:
    return float(np.percentile(np.concatenate(rounds), 95))


def ratio(baseline: Rounds, target: Rounds) -> float:
    return median(baseline) / median(target)


def prefixed(name: str, figure: dict[str, float]) -> dict[str, float]:
    return {name: figure["value"], f"{name}_low": figure["low"], f"{name}_high": figure["high"]}
