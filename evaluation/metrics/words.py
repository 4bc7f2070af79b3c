"""Tags of words as arrays of one width, whatever the longest text of a model or of a table is."""

from __future__ import annotations

import numpy as np

from compress.batching import IGNORED


def same_width(truth: np.ndarray, decisions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both filled up with -100 to the wider one's width, for a model reads no further than it can.

    Args:
        truth: int (examples, words).
        decisions: int (examples, other number of words).
    """
    assert len(truth) == len(decisions), (truth.shape, decisions.shape)
    width = max(truth.shape[1], decisions.shape[1])
    return _filled(truth, width), _filled(decisions, width)


def _filled(tags: np.ndarray, width: int) -> np.ndarray:
    return np.pad(tags, ((0, 0), (0, width - tags.shape[1])), constant_values=IGNORED)
