"""How a tensor is rounded to 8-bit integers, and how a product takes its outlier channels in columns of their own.

In Transformers a few channels hold numbers that are several times larger than all others' (Dettmers et al. 2022,
"LLM.int8()", section 4), so that most of a tensor's 256 integers stand for what hardly any channel holds. Here these
channels are rounded with a scale of their own and appended to the others as further columns, so that there is still
one product of integers: a column's larger scale goes into its row of the weights. It is repeated, its row divided,
until no row is larger than it was, as channels are in Zhao et al. 2019, "Improving Neural Network Quantization without
Retraining using Outlier Channel Splitting".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from compress.graph.calibration import RangeMethod, Seen, range_of

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

MOST_COLUMNS = 16
"""That are appended to a tensor."""
COLUMNS_AT_A_TIME = 4
"""What integer kernels take at once: the number of appended columns is a multiple of it."""
WORTH = 0.25
"""The share of the expected squared error that may be left where columns are appended; else none are."""
LEVELS = 255
"""Steps between the least and the greatest of 8-bit integers."""


@dataclass(frozen=True, eq=False)
class Grid:
    """How a tensor is rounded to unsigned 8-bit integers.

    Attributes:
        scale: what a step stands for.
        zero: the integer that stands for zero.
        columns: the channels that are appended, each as often as it is repeated; empty where there are none.
        column_scale: what a step stands for in these.
    """

    scale: float
    zero: int
    columns: Int[np.ndarray, "column"]
    column_scale: float

    def weights(self, weight: Float[np.ndarray, "channel output"]) -> Float[np.ndarray, "row output"]:
        """What channels and appended columns, both taken to have `scale`, are multiplied with to give what the channels
        times `weight` are."""
        if not len(self.columns):
            return weight
        main = weight.copy()
        main[self.columns] = 0.0
        times = np.bincount(self.columns, minlength=len(weight))[self.columns]
        rows = weight[self.columns] * (self.column_scale / self.scale / times)[:, None]
        return np.concatenate([main, rows.astype(weight.dtype)])

    def integers(
        self, weight: Float[np.ndarray, "channel output"], largest: int = 127
    ) -> tuple[Int[np.ndarray, "row output"], Float[np.ndarray, "output"]]:
        """`weights` as int8, and what a step stands for in each output. The rows of a channel that is repeated are
        rounded so that their sum is: rounded alike, their errors would add up.

        Args:
            largest: integer that is used.
        """
        exact = self.weights(weight)
        steps = np.maximum(np.abs(exact).max(axis=0), np.finfo(np.float32).tiny) / largest
        exact = exact / steps
        for channel in np.unique(self.columns):
            rows = len(weight) + np.flatnonzero(self.columns == channel)
            exact[rows] = np.diff(np.rint(np.cumsum(exact[rows], axis=0)), axis=0, prepend=0)
        return np.clip(np.rint(exact), -largest, largest).astype(np.int8), steps.astype(np.float32)


def grid_of(seen: Seen, energy: Float[np.ndarray, "channel"], method: RangeMethod, *, split_outliers: bool) -> Grid:
    """The grid of a tensor that products read.

    Args:
        energy: of each channel, the sum of the squared weights that read it.
        split_outliers: append columns for outlier channels, where they are worth it.
    """
    nothing = np.zeros(len(energy), dtype=bool)
    apart, times = outliers(seen, energy) if split_outliers else (nothing, 0)
    low, high = range_of(seen, ~apart, method)
    zero = _zero(low, high)
    column_scale = _column_step(zero, seen.lowest[apart], seen.highest[apart]) if apart.any() else 0.0
    scale = max((high - low) / LEVELS, column_scale / max(times, 1)) or 1.0
    columns = np.repeat(np.flatnonzero(apart), times)
    missing = -len(columns) % COLUMNS_AT_A_TIME
    columns = np.concatenate([columns, columns[:1].repeat(missing)]).astype(np.int64)
    return Grid(scale, zero, columns, column_scale or scale)


def outliers(seen: Seen, energy: Float[np.ndarray, "channel"]) -> tuple[Bool[np.ndarray, "channel"], int]:
    """The channels that are worth columns of their own, and how many columns each of them gets.

    As many of the widest are taken as leave the least expected error: the sum over channels of the squared step times
    what the weights make of it.
    """
    low, high = np.minimum(seen.lowest, 0.0), np.maximum(seen.highest, 0.0)
    order = np.argsort(-np.maximum(-low, high), kind="stable")
    best, count, times = WORTH * _step(low, high) ** 2 * energy.sum(), 0, 0
    for tried in range(1, min(MOST_COLUMNS, len(order) - 1) + 1):
        apart, rest = order[:tried], order[tried:]
        step = _step(low[rest], high[rest])
        if step == 0:
            break
        wide = _column_step(_zero(low[rest].min(), high[rest].max()), low[apart], high[apart])
        repeats = min(max(1, math.ceil(wide / step - 1e-6)), MOST_COLUMNS // tried)
        step = max(step, wide / repeats)  # no row of the weights may grow
        error = step**2 * energy[rest].sum() + wide**2 * energy[apart].sum()
        if error < best:
            best, count, times = error, tried, repeats
    found = np.zeros(len(low), dtype=bool)
    found[order[:count]] = True
    return found, times


def _step(low: np.ndarray, high: np.ndarray) -> float:
    return float(high.max() - low.min()) / LEVELS


def _zero(low: float, high: float) -> int:
    return round(-low / (high - low) * LEVELS) if high > low else 0


def _column_step(zero: int, low: np.ndarray, high: np.ndarray) -> float:
    """The step with which these fit, where zero is the same integer as that of the other channels; where none of those
    is below zero, what is below it here is clipped."""
    above, below = float(high.max()) / max(LEVELS - zero, 1), -float(low.min()) / max(zero, 1)
    return max(above, below)
