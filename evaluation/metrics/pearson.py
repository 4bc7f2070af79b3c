"""Pearson's correlation of numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from compress.settings import Settings
from evaluation.metrics.correlation import correlated
from evaluation.metrics.ends import ends_of_numbers

if TYPE_CHECKING:
    from compress.metric import Reads
    from compress.task import Target


class Pearson(Settings):
    """How close the decided numbers are to a rising straight line of the true ones, from -1 to 1.

    It is the product-moment correlation (Pearson 1895). Where all true or all decided numbers are the same it is
    undefined, and given as 0.
    """

    unit: ClassVar[str] = "correlation"
    higher_is_better: ClassVar[bool] = True
    relative_drop: ClassVar[bool] = False
    targets: ClassVar[tuple[Target | None, ...]] = ("number",)
    reads: ClassVar[Reads] = "decisions"
    overstates: ClassVar[bool] = False

    def evidence(self, truth: np.ndarray, decisions: np.ndarray) -> np.ndarray:
        """The true and the decided number, float64 (examples, 2).

        Args:
            truth: float (examples,).
            decisions: likewise.
        """
        return np.stack([truth, decisions], axis=-1).astype(np.float64)

    def value(self, evidence: np.ndarray) -> np.ndarray:
        """Pearson's r: (..., examples, 2) gives (...)."""
        return correlated(evidence[..., 0], evidence[..., 1])

    def ends(self, evidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Every number in its place, and every one as far from it as can be: (examples, 2) gives two of these."""
        return ends_of_numbers(evidence)
