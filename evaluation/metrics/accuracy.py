"""Accuracy: the share of decisions that are right."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from compress.settings import Settings
from evaluation.metrics.ends import ends_of_scores
from evaluation.metrics.words import same_width

if TYPE_CHECKING:
    from compress.metric import Reads
    from compress.task import Target


class Accuracy(Settings):
    """The share of decisions that are right: of examples, or of words where each word has a tag.

    An example with several labels is right when all of them are. A word that was cut off is wrong.
    """

    unit: ClassVar[str] = "ratio"
    higher_is_better: ClassVar[bool] = True
    relative_drop: ClassVar[bool] = False
    targets: ClassVar[tuple[Target | None, ...]] = ("class", "classes", "tags")
    reads: ClassVar[Reads] = "decisions"
    overstates: ClassVar[bool] = False

    target: str = Field("class", description="what the labels are: class, classes or tags")

    def evidence(self, truth: np.ndarray, decisions: np.ndarray) -> np.ndarray:
        """Whether each example is right, int64 (examples, 1); for tags, right words and words, int64 (examples, 2).

        Args:
            truth: int (examples,); (examples, labels) of 0 and 1; or tags (examples, words), -100 where no word is.
            decisions: likewise; fewer or more words than `truth` has are filled up with -100.
        """
        if self.target == "tags":
            truth, decisions = same_width(truth, decisions)
            words = truth >= 0
            return np.stack([(words & (truth == decisions)).sum(-1), words.sum(-1)], axis=-1)
        assert truth.shape == decisions.shape, (truth.shape, decisions.shape)
        return (truth == decisions).reshape(len(truth), -1).all(axis=1, keepdims=True).astype(np.int64)

    def value(self, evidence: np.ndarray) -> np.ndarray:
        """Accuracy: (..., examples, 1 or 2) gives (...); NaN where no example has a word."""
        right = evidence[..., 0].sum(-1)
        if evidence.shape[-1] == 1:
            return np.asarray(right / evidence.shape[-2])
        counted = evidence[..., 1].sum(-1)
        return np.asarray(np.where(counted > 0, right / np.maximum(counted, 1), np.nan))

    def ends(self, evidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Every decision right, and every one wrong: (examples, 1 or 2) gives two of these."""
        if evidence.shape[1] == 1:
            return ends_of_scores(evidence)
        words = evidence[:, 1]
        return np.stack([words, words], axis=-1), np.stack([np.zeros_like(words), words], axis=-1)
