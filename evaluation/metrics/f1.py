"""F1: the harmonic mean of precision and recall, of classes and of labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from compress.errors import DataError
from compress.settings import Settings
from evaluation.metrics.ends import ends_of_classes, ends_of_counts

if TYPE_CHECKING:
    from compress.metric import Reads
    from compress.task import Target


class F1(Settings):
    """The harmonic mean of precision and recall: of class 1 with two classes, else the mean over classes.

    Where an example has several labels it is that of all labels of all examples together (micro). F1 is from van
    Rijsbergen (1979, "Information Retrieval", chapter 7). Give `classes` where their number is known: a sample may
    lack the last class, and `auto` then sees one too few. As in scikit-learn, a class that is neither true nor decided
    anywhere is left out of the macro average, and several labels of which none is true or decided anywhere give 0.
    """

    unit: ClassVar[str] = "ratio"
    higher_is_better: ClassVar[bool] = True
    relative_drop: ClassVar[bool] = False
    targets: ClassVar[tuple[Target | None, ...]] = ("class", "classes")
    reads: ClassVar[Reads] = "decisions"
    overstates: ClassVar[bool] = False

    average: Literal["auto", "binary", "macro", "micro"] = Field(
        "auto",
        description="binary: F1 of class 1; macro: mean over classes; micro: of all counts together; "
        "auto: micro with several labels, binary with two classes, else macro",
    )
    classes: int | None = Field(
        None, ge=1, description="how many classes there are; left out: one more than the largest"
    )

    def evidence(self, truth: np.ndarray, decisions: np.ndarray) -> np.ndarray:
        """The true and the decided class, int64 (examples, 2); or, of several labels, how many are true and decided,
        how many are true and how many are decided, int64 (examples, 3).

        Args:
            truth: int (examples,), or (examples, labels) of 0 and 1.
            decisions: likewise.

        Raises:
            DataError: a class is negative or beyond `classes`, or `average` is not for such labels.
        """
        assert truth.shape == decisions.shape, (truth.shape, decisions.shape)
        if truth.ndim == 2:
            if self.average not in ("auto", "micro"):
                raise DataError(f"f1: average is {self.average}, but examples have several labels; wanted micro")
            counts = [(truth & decisions).sum(-1), truth.sum(-1), decisions.sum(-1)]
            return np.stack(counts, axis=-1).astype(np.int64)
        found = np.stack([truth, decisions], axis=-1).astype(np.int64)
        classes, smallest, largest = self._class_count(found), int(found.min()), int(found.max())
        if smallest < 0 or largest >= classes:
            raise DataError(f"f1: classes run from {smallest} to {largest}, wanted 0 to {classes - 1}")
        if self.average == "binary" and classes > 2:
            raise DataError(f"f1: {classes} classes, but average is binary, which is for two; wanted macro or micro?")
        return found

    def value(self, evidence: np.ndarray) -> np.ndarray:
        """F1: (..., examples, 2 or 3) gives (...)."""
        # F1 = 2 TP / (2 TP + FP + FN), and the denominator is how often a class is true plus how often it is decided.
        if evidence.shape[-1] == 3:
            both, true, decided = np.moveaxis(evidence.sum(-2), -1, 0)
            return np.asarray(2 * both / np.maximum(true + decided, 1))
        classes = self._class_count(evidence)
        truth, decisions = evidence[..., 0], evidence[..., 1]
        hits = _tally(np.where(truth == decisions, truth, classes), classes)
        present = _tally(truth, classes) + _tally(decisions, classes)
        average = self.average if self.average != "auto" else ("binary" if classes == 2 else "macro")
        if average == "micro":
            return np.asarray(2 * hits.sum(-1) / present.sum(-1))
        per_class = 2 * hits / np.maximum(present, 1)
        if average == "binary":
            return np.asarray(per_class[..., 1])
        return np.asarray(per_class.sum(-1) / (present > 0).sum(-1))

    def ends(self, evidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Every decision right, and every one wrong: (examples, 2 or 3) gives two of these."""
        return ends_of_counts(evidence) if evidence.shape[1] == 3 else ends_of_classes(evidence)

    def _class_count(self, found: np.ndarray) -> int:
        return self.classes or max(int(found.max()) + 1, 2)


def _tally(labels: np.ndarray, classes: int) -> np.ndarray:
    """How often each class stands in each row: (..., examples) gives (..., classes). The label `classes` counts not."""
    rows = labels.reshape(-1, labels.shape[-1])
    cells = rows + np.arange(len(rows))[:, None] * (classes + 1)
    counts = np.bincount(cells.ravel(), minlength=len(rows) * (classes + 1)).reshape(-1, classes + 1)
    return counts[:, :classes].reshape(*labels.shape[:-1], classes)
