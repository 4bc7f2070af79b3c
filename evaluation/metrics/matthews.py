"""The Matthews correlation coefficient, for two classes and for more."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from compress.errors import DataError
from compress.settings import Settings
from evaluation.metrics.ends import ends_of_classes

if TYPE_CHECKING:
    from compress.metric import Reads
    from compress.task import Target


class Matthews(Settings):
    """The correlation between the true and the decided classes, from -1 to 1; 0 is no better than chance.

    With more than two classes it is R_K (Gorodkin 2004, "Comparing two K-category assignments by a K-category
    correlation coefficient"). Where only one class is true or only one is decided it is undefined, and given as 0.
    """

    unit: ClassVar[str] = "correlation"
    higher_is_better: ClassVar[bool] = True
    relative_drop: ClassVar[bool] = False
    targets: ClassVar[tuple[Target | None, ...]] = ("class",)
    reads: ClassVar[Reads] = "decisions"
    overstates: ClassVar[bool] = False

    def evidence(self, truth: np.ndarray, decisions: np.ndarray) -> np.ndarray:
        """The true and the decided class, int64 (examples, 2).

        Args:
            truth: int (examples,).
            decisions: likewise.

        Raises:
            DataError: a class is negative.
        """
        found = np.stack([truth, decisions], axis=-1).astype(np.int64)
        if (smallest := int(found.min())) < 0:
            raise DataError(f"matthews: a class is {smallest}, wanted 0 or more")
        return found

    def value(self, evidence: np.ndarray) -> np.ndarray:
        """R_K: (..., examples, 2) gives (...)."""
        truth, decisions = evidence[..., 0], evidence[..., 1]
        classes, examples = int(evidence.max()) + 1, evidence.shape[-2]
        true, decided = _tally(truth, classes), _tally(decisions, classes)
        right = (truth == decisions).sum(-1)
        # Gorodkin's covariances over the classes' indicator columns, each times the squared number of examples.
        covariance = right * examples - (true * decided).sum(-1)
        spread_true, spread_decided = examples**2 - (true**2).sum(-1), examples**2 - (decided**2).sum(-1)
        # Two roots rather than one of the product, which leaves int64 from some 50,000 examples on.
        scale = np.sqrt(spread_true) * np.sqrt(spread_decided)
        return np.asarray(np.where(scale > 0, covariance / np.where(scale > 0, scale, 1), 0.0))

    def ends(self, evidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Every decision right, and every one wrong: (examples, 2) gives two of these."""
        return ends_of_classes(evidence)


def _tally(labels: np.ndarray, classes: int) -> np.ndarray:
    """How often each class stands in each row: (..., examples) gives (..., classes)."""
    rows = labels.reshape(-1, labels.shape[-1])
    cells = rows + np.arange(len(rows))[:, None] * classes
    return np.bincount(cells.ravel(), minlength=len(rows) * classes).reshape(*labels.shape[:-1], classes)
