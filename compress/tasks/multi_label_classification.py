"""Multi-label classification: each class is decided on its own; a text may have several, or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from compress.batching import Encoded, encode
from compress.task import Target, Task

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, Int
    from torch import Tensor

    from compress.data import Split


class MultiLabelClassification(Task):
    """One yes or no for each label; a label is given where its logit is above zero."""

    name: ClassVar[str] = "multi-label-classification"
    target: ClassVar[Target | None] = "classes"
    head: ClassVar[str] = "ForSequenceClassification"
    metrics: ClassVar[tuple[str, ...]] = ("f1", "accuracy")

    def settings(self, labels: Sequence[str]) -> Mapping[str, Any]:
        return {**super().settings(labels), "problem_type": "multi_label_classification"}

    def encode(self, split: Split, processor: Any, *, max_tokens: int, seed: int) -> Encoded:
        return encode(split, processor, max_tokens=max_tokens)

    def losses(
        self, scores: Float[Tensor, "example label"], labels: Int[Tensor, "example label"]
    ) -> Float[Tensor, "example"]:
        from torch.nn.functional import binary_cross_entropy_with_logits

        return binary_cross_entropy_with_logits(scores, labels.to(scores.dtype), reduction="none").mean(dim=-1)

    def distillation(
        self,
        student: Float[Tensor, "example label"],
        teacher: Float[Tensor, "example label"],
        inputs: Mapping[str, Tensor],
        labels: Tensor | None,
        *,
        temperature: float,
    ) -> Float[Tensor, ""]:
        from torch.nn.functional import binary_cross_entropy_with_logits

        target = (teacher / temperature).sigmoid()
        # Soft gradients shrink as 1/T^2 (Hinton et al. 2015, section 2); undone.
        return binary_cross_entropy_with_logits(student / temperature, target) * temperature**2

    def decide(self, predictions: Float[np.ndarray, "example label"]) -> Int[np.ndarray, "example label"]:
        return (predictions > 0).astype("int8")
