"""Spearman's correlation of ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from compress.settings import Settings
from evaluation.metrics.correlation import correlated
from evaluation.metrics.ends import ends_of_numbers

if TYPE_CHECKING:
    from compress.metric import Reads
    from compress.task import Target


class Spearman(Settings):
    """How well the decided numbers keep the order of the true ones, from -1 to 1.

    It is Pearson's correlation of their ranks, equal numbers sharing the mean of theirs (Spearman 1904). Where all
    true or all decided numbers are the same it is undefined, and given as 0.
    """

    unit: ClassVar[str] = "correlation"
    higher_is_better: ClassVar[bool] = True
    relative_drop: ClassVar[bool] = False
    targets: ClassVar[tuple[Target | None, ...]] = ("number",)
    reads: ClassVar[Reads] = "decisions"
    overstates: ClassVar[bool] = False

    def evidence(self, truth: np.ndarray, decisions: np.ndarray) -> np.ndarray:
        """The places of the true and of the decided number among the distinct ones, int64 (examples, 2).

        They hold the whole order, and counting them ranks a resample several times faster than sorting its numbers.

        Args:
            truth: float (examples,).
            decisions: likewise.
        """
        return np.stack([np.unique(numbers, return_inverse=True)[1] for numbers in (truth, decisions)], axis=-1)

    def value(self, evidence: np.ndarray) -> np.ndarray:
        """Spearman's rho: (..., examples, 2) gives (...)."""
        return correlated(_ranks(evidence[..., 0]), _ranks(evidence[..., 1]))

    def ends(self, evidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Every number in its place, and every one as far from it as can be: (examples, 2) gives two of these."""
        return ends_of_numbers(evidence)


def _ranks(places: np.ndarray) -> np.ndarray:
    """The rank of each place within its row, equal ones sharing their mean: (..., examples) both."""
    rows = places.reshape(-1, places.shape[-1])
    distinct = int(rows.max()) + 1
    cells = rows + np.arange(len(rows))[:, None] * distinct
    counts = np.bincount(cells.ravel(), minlength=len(rows) * distinct).reshape(-1, distinct)
    mean_ranks = np.cumsum(counts, axis=-1) - (counts - 1) / 2
    return mean_ranks.ravel()[cells].reshape(places.shape)
