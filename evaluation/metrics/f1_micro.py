"""Micro F1: F1 of the counts of all classes together."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from compress.settings import Settings
from evaluation.metrics.f1 import F1

if TYPE_CHECKING:
    from compress.metric import Reads
    from compress.task import Target


class F1Micro(Settings):
    """F1 of hits, misses and false alarms counted over all classes. Of one class an example, it equals accuracy."""

    unit: ClassVar[str] = "ratio"
    higher_is_better: ClassVar[bool] = True
    relative_drop: ClassVar[bool] = False
    targets: ClassVar[tuple[Target | None, ...]] = ("class", "classes")
    reads: ClassVar[Reads] = "decisions"
    overstates: ClassVar[bool] = False

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
            DataError: a class is negative or beyond `classes`.
        """
        return self._f1.evidence(truth, decisions)

    def value(self, evidence: np.ndarray) -> np.ndarray:
        """Micro F1: (..., examples, 2 or 3) gives (...)."""
        return self._f1.value(evidence)

    def ends(self, evidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Every decision right, and every one wrong: (examples, 2 or 3) gives two of these."""
        return self._f1.ends(evidence)

    @property
    def _f1(self) -> F1:
        return F1(average="micro", classes=self.classes)
