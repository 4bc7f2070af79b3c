"""Exact match: the share of answers that are one of the true ones, word for word."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from compress.settings import Settings
from evaluation.metrics.answers import answered
from evaluation.metrics.ends import ends_of_scores

if TYPE_CHECKING:
    from compress.metric import Reads
    from compress.task import Target


class ExactMatch(Settings):
    """The share of questions whose answer has the same words as a true one.

    Case, punctuation, articles and white space do not count (Rajpurkar et al. 2016, section 6.1). Where there is no
    answer, saying so is right (Rajpurkar et al. 2018).
    """

    unit: ClassVar[str] = "ratio"
    higher_is_better: ClassVar[bool] = True
    relative_drop: ClassVar[bool] = False
    targets: ClassVar[tuple[Target | None, ...]] = ("span",)
    reads: ClassVar[Reads] = "decisions"
    overstates: ClassVar[bool] = False

    texts: tuple[str, ...] = Field((), description="the context of each example")

    def evidence(self, truth: np.ndarray, decisions: np.ndarray) -> np.ndarray:
        """Whether each answer is right, int64 (examples, 1).

        Args:
            truth: int (examples, answers, 2): start and end (exclusive) in the context; -1 where no answer is.
            decisions: int (examples, 2), likewise.
        """
        pairs = answered(truth, decisions, self.texts)
        return np.array([[decided in true] for true, decided in pairs], dtype=np.int64)

    def value(self, evidence: np.ndarray) -> np.ndarray:
        """The share that is right: (..., examples, 1) gives (...)."""
        return np.asarray(evidence[..., 0].mean(-1))

    def ends(self, evidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Every answer right, and every one wrong: (examples, 1) gives two of these."""
        return ends_of_scores(evidence)
