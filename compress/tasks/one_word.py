"""What tasks share that find one word of the vocabulary for each of some tokens: losses, and what is kept of scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from compress.batching import IGNORED, Batch
from compress.task import Target, Task

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


class OneWord(Task):
    """A score for every word of the vocabulary at each token; the label is the word wanted there, `IGNORED` where none
    is. Every text is its own label."""

    target: ClassVar[Target | None] = None
    head_reads: ClassVar[Literal["text", "tokens"]] = "tokens"
    scores_words: ClassVar[bool] = True
    metrics: ClassVar[tuple[str, ...]] = ("perplexity",)

    def losses(
        self, scores: Float[Tensor, "example tokens word"], labels: Int[Tensor, "example tokens"]
    ) -> Float[Tensor, "example"]:
        from compress.training.losses import token_losses

        return token_losses(scores, labels)

    def distillation(
        self,
        student: Float[Tensor, "example tokens word"],
        teacher: Float[Tensor, "example tokens word"],
        inputs: Mapping[str, Tensor],
        labels: Tensor | None,
        *,
        temperature: float,
    ) -> Float[Tensor, ""]:
        """On the tokens that have a label alone, averaged over them."""
        from compress.training.losses import soft_labels

        assert labels is not None, "this task labels every split itself"
        wanted = labels != IGNORED
        return soft_labels(student[wanted], teacher[wanted], temperature=temperature)

    def predict(
        self, scores: Float[np.ndarray, "example tokens word"], batch: Batch
    ) -> Float[np.ndarray, "example token 3"]:
        """Of each token that has a label: the label, the likeliest word, and the label's negative log-likelihood in
        nats."""
        from scipy.special import log_softmax

        assert batch.labels is not None, "this task labels every split itself"
        rows, places = np.nonzero(batch.labels != IGNORED)
        true = batch.labels[rows, places]
        said = log_softmax(scores[rows, places].astype(np.float64), axis=-1)
        counts = np.bincount(rows, minlength=len(scores))
        kept = np.full((len(scores), max(int(counts.max(initial=0)), 1), 3), np.nan)
        order = np.concatenate([np.arange(count) for count in counts]).astype(np.int64)
        kept[rows, order, 0] = true
        kept[rows, order, 1] = said.argmax(axis=-1)
        kept[rows, order, 2] = -said[np.arange(len(true)), true]
        return kept

    def comparable(
        self, first: Float[np.ndarray, "example token 3"], second: Float[np.ndarray, "example token 3"]
    ) -> bool:
        """Not where other words are wanted, or have other numbers: of fewer words, the right one is easier to say."""
        return np.array_equal(first[..., 0], second[..., 0], equal_nan=True)

    def alike(
        self, first: Float[np.ndarray, "example token 3"], second: Float[np.ndarray, "example token 3"]
    ) -> Float[np.ndarray, "example"]:
        """The share of an example's labelled tokens for which both models find the same word likeliest."""
        there = ~np.isnan(first[..., 1])
        equal = ((first[..., 1] == second[..., 1]) & there).sum(axis=1)
        counted = there.sum(axis=1)
        return np.where(counted > 0, equal / np.maximum(counted, 1), 1.0)
