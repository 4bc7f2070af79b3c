"""F1: the harmonic mean of precision and recall."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from compress.errors import DataError
from compress.settings import Settings


class F1(Settings):
    """The harmonic mean of precision and recall: of class 1 with two classes, else the mean over classes.

    Give `classes` where their number is known: a sample may lack the last class, and `auto` then sees one too few.
    A class that is neither true nor decided anywhere is left out of the macro average, as scikit-learn does.
    """

    unit: ClassVar[str] = "ratio"
    higher_is_better: ClassVar[bool] = True

    average: Literal["auto", "binary", "macro", "micro"] = Field(
        "auto", description="binary: F1 of class 1; macro: mean over classes; auto: binary with two classes, else macro"
    )
    classes: int | None = Field(
        None, ge=2, description="how many classes there are; left out: one more than the largest"
    )

    def value(self, truth: np.ndarray, decisions: np.ndarray) -> np.ndarray:
        """F1 of integer classes: (..., examples) and (..., examples) give (...).

        Raises:
            DataError: a class is negative or beyond `classes`, or there are more than two and `average` is binary.
        """
        classes = self._class_count(truth, decisions)
        shape = np.broadcast_shapes(truth.shape, decisions.shape)
        truth, decisions = np.broadcast_to(truth, shape), np.broadcast_to(decisions, shape)
        # F1 = 2 TP / (2 TP + FP + FN), and the denominator is how often a class is true plus how often it is decided.
        hits = _tally(np.where(truth == decisions, truth, classes), classes)
        present = _tally(truth, classes) + _tally(decisions, classes)
        average = self.average if self.average != "auto" else ("binary" if classes == 2 else "macro")
        if average == "micro":
            return np.asarray(2 * hits.sum(-1) / present.sum(-1))
        per_class = 2 * hits / np.maximum(present, 1)
        if average == "binary":
            return np.asarray(per_class[..., 1])
        return np.asarray(per_class.sum(-1) / (present > 0).sum(-1))

    def _class_count(self, truth: np.ndarray, decisions: np.ndarray) -> int:
        largest, smallest = max(truth.max(), decisions.max()), min(truth.min(), decisions.min())
        classes = self.classes or max(int(largest) + 1, 2)
        if smallest < 0 or largest >= classes:
            raise DataError(f"f1: classes run from {smallest} to {largest}, wanted 0 to {classes - 1}")
        if self.average == "binary" and classes > 2:
            raise DataError(f"f1: {classes} classes, but average is binary, which is for two; wanted macro or micro?")
        return classes


def _tally(labels: np.ndarray, classes: int) -> np.ndarray:
    """How often each class stands in each row: (..., examples) gives (..., classes). The label `classes` counts not."""
    rows = labels.reshape(-1, labels.shape[-1])
    cells = rows + np.arange(len(rows))[:, None] * (classes + 1)
    counts = np.bincount(cells.ravel(), minlength=len(rows) * (classes + 1)).reshape(-1, classes + 1)
    return counts[:, :classes].reshape(*labels.shape[:-1], classes)
