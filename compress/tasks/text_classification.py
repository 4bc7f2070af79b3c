"""Text classification: one text, or a pair, goes in; one score per class comes out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from compress.batching import Encoded, encode
from compress.tasks.one_class import OneClass

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, Int

    from compress.data import Split


class TextClassification(OneClass):
    """One class for each text, or pair of texts; the decision is the class with the highest score."""

    name: ClassVar[str] = "text-classification"
    head: ClassVar[str] = "ForSequenceClassification"

    def encode(self, split: Split, processor: Any, *, max_tokens: int, seed: int) -> Encoded:
        return encode(split, processor, max_tokens=max_tokens)

    def decide(self, predictions: Float[np.ndarray, "example label"]) -> Int[np.ndarray, "example"]:
        return predictions.argmax(axis=-1)
