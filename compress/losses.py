"""Distillation losses: what a student is to learn from its teacher, one function a kind of knowledge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor


def soft_labels(
    student: Float[Tensor, "batch label"], teacher: Float[Tensor, "batch label"], *, temperature: float
) -> Float[Tensor, ""]:
    """KL divergence from the teacher's softened distribution to the student's, averaged over the batch.

    Hinton et al. 2015, "Distilling the Knowledge in a Neural Network", section 2.
    """
    from torch.nn.functional import kl_div, log_softmax

    divergence = kl_div(
        log_softmax(student / temperature, dim=-1),
        log_softmax(teacher / temperature, dim=-1),
        log_target=True,
        reduction="batchmean",
    )
    # Soft gradients shrink as 1/T^2 (ibid.); undone, so that a weight means the same at every temperature.
    return divergence * temperature**2


def hidden_states(
    student: Sequence[Float[Tensor, "batch tokens width"]],
    teacher: Sequence[Float[Tensor, "batch tokens width"]],
    real: Bool[Tensor, "batch tokens"],
) -> Float[Tensor, ""]:
    """Mean squared error between paired layers' outputs on real tokens, averaged over layers.

    Jiao et al. 2020, "TinyBERT", equation 8, without the projection: student and teacher share the hidden size.
    """
    from torch.nn.functional import mse_loss

    pairs = zip(student, teacher, strict=True)
    errors = [mse_loss(ours[real], theirs[real]) for ours, theirs in pairs]
    return sum(errors[1:], errors[0]) / len(errors)
