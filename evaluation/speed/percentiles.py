"""Percentiles of times that were taken in rounds, with intervals from resampling whole rounds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compress.errors import DataError
from evaluation.statistics.evidence import refuse_not_finite
from evaluation.statistics.intervals import Interval, resampled


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

    low, high, _ = resampled(at, count, seed, resamples, confidence, width=_calls(rounds))
    return Interval(float(at(np.arange(count))), low, high)


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
    refuse_not_finite("rounds of timing", np.concatenate(rounds))
    return len(rounds)
