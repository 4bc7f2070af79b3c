"""Per-example outputs on disk, so that any two runs on the same data can be compared pair by pair."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from compress.data import Split


def write_predictions(predictions: Mapping[str, np.ndarray], test: Split, folder: Path) -> None:
    """Write one `<target>.npz` a target.

    Each holds `scores` (examples, ...), what the task predicts, in the order of the split; `labels` (examples, ...),
    absent where the split has none; and `data`, the split's digest.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    known: dict[str, Any] = {"data": np.array(test.digest)}
    if test.labels is not None:
        known["labels"] = test.labels
    for name, scores in predictions.items():
        np.savez_compressed(folder / f"{name}.npz", scores=scores, **known)
