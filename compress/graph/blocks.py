"""A weight in blocks of 4-bit integers, as com.microsoft's MatMulNBits reads it: grids, packing, and the node.

onnxruntime's own k_quant can't pack weights of an odd number of blocks, and clips the zero of a block whose weights all
have one sign, which loses them; so its grids are taken only where they lose less than the plain ones, and packed here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from compress.graph.static import MICROSOFT

if TYPE_CHECKING:
    import onnx
    from jaxtyping import Float, Int

BLOCK = 32
"""Weights of one output that share a scale."""
LEVELS = 16
INT8_PRODUCTS = 4
"""onnxruntime's accuracy level at which its kernels round what flows in to 8 bits, and multiply integers."""


def grids(
    weight: Float[np.ndarray, "channel output"],
) -> tuple[Float[np.ndarray, "output block"], Int[np.ndarray, "output block"]]:
    """What a step stands for in each block, and which integer stands for zero: those of k_quant, as llama.cpp finds
    them, or the least and the greatest weight, whichever loses less."""
    from onnxruntime.quantization.neural_compressor.weight_only import quant_tensor_k_quant_cpu

    blocks = _blocks(weight)
    flat = blocks.reshape(-1, BLOCK)
    low, high = np.minimum(flat.min(axis=1), 0), np.maximum(flat.max(axis=1), 0)
    scale = np.where(high > low, (high - low) / (LEVELS - 1), 1).astype(np.float32)
    zero = np.rint(-low / scale).astype(np.uint8)
    with np.errstate(all="ignore"):  # of blocks that hold one number
        _, found, placed = quant_tensor_k_quant_cpu(flat, 4, BLOCK)
    other, its_zero = found[:, 0].astype(np.float32), placed[:, 0]
    usable = np.isfinite(other) & (other > 0)
    better = usable & (_lost(flat, np.where(usable, other, 1), its_zero) < _lost(flat, scale, zero))
    scale, zero = np.where(better, other, scale), np.where(better, its_zero, zero)
    return scale.reshape(blocks.shape[:2]), zero.reshape(blocks.shape[:2])


def spread(of_blocks: np.ndarray, channels: int) -> Float[np.ndarray, "channel output"]:
    """For each weight, what is (output, block)."""
    return np.repeat(of_blocks, BLOCK, axis=1)[:, :channels].T.astype(np.float32)


def tensors(
    name: str, integers: Int[np.ndarray, "channel output"], scale: np.ndarray, zero: np.ndarray
) -> list[onnx.TensorProto]:
    """What the node reads beside its input: integers, scales and zeros."""
    from onnx import numpy_helper

    filled = np.zeros((integers.shape[1], scale.shape[1] * BLOCK), dtype=np.uint8)
    filled[:, : len(integers)] = integers.T
    zeros = np.pad(zero, ((0, 0), (0, zero.shape[1] % 2)))
    held = {
        "int4": _pairs(filled).reshape(*scale.shape, BLOCK // 2),
        "scales": scale.astype(np.float32),
        "zeros": _pairs(zeros),
    }
    return [numpy_helper.from_array(value, f"{name}/{kind}") for kind, value in held.items()]


def product(node: onnx.NodeProto, held: list[str], channels: int, outputs: int) -> onnx.NodeProto:
    """The node that stands for a product whose weight is in blocks.

    Args:
        held: names of `tensors`.
    """
    from onnx import helper

    return helper.make_node(
        "MatMulNBits",
        [node.input[0], *held],
        list(node.output),
        name=node.name,
        domain=MICROSOFT,
        K=channels,
        N=outputs,
        bits=4,
        block_size=BLOCK,
        accuracy_level=INT8_PRODUCTS,
    )


def _blocks(weight: np.ndarray) -> Float[np.ndarray, "output block channel"]:
    """The last one filled up with zeros."""
    missing = -len(weight) % BLOCK
    turned = np.pad(weight.T, ((0, 0), (0, missing)))
    return turned.reshape(len(turned), -1, BLOCK)


def _lost(flat: np.ndarray, scale: np.ndarray, zero: np.ndarray) -> np.ndarray:
    """The squared error of each block."""
    steps = np.clip(np.rint(flat / scale[:, None]) + zero[:, None], 0, LEVELS - 1) - zero[:, None].astype(np.float32)
    lost: np.ndarray = np.square(steps * scale[:, None] - flat).sum(axis=1)
    return lost


def _pairs(numbers: np.ndarray) -> np.ndarray:
    """Two numbers of four bits in each byte, the first in the lower."""
    return numbers[:, ::2] | numbers[:, 1::2] << 4
