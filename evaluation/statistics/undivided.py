"""How far a figure may lie from that of a sample on which it never varies: what resampling can't show.

Twenty examples on which two models decide alike are alike in every resample, which looks like certainty. Yet n of them
without a difference only bound the share of examples that make one: to about 4 in n, as for shares (`shares.unseen`;
the rule of three of Hanley and Lippman-Hand 1983, "If nothing goes wrong, is everything all right?", is its one-sided
kin). What so many could change at most is found on the sample: those that weigh most are decided as well as can be, and
as badly (`Metric.ends`). That is a bound rather than an estimate, so the interval is wider than 95 % ask for.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from evaluation.statistics.shares import p_lost, unseen

Value = Callable[[np.ndarray], np.ndarray]
"""A metric's figure: evidence (..., examples, columns) to (...)."""
Ends = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Evidence (examples, columns) to the evidence of decisions as good as can be, and as bad."""

MOST_KINDS = 1000
"""Different examples of which each one's weight is found out; of more, so many are taken evenly by their evidence."""

_CHUNK_NUMBERS = 2**20


def reach(value: Value, evidence: np.ndarray, ends: Ends, *, confidence: float) -> tuple[float, float]:
    """How far the figure may lie below and above that of the sample, both 0 or more.

    Both are 0 only where no decision could change the figure at all, as of a correlation with numbers that are all the
    same. Between whole numbers of examples it is interpolated.
    """
    count = len(evidence)
    may_differ = unseen(count, confidence=confidence) * count
    moves = [_moves(value, evidence, other, may_differ) for other in ends(evidence)]
    return max(0.0, *(-low for low, _ in moves)), max(0.0, *(high for _, high in moves))


def p_no_worse_unseen(beyond: float, farthest: float, count: int, *, confidence: float) -> float:
    """One-sided p-value of "the figure lies beyond by so much": the interval turned round, as `p_lost` does.

    Args:
        beyond: how far from the sample's figure.
        farthest: what `reach` found, above 0.
        count: examples of the sample.
    """
    return p_lost(0, 0, count, unseen(count, confidence=confidence) * beyond / farthest)


def _moves(value: Value, evidence: np.ndarray, other: np.ndarray, may_differ: float) -> tuple[float, float]:
    """The least and the most, 0 included, that replacing the rows which weigh most by those of `other` adds."""
    now = float(value(evidence))
    whole = int(np.ceil(may_differ))
    low = high = 0.0
    weights, places = _weights(value, evidence, other, now)
    for sign in (-1, 1):
        order = places[np.argsort(-sign * weights, kind="stable")][:whole]
        changed, moved = evidence.astype(np.result_type(evidence, other)), [0.0]
        for place in order:
            changed[place] = other[place]
            moved.append(float(value(changed)) - now)
        at_most = float(np.interp(may_differ, np.arange(len(moved)), np.maximum.accumulate(sign * np.array(moved))))
        low, high = (min(low, -at_most), high) if sign < 0 else (low, max(high, at_most))
    return low, high


def _weights(value: Value, evidence: np.ndarray, other: np.ndarray, now: float) -> tuple[np.ndarray, np.ndarray]:
    """What replacing one row alone adds, and that row's place; rows that are the same are asked once."""
    rows = np.concatenate([evidence, other], axis=1)
    _, first, kind = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    asked = np.unique(np.linspace(0, len(first) - 1, min(len(first), MOST_KINDS)).astype(int))
    weights = np.full(len(first), np.nan)
    at_once = max(1, _CHUNK_NUMBERS // evidence.size)
    for start in range(0, len(asked), at_once):
        kinds = asked[start : start + at_once]
        many = np.repeat(evidence[None].astype(rows.dtype), len(kinds), axis=0)
        many[np.arange(len(kinds)), first[kinds]] = other[first[kinds]]
        weights[kinds] = value(many) - now
    of_each = weights[kind.ravel()]
    places = np.flatnonzero(np.isfinite(of_each))
    return of_each[places], places
