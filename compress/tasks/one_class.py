"""What tasks that choose one of several classes share: their losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from compress.task import Target, Task

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


class OneClass(Task):
    """One score per class goes in; cross-entropy against the true class, or KL divergence from the teacher's."""

    target: ClassVar[Target | None] = "class"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "f1", "calibration_error")

    def losses(
        self, scores: Float[Tensor, "example label"], labels: Int[Tensor, "example"]
    ) -> Float[Tensor, "example"]:
        from torch.nn.functional import cross_entropy

        return cross_entropy(scores, labels, reduction="none")

    def distillation(
        self,
        student: Float[Tensor, "example label"],
        teacher: Float[Tensor, "example label"],
        inputs: Mapping[str, Tensor],
        labels: Tensor | None,
        *,
        temperature: float,
    ) -> Float[Tensor, ""]:
        from compress.training.losses import soft_labels

        return soft_labels(student, teacher, temperature=temperature)
