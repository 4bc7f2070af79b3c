"""Predictions on disk hold what a comparison of two runs needs, and nothing of an earlier run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import tiny_split

from compress.errors import DataError
from evaluation.quality.predictions import read_predictions, write_predictions


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
        assert set(kept.files) == {"scores", "data", "names", "examples", "task"}
    assert read_predictions(tmp_path / "predictions" / "a.npz").labels is None


def test_an_earlier_runs_predictions_are_gone(tmp_path: Path) -> None:
    for name in ("old", "new"):
        write_predictions({name: np.zeros((6, 2))}, tiny_split("test", 6), tmp_path / "predictions")
    assert [file.name for file in (tmp_path / "predictions").iterdir()] == ["new.npz"]


def test_what_was_written_is_read(tmp_path: Path) -> None:
    test, scores = tiny_split("test", 6), np.arange(12.0).reshape(6, 2)
    evidence = {"a": {"span_f1": np.ones((6, 1))}}
    write_predictions({"a": scores, "b": scores}, test, tmp_path, task="question-answering", evidence=evidence)
    found = read_predictions(tmp_path / "a.npz")
    np.testing.assert_array_equal(found.scores, scores)
    assert (found.data, found.names, found.task) == (test.digest, test.label_names, "question-answering")
    assert found.evidence["span_f1"].shape == (6, 1)
    assert read_predictions(tmp_path / "b.npz").evidence == {}


def test_each_example_has_a_hash_of_its_own_text_whatever_stands_beside_it(tmp_path: Path) -> None:
    test = tiny_split("test", 6)
    order = np.array([3, 1, 5])
    write_predictions({"a": np.zeros((6, 2))}, test, tmp_path / "all")
    write_predictions({"a": np.zeros((3, 2))}, test.rows(order), tmp_path / "some")
    everything, some = (read_predictions(tmp_path / each / "a.npz").examples for each in ("all", "some"))
    assert everything is not None
    np.testing.assert_array_equal(some, everything[order])


def test_a_file_of_an_older_version_is_read(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", scores=np.zeros((4, 2)), labels=np.zeros(4), data=np.array("sha256:0"))
    found = read_predictions(tmp_path / "a.npz")
    assert (found.names, found.examples, found.task) == (None, None, "")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"scores": np.zeros((4, 2))}, r"a\.npz: wanted the arrays scores and data, got scores"),
        ({"scores": np.zeros((3, 2)), "labels": np.zeros(4), "data": np.array("x")}, "3 scores, 4 labels.* is missing"),
        ({"scores": np.zeros(0), "labels": np.zeros(4), "data": np.array("x")}, "outputs were not finite"),
    ],
)
def test_a_file_that_holds_something_else_is_refused(tmp_path: Path, arrays: dict, message: str) -> None:
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=message):
        read_predictions(tmp_path / "a.npz")


def test_a_file_that_is_missing_or_cut_short_or_a_pickle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"predictions/a\.npz: no such file"):
        read_predictions(tmp_path / "a.npz")
    write_predictions({"a": np.zeros((600, 2))}, tiny_split("test", 600), tmp_path / "p")
    whole = (tmp_path / "p" / "a.npz").read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 30):
        (tmp_path / "a.npz").write_bytes(whole[:size])
        with pytest.raises(DataError, match="cut short"):
            read_predictions(tmp_path / "a.npz")
    np.savez_compressed(tmp_path / "b.npz", scores=np.array([{}], dtype=object), data=np.array("x"))
    with pytest.raises(DataError, match="not readable"):
        read_predictions(tmp_path / "b.npz")


def test_whatever_byte_is_damaged_the_file_is_read_or_refused(tmp_path: Path) -> None:
    test = tiny_split("test", 40)
    write_predictions({"a": np.random.default_rng(0).random((40, 2))}, test, tmp_path / "predictions")
    file = tmp_path / "predictions" / "a.npz"
    whole = file.read_bytes()
    refused = 0
    for place in range(0, len(whole), 7):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x5A]) + whole[place + 1 :])
        try:
            read_predictions(file)
        except DataError:
            refused += 1
    assert refused > 50
