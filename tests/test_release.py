"""Laws of the model folder: it is one result's, whole, whatever comes in between."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import tiny_bundle

import compress
from compress import release
from compress.errors import StoreError
from compress.release import DRAFT, OLD, write_model


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_new_model_takes_the_place_of_the_old_one_with_nothing_left_of_it(tmp_path: Path):
    write_model([tiny_bundle()], tmp_path / "model", "first")
    (tmp_path / "model" / "onnx").mkdir()
    (tmp_path / "model" / "onnx" / "model.onnx").write_text("of the first")
    second = tiny_bundle(seed=2)
    write_model([second], tmp_path / "model", "second")
    assert compress.load(tmp_path / "model").digest == second.digest
    assert (tmp_path / "model" / "README.md").read_text() == "second"
    assert not (tmp_path / "model" / "onnx").exists()
    assert _names(tmp_path) == {"model"}


def test_what_can_be_written_only_in_part_leaves_the_old_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first = tiny_bundle()
    write_model([first], tmp_path / "model", "first")
    save = release.save

    def half(bundle: compress.Bundle, folder: Path) -> None:
        save(bundle, folder)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(release, "save", half)
    with pytest.raises(StoreError, match="model: the model can't be written: No space left on device; free space"):
        write_model([tiny_bundle(seed=2)], tmp_path / "model", "second")
    assert compress.load(tmp_path / "model").digest == first.digest
    assert _names(tmp_path) == {"model"}


@pytest.mark.parametrize("left", [DRAFT, OLD])
def test_what_a_dead_process_left_is_no_part_of_the_next_model(tmp_path: Path, left: str):
    (tmp_path / left).mkdir()
    (tmp_path / left / "stray.json").write_text("{}")
    write_model([tiny_bundle()], tmp_path / "model", "card")
    assert _names(tmp_path) == {"model"}
    assert "stray.json" not in _names(tmp_path / "model")
