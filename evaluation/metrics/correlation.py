"""The product-moment correlation of two columns, row by row."""

from __future__ import annotations

import numpy as np


def correlated(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Pearson's r: (..., examples) and (..., examples) give (...); 0 where either is the same everywhere.

    It is undefined there; a model that answers the same to everything knows nothing of the order.
    """
    constant = (first == first[..., :1]).all(-1) | (second == second[..., :1]).all(-1)
    first, second = first - first.mean(-1, keepdims=True), second - second.mean(-1, keepdims=True)
    # Roots apart, as the product of two small sums of squares may vanish.
    scale = np.sqrt((first**2).sum(-1)) * np.sqrt((second**2).sum(-1))
    constant |= scale == 0
    r = (first * second).sum(-1) / np.where(constant, 1, scale)
    return np.asarray(np.where(constant, 0.0, np.clip(r, -1, 1)))  # rounding may lead past 1
