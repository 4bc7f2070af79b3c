"""Expected calibration error: how far a model's confidence is from how often it is right."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from compress.settings import Settings

if TYPE_CHECKING:
    from compress.metric import Reads
    from compress.task import Target


class CalibrationError(Settings):
    """The mean distance between confidence and accuracy, over bins of confidence that count by their examples.

    It is the expected calibration error of Guo et al. (2017, "On Calibration of Modern Neural Networks", section 2,
    equation 3), with their 15 bins of equal width. Bins of equal width do not move with the sample, so that a resample
    is judged in the same bins, and figures can be compared with published ones. Each bin's own noise counts as
    distance: of a few hundred examples the figure lies too high (Roelofs et al. 2022), which the interval makes up
    for; a paired difference is troubled less.
    """

    unit: ClassVar[str] = "ratio"
    higher_is_better: ClassVar[bool] = False
    relative_drop: ClassVar[bool] = False
    targets: ClassVar[tuple[Target | None, ...]] = ("class",)
    reads: ClassVar[Reads] = "predictions"
    overstates: ClassVar[bool] = True

    bins: int = Field(15, ge=1, description="bins of equal width between 0 and 1")

    def evidence(self, truth: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        """The confidence in the decided class, and whether it is right, float64 (examples, 2).

        Args:
            truth: int (examples,).
            predictions: one logit for each class, (examples, classes).
        """
        from scipy.special import softmax

        shares = softmax(predictions.astype(np.float64), axis=-1)
        return np.stack([shares.max(-1), predictions.argmax(-1) == truth], axis=-1)

    def value(self, evidence: np.ndarray) -> np.ndarray:
        """The expected calibration error, from 0 to 1: (..., examples, 2) gives (...)."""
        confidence, right = evidence[..., 0], evidence[..., 1]
        rows = confidence.reshape(-1, confidence.shape[-1])
        # A bin holds its upper bound: confidence 1 belongs to the last.
        places = np.clip(np.ceil(rows * self.bins) - 1, 0, self.bins - 1).astype(np.int64)
        cells = places + np.arange(len(rows))[:, None] * self.bins
        gap = (right.reshape(rows.shape) - rows).ravel()
        gaps = np.bincount(cells.ravel(), weights=gap, minlength=len(rows) * self.bins).reshape(-1, self.bins)
        # A bin's share of all examples times the distance within it is the sum of its gaps over all examples.
        return np.asarray((np.abs(gaps).sum(-1) / rows.shape[-1]).reshape(confidence.shape[:-1]))

    def ends(self, evidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Every example surely right, and every one surely wrong: (examples, 2) gives two of these."""
        ones = np.ones(len(evidence))
        return np.stack([ones, ones], axis=-1), np.stack([ones, np.zeros_like(ones)], axis=-1)
