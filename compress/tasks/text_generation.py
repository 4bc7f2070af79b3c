"""Causal language modelling: each token of a text from the ones before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from compress.batching import IGNORED, Encoded, as_rows, encode_texts
from compress.tasks.one_word import OneWord

if TYPE_CHECKING:
    from jaxtyping import Float

    from compress.data import Split


class TextGeneration(OneWord):
    """The next token (Radford et al. 2018, section 3.1, equation 1), every text at once and without a cache.

    Every token of a text but its first is predicted, once, the special ones that a tokenizer adds included. A text that
    is longer than the model reads is cut: what is cut off counts for nothing.
    """

    name: ClassVar[str] = "text-generation"
    head: ClassVar[str] = "ForCausalLM"
    older_head: ClassVar[str] = "LMHeadModel"
    causal: ClassVar[bool | None] = True

    def encode(self, split: Split, processor: Any, *, max_tokens: int, seed: int) -> Encoded:
        found = encode_texts(split.texts, split.pairs, processor, max_tokens=max_tokens)
        # The label of a token is the one behind it: what the model says at the last one is of no text.
        labels = [np.array([*row[1:], IGNORED][: len(row)], dtype=np.int64) for row in found["input_ids"]]
        return as_rows(found, processor, labels=labels)

    def decide(self, predictions: Float[np.ndarray, "example token 3"]) -> Float[np.ndarray, "example token 3"]:
        return predictions
