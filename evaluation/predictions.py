"""Per-example outputs on disk, so that any two runs on the same data can be compared pair by pair."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from compress.data import Split


def write_predictions(predictions: Mapping[str, np.ndarray], test: Split, folder: Path) -> None:
    """Write one `<target>.npz` a target: `scores` (examples, ...), `labels` (examples,) and the split's digest."""
    assert test.labels is not None, "nothing is measured on a split without labels"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, scores in predictions.items():
        np.savez_compressed(folder / f"{name}.npz", scores=scores, labels=test.labels, data=np.array(test.digest))
