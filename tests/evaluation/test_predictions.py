"""Predictions on disk hold what a comparison of two runs needs, and nothing of an earlier run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from tiny import tiny_split

from evaluation.predictions import write_predictions


def test_every_target_has_its_scores_beside_labels_and_digest(tmp_path: Path) -> None:
    test = tiny_split("test", 6)
    scores = {"a": np.zeros((6, 2), dtype=np.float32), "b": np.full((6, 4, 3), np.nan)}
    write_predictions(scores, test, tmp_path / "predictions")
    assert {file.name for file in (tmp_path / "predictions").iterdir()} == {"a.npz", "b.npz"}
    for name, expected in scores.items():
        with np.load(tmp_path / "predictions" / f"{name}.npz") as kept:
            np.testing.assert_array_equal(kept["scores"], expected)
            np.testing.assert_array_equal(kept["labels"], test.labels)
            assert str(kept["data"]) == test.digest


def test_a_split_without_labels_has_none_on_disk(tmp_path: Path) -> None:
    write_predictions({"a": np.zeros((6, 2))}, replace(tiny_split("test", 6), labels=None), tmp_path / "predictions")
    with np.load(tmp_path / "predictions" / "a.npz") as kept:
        assert set(kept.files) == {"scores", "data"}


def test_an_earlier_runs_predictions_are_gone(tmp_path: Path) -> None:
    for name in ("old", "new"):
        write_predictions({name: np.zeros((6, 2))}, tiny_split("test", 6), tmp_path / "predictions")
    assert [file.name for file in (tmp_path / "predictions").iterdir()] == ["new.npz"]
