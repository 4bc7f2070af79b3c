"""Embedding tables in four bits: blocks of a row share a scale, and a lookup unpacks the rows that it reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx
    from jaxtyping import Float, Int

BLOCKS = (128, 64, 32, 16)
"""Numbers that share a scale: the most of these that a row can be divided into."""
_NARROWER = np.linspace(0.6, 1.0, 9)
"""Shares of a block's range that are tried: what lies outside is clipped, the rest is rounded the finer."""
_ROWS = 4096
"""Rows that are searched at a time: each try makes copies of them all."""


def block_of(columns: int) -> int:
    """How many numbers of a row share a scale; 0 where the row has a length that can't be divided."""
    return next((block for block in BLOCKS if columns % block == 0), 0)


def four_bits(
    table: Float[np.ndarray, "row column"], block: int
) -> tuple[Int[np.ndarray, "row column"], Float[np.ndarray, "row block"]]:
    """Integers from -8 to 7, and the scale of each block, which of a few leaves the least squared error."""
    slabs = [_searched(table[first : first + _ROWS], block) for first in range(0, len(table), _ROWS)]
    integers, scales = zip(*slabs, strict=True)
    return np.concatenate(integers), np.concatenate(scales)


def packed(name: str, values: Int[np.ndarray, "row column"]) -> onnx.TensorProto:
    """A constant of four-bit integers, two of them in a byte, the first in the lower half."""
    from onnx import TensorProto

    pairs = values.reshape(-1, 2).astype(np.uint8) & 0xF
    raw = (pairs[:, 0] | pairs[:, 1] << 4).astype(np.uint8).tobytes()
    return TensorProto(name=name, data_type=TensorProto.INT4, dims=values.shape, raw_data=raw)


def _searched(table: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray]:
    blocks = table.reshape(len(table), -1, block)
    largest = np.maximum(np.abs(blocks).max(axis=-1), np.finfo(np.float32).tiny)
    best = np.full(largest.shape, np.inf)
    scales = np.zeros_like(largest)
    for share in _NARROWER:
        tried = largest * np.float32(share / 7)
        error = np.square(_rounded(blocks, tried) * tried[..., None] - blocks).sum(axis=-1)
        scales, best = np.where(error < best, tried, scales), np.minimum(error, best)
    return _rounded(blocks, scales).reshape(table.shape).astype(np.int8), scales.astype(np.float32)


def _rounded(blocks: np.ndarray, scales: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(blocks / scales[..., None]), -8, 7)
