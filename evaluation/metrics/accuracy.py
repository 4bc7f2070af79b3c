"""Accuracy: the share of decisions that are right."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from compress.settings import Settings


class Accuracy(Settings):
    """The share of examples that were given their true class."""

    unit: ClassVar[str] = "ratio"
    higher_is_better: ClassVar[bool] = True

    def value(self, truth: np.ndarray, decisions: np.ndarray) -> np.ndarray:
        """Accuracy of integer classes: (..., examples) and (..., examples) give (...)."""
        return np.asarray(np.mean(truth == decisions, axis=-1))
