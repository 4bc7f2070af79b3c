"""Decisions as good and as bad as can be, for metrics that read a true and a decided value of each example."""

from __future__ import annotations

import numpy as np


def ends_of_classes(evidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every example decided rightly, and every one wrongly: for the rarest class of the others that occur, where a
    wrong decision harms most.

    Args:
        evidence: the true and the decided class, int (examples, 2).
    """
    truth = evidence[:, 0]
    counts = np.bincount(truth, minlength=max(2, int(evidence.max()) + 1))
    occurs = np.bincount(evidence.ravel(), minlength=len(counts)) > 0
    by_rarity = np.lexsort((counts, ~occurs))
    wrong = np.where(truth == by_rarity[0], by_rarity[1], by_rarity[0])
    return np.stack([truth, truth], axis=-1), np.stack([truth, wrong], axis=-1)


def ends_of_numbers(evidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every number decided in proportion to the true one, and every one at the end that is farther from it. Decided
    numbers stay within those of the sample; where these are all the same, within the true ones.

    Args:
        evidence: the true and the decided number, (examples, 2); or their places, which are whole.
    """
    truth, decided = evidence[:, 0], evidence[:, 1]
    low, high = _range(decided if np.ptp(decided) > 0 else truth)
    first, last = _range(truth)
    share = (truth - first) / (last - first) if last > first else np.zeros(len(truth))
    wrong = np.where(share > 0.5, low, high)
    right = low + share * (high - low)
    if np.issubdtype(evidence.dtype, np.integer):
        right = np.rint(right)
    best, worst = (np.stack([truth, each], axis=-1).astype(evidence.dtype) for each in (right, wrong))
    return best, worst


def ends_of_counts(evidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every label or entity found and none besides, and none found but as many wrong ones, one at least.

    Args:
        evidence: how many are right, true and decided, int (examples, 3).
    """
    true, decided = evidence[:, 1], evidence[:, 2]
    return (
        np.stack([true, true, true], axis=-1),
        np.stack([np.zeros_like(true), true, np.maximum(decided, 1)], axis=-1),
    )


def ends_of_scores(evidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every score 1, and every one 0: (examples, 1)."""
    return np.ones_like(evidence), np.zeros_like(evidence)


def _range(numbers: np.ndarray) -> tuple[float, float]:
    return float(numbers.min()), float(numbers.max())
