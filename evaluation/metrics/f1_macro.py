"""Macro F1: the mean of every class's F1, so that a rare class counts as much as a frequent one."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from compress.settings import Settings
from evaluation.metrics.f1 import F1

if TYPE_CHECKING:
    from compress.metric import Reads
    from compress.task import Target


class F1Macro(Settings):
    """The mean over classes of each one's F1.

    As in scikit-learn it is the mean of F1s, not F1 of means (Opitz and Burst 2019, "Macro F1 and Macro F1"). A class
    that is neither true nor decided in a sample is left out of its mean; where all are, it is 0.
    """

    unit: ClassVar[str] = "ratio"
    higher_is_better: ClassVar[bool] = True
    relative_drop: ClassVar[bool] = False
    targets: ClassVar[tuple[Target | None, ...]] = ("class", "classes")
    reads: ClassVar[Reads] = "decisions"
    overstates: ClassVar[bool] = False

    target: str = Field("class", description="what the labels are: class or classes")
    classes: int | None = Field(
        None, ge=1, description="how many classes there are; left out: one more than the largest"
    )

    def evidence(self, truth: np.ndarray, decisions: np.ndarray) -> np.ndarray:
        """The true and the decided class, int64 (examples, 2); or, of several labels, for each one 2 where it is true
        and 1 more where it is decided, int64 (examples, labels).

        Args:
            truth: int (examples,), or (examples, labels) of 0 and 1.
            decisions: likewise.

        Raises:
            DataError: a class is negative or beyond `classes`.
        """
        if self.target == "classes":
            assert truth.shape == decisions.shape, (truth.shape, decisions.shape)
            return 2 * truth.astype(np.int64) + decisions
        return self._of_classes.evidence(truth, decisions)

    def value(self, evidence: np.ndarray) -> np.ndarray:
        """Macro F1: (..., examples, columns) gives (...)."""
        if self.target != "classes":
            return self._of_classes.value(evidence)
        hits, present = (evidence == 3).sum(-2), (evidence >> 1).sum(-2) + (evidence & 1).sum(-2)
        per_label = 2 * hits / np.maximum(present, 1)
        return np.asarray(per_label.sum(-1) / np.maximum((present > 0).sum(-1), 1))

    def ends(self, evidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Every decision right, and every one wrong: (examples, columns) gives two of these."""
        if self.target != "classes":
            return self._of_classes.ends(evidence)
        true = evidence >> 1
        return 3 * true, 1 + true

    @property
    def _of_classes(self) -> F1:
        return F1(average="macro", classes=self.classes)
