"""GPTQ (Frantar et al. 2022, algorithm 1): weights are rounded one channel after the other, and those that are still to
come make up for what rounding lost on inputs that were seen.

Grids are settled before, and channels go by how much flows in them, the widest first, as in the authors' later code
(`static_groups` and `act_order`). Quantizers that came with onnxruntime 1.31 and 1.32 read the factor of the inverse
Hessian on the side that is zero, so that nothing is made up for, and are no better than rounding to the nearest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, Int

DAMPING = 0.01
"""Of the Hessian's mean diagonal, what is added to it: channels in which nothing flowed have an inverse as well."""
LAZY = 128
"""Channels after which the others are told; the authors' block size."""


def integers(
    weight: Float[np.ndarray, "channel output"],
    scale: Float[np.ndarray, "channel output"],
    zero: Float[np.ndarray, "channel output"],
    inputs: Float[np.ndarray, "row channel"],
    *,
    levels: int,
) -> Int[np.ndarray, "channel output"]:
    """Which integers stand for the weights, such that products with inputs like these lose least.

    Args:
        scale: what a step stands for, for each weight.
        zero: the integer that stands for zero.
        inputs: rows that were multiplied with the weights.
        levels: of an integer, which is 0 to levels - 1.
    """
    rows = inputs.astype(np.float64)
    hessian = rows.T @ rows / len(rows)
    damping = DAMPING * float(np.diag(hessian).mean()) or 1.0
    hessian[np.diag_indices_from(hessian)] += damping
    order = np.argsort(-np.diag(hessian), kind="stable")
    # Row i holds what rounding channel i moves in the later ones: the upper factor of the inverse.
    factor = np.linalg.cholesky(np.linalg.inv(hessian[np.ix_(order, order)])).T.astype(np.float32)
    left, steps, zeros = weight[order].astype(np.float32), scale[order], zero[order]
    found = np.empty(left.shape, dtype=np.uint8)
    for start in range(0, len(left), LAZY):
        end = min(start + LAZY, len(left))
        lost = np.empty_like(left[start:end])
        for i in range(start, end):
            found[i] = np.clip(np.rint(left[i] / steps[i]) + zeros[i], 0, levels - 1)
            lost[i - start] = (left[i] - (found[i] - zeros[i]) * steps[i]) / factor[i, i]
            left[i + 1 : end] -= np.outer(factor[i, i + 1 : end], lost[i - start])
        left[end:] -= factor[start:end, end:].T @ lost
    return found[np.argsort(order)]
