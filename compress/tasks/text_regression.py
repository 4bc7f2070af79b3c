"""Text regression: one text, or a pair, goes in; one number comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from compress.batching import Batch, Encoded, encode
from compress.task import Target, Task

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from compress.data import Split


class TextRegression(Task):
    """One number for each text, or pair of texts, such as the similarity of two sentences."""

    name: ClassVar[str] = "text-regression"
    target: ClassVar[Target | None] = "number"
    head: ClassVar[str] = "ForSequenceClassification"
    metrics: ClassVar[tuple[str, ...]] = ("spearman", "pearson")

    def settings(self, labels: Sequence[str]) -> Mapping[str, Any]:
        return {"num_labels": 1, "problem_type": "regression"}

    def encode(self, split: Split, processor: Any, *, max_tokens: int, seed: int) -> Encoded:
        return encode(split, processor, max_tokens=max_tokens)

    def losses(self, scores: Float[Tensor, "example 1"], labels: Float[Tensor, "example"]) -> Float[Tensor, "example"]:
        return (scores[:, 0] - labels.to(scores.dtype)) ** 2

    def distillation(
        self,
        student: Float[Tensor, "example 1"],
        teacher: Float[Tensor, "example 1"],
        inputs: Mapping[str, Tensor],
        labels: Tensor | None,
        *,
        temperature: float,
    ) -> Float[Tensor, ""]:
        from torch.nn.functional import mse_loss

        return mse_loss(student, teacher)

    def predict(self, scores: Float[np.ndarray, "example 1"], batch: Batch) -> Float[np.ndarray, "example"]:
        return scores[:, 0]

    def decide(self, predictions: Float[np.ndarray, "example"]) -> Float[np.ndarray, "example"]:
        return predictions

    def alike(
        self, first: Float[np.ndarray, "example"], second: Float[np.ndarray, "example"]
    ) -> Float[np.ndarray, "example"]:
        """1 where the numbers differ by less than a twentieth of the first model's range, else 0."""
        close = np.abs(first - second) <= max(float(np.ptp(first)) / 20, 1e-6)
        return close.astype(np.float64)
