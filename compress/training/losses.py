"""Losses that tasks and distillation share: what a model is to learn, one function a kind of knowledge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from compress.batching import IGNORED

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


def soft_labels(
    student: Float[Tensor, "row label"], teacher: Float[Tensor, "row label"], *, temperature: float
) -> Float[Tensor, ""]:
    """KL divergence from the teacher's softened distribution to the student's, averaged over the rows.

    Hinton et al. 2015, "Distilling the Knowledge in a Neural Network", section 2.
    """
    from torch.nn.functional import kl_div, log_softmax

    divergence = kl_div(
        log_softmax(student / temperature, dim=-1),
        log_softmax(teacher / temperature, dim=-1),
        log_target=True,
        reduction="sum",
    )
    # Soft gradients shrink as 1/T^2 (ibid.); undone, so that a weight means the same at every temperature.
    return divergence / max(len(student), 1) * temperature**2


def hidden_states(
    student: Sequence[Float[Tensor, "token width"]], teacher: Sequence[Float[Tensor, "token width"]]
) -> Float[Tensor, ""]:
    """Mean squared error between paired layers' outputs, averaged over layers.

    Jiao et al. 2020, "TinyBERT", equation 8, without the projection: student and teacher share the hidden size.
    """
    from torch.nn.functional import mse_loss

    errors = [mse_loss(ours, theirs) for ours, theirs in zip(student, teacher, strict=True)]
    return sum(errors[1:], errors[0]) / len(errors)


def token_losses(
    scores: Float[Tensor, "example tokens label"], labels: Int[Tensor, "example tokens"]
) -> Float[Tensor, "example"]:
    """Each example's cross-entropy, averaged over the tokens that have a label; 0 where none has."""
    from torch.nn.functional import cross_entropy

    each = cross_entropy(scores.transpose(1, 2), labels, ignore_index=IGNORED, reduction="none")
    return each.sum(dim=1) / (labels != IGNORED).sum(dim=1).clamp(min=1)
