"""Span F1: how many words an answer shares with the true one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from compress.settings import Settings
from evaluation.metrics.answers import answered
from evaluation.metrics.ends import ends_of_scores

if TYPE_CHECKING:
    from compress.metric import Reads
    from compress.task import Target


class SpanF1(Settings):
    """F1 of an answer's words against the closest true answer's, averaged over the questions.

    Case, punctuation, articles and white space do not count (Rajpurkar et al. 2016, section 6.1). Where the true or the
    decided answer is none, F1 is 1 if both are none, else 0 (Rajpurkar et al. 2018).
    """

    unit: ClassVar[str] = "ratio"
    higher_is_better: ClassVar[bool] = True
    relative_drop: ClassVar[bool] = False
    targets: ClassVar[tuple[Target | None, ...]] = ("span",)
    reads: ClassVar[Reads] = "decisions"
    overstates: ClassVar[bool] = False

    texts: tuple[str, ...] = Field((), description="the context of each example")

    def evidence(self, truth: np.ndarray, decisions: np.ndarray) -> np.ndarray:
        """F1 of each answer, float64 (examples, 1).

        Args:
            truth: int (examples, answers, 2): start and end (exclusive) in the context; -1 where no answer is.
            decisions: int (examples, 2), likewise.
        """
        pairs = answered(truth, decisions, self.texts)
        return np.array([[max(_overlap(one, decided) for one in true)] for true, decided in pairs], dtype=np.float64)

    def value(self, evidence: np.ndarray) -> np.ndarray:
        """The mean: (..., examples, 1) gives (...)."""
        return np.asarray(evidence[..., 0].mean(-1))

    def ends(self, evidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Every answer right, and every one wrong: (examples, 1) gives two of these."""
        return ends_of_scores(evidence)


def _overlap(true: Sequence[str], decided: Sequence[str]) -> float:
    """F1 of two bags of words.

    >>> _overlap(("a", "b"), ("b", "c"))
    0.5
    """
    if not true or not decided:
        return float(true == decided)
    shared = (Counter(true) & Counter(decided)).total()
    return 2 * shared / (len(true) + len(decided))
