"""Token classification: one tag for each word of a text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from compress.batching import IGNORED, Batch, Encoded, as_rows, encode_texts
from compress.task import Target, Task

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from compress.data import Split


class TokenClassification(Task):
    """One tag for each word: that of its first piece. Words are what white space parts, and keep their number.

    Texts are tokenized whole, as whoever uses the model will do it: word by word, a tokenizer that marks the space
    before a word would give other pieces.
    """

    name: ClassVar[str] = "token-classification"
    target: ClassVar[Target | None] = "tags"
    head: ClassVar[str] = "ForTokenClassification"
    head_reads: ClassVar[Literal["text", "tokens"]] = "tokens"
    metrics: ClassVar[tuple[str, ...]] = ("entity_f1", "accuracy")

    def encode(self, split: Split, processor: Any, *, max_tokens: int, seed: int) -> Encoded:
        found = encode_texts(
            split.texts, None, processor, max_tokens=max_tokens, wanted=("offset_mapping",), return_offsets_mapping=True
        )
        starts = [_first_pieces(row, text) for row, text in zip(found["offset_mapping"], split.texts, strict=True)]
        labels = None
        if split.labels is not None:
            labels = []
            for ids, start, tags in zip(found["input_ids"], starts, split.labels, strict=True):
                label = np.full(len(ids), IGNORED, dtype=np.int64)
                label[start[start >= 0]] = tags[: len(start)][start >= 0]
                labels.append(label)
        return as_rows(found, processor, labels=labels, notes={"first_pieces": starts})

    def losses(
        self, scores: Float[Tensor, "example tokens tag"], labels: Int[Tensor, "example tokens"]
    ) -> Float[Tensor, "example"]:
        from compress.training.losses import token_losses

        return token_losses(scores, labels)

    def distillation(
        self,
        student: Float[Tensor, "example tokens tag"],
        teacher: Float[Tensor, "example tokens tag"],
        inputs: Mapping[str, Tensor],
        labels: Tensor | None,
        *,
        temperature: float,
    ) -> Float[Tensor, ""]:
        from compress.training.losses import soft_labels

        real = inputs["attention_mask"].bool()
        return soft_labels(student[real], teacher[real], temperature=temperature)

    def predict(
        self, scores: Float[np.ndarray, "example tokens tag"], batch: Batch
    ) -> Float[np.ndarray, "example word tag"]:
        starts = batch.notes["first_pieces"]
        padding = batch.inputs["attention_mask"].argmax(axis=1)  # before the text, where a tokenizer pads on the left
        kept = np.full((len(starts), max(map(len, starts)), scores.shape[-1]), np.nan, dtype=np.float32)
        for row, start in enumerate(starts):
            there = np.flatnonzero(start >= 0)
            kept[row, there] = scores[row, start[there] + padding[row]]
        return kept

    def decide(self, predictions: Float[np.ndarray, "example word tag"]) -> Int[np.ndarray, "example word"]:
        """The tag of the highest score; `IGNORED` where there is no word, or it was cut off."""
        missing = np.isnan(predictions).any(axis=-1)
        return np.where(missing, IGNORED, np.nan_to_num(predictions).argmax(axis=-1))

    def alike(
        self, first: Float[np.ndarray, "example word tag"], second: Float[np.ndarray, "example word tag"]
    ) -> Float[np.ndarray, "example"]:
        """The share of an example's words that both models give the same tag."""
        ours, theirs = self.decide(first), self.decide(second)
        counted = (ours != IGNORED).sum(axis=1)
        equal = ((ours == theirs) & (ours != IGNORED)).sum(axis=1)
        return np.where(counted > 0, equal / np.maximum(counted, 1), 1.0)


def _first_pieces(offsets: list[tuple[int, int]], text: str) -> Int[np.ndarray, "word"]:
    """Where each word's first piece stands among the tokens; -1 for a word that was cut off, or has no piece.

    Args:
        offsets: the characters of each token; some tokenizers count the space before a word to its first piece.
    """
    lengths = np.array([len(word) for word in text.split(" ")])
    ends = np.cumsum(lengths + 1) - 1
    begun = np.array(offsets, dtype=np.int64).reshape(-1, 2)
    real = np.flatnonzero(begun[:, 0] < begun[:, 1])  # special tokens stand for no character
    # The first token that ends beyond the word's first character, if it begins before the word's last.
    order = np.searchsorted(begun[real, 1], ends - lengths, side="right")
    within = order < len(real)
    starts = np.full(len(lengths), -1, dtype=np.int64)
    starts[within] = real[order[within]]
    starts[within] = np.where(begun[starts[within], 0] < ends[within], starts[within], -1)
    return np.where(lengths > 0, starts, -1)
