"""Laws of the store: an entry is whole or not there, and one process makes it at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress.errors import StoreError
from compress.store import MANIFEST, Store, cache_root

KEY = "sha256:" + "ab" * 32


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "store")


def _make(store: Store, text: str = "weights", key: str = KEY) -> Path:
    with store.making(key) as draft:
        (draft / "onnx").mkdir()
        (draft / "onnx" / "model.onnx").write_text(text)
        (draft / "config.json").write_text("{}")
    found = store.find(key)
    assert found is not None
    return found


def _left_over(store: Store) -> list[str]:
    """Everything in the store but locks and the folders on the way."""
    return [file.name for file in store.root.rglob("*") if file.is_file() and file.suffix != ".lock"]


def test_what_was_made_is_found_under_its_key_alone(store: Store):
    assert store.find(KEY) is None
    assert (_make(store) / "onnx" / "model.onnx").read_text() == "weights"
    assert store.find("sha256:" + "cd" * 32) is None


def test_a_maker_that_fails_leaves_nothing(store: Store):
    with pytest.raises(RuntimeError, match="half way"), store.making(KEY) as draft:
        (draft / "config.json").write_text("{}")
        raise RuntimeError("half way")
    assert store.find(KEY) is None
    assert _left_over(store) == []


def test_an_entry_is_not_there_until_it_is_finished(store: Store):
    with store.making(KEY) as draft:
        (draft / "config.json").write_text("{}")
        assert store.find(KEY) is None
    assert store.find(KEY) is not None


def test_a_failed_replacement_keeps_the_old_entry(store: Store):
    _make(store, "old")
    with pytest.raises(RuntimeError), store.making(KEY):
        raise RuntimeError
    found = store.find(KEY)
    assert found is not None
    assert (found / "onnx" / "model.onnx").read_text() == "old"


def test_a_new_entry_takes_the_place_of_the_old_one(store: Store):
    _make(store, "old")
    assert (_make(store, "new") / "onnx" / "model.onnx").read_text() == "new"


@pytest.mark.parametrize("damage", ["changed", "gone", "manifest cut short", "manifest of another kind"])
def test_a_damaged_entry_is_not_found_and_can_be_made_again(store: Store, damage: str):
    folder = _make(store)
    if damage == "changed":
        (folder / "onnx" / "model.onnx").write_text("weighty")
    elif damage == "gone":
        (folder / "config.json").unlink()
    else:
        manifest = folder / MANIFEST
        manifest.write_text(manifest.read_text()[:9] if "short" in damage else "[]")
    assert store.find(KEY) is None
    _make(store)


def test_a_second_maker_of_the_same_entry_is_refused(store: Store):
    with store.making(KEY) as draft:
        (draft / "config.json").write_text("{}")
        with pytest.raises(StoreError, match="another process is at work on this stage"), store.making(KEY):
            pass
    assert store.find(KEY) is not None


def test_makers_of_different_entries_do_not_meet(store: Store):
    with store.making(KEY) as one, store.making("sha256:" + "ac" * 32) as other:
        assert one != other


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StoreError, match="the stage store can't be written"), Store(tmp_path / "file").making(KEY):
        pass


def test_a_makers_own_missing_file_is_not_blamed_on_the_store(store: Store):
    with pytest.raises(FileNotFoundError), store.making(KEY) as draft:
        (draft / "never written").read_text()


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("COMPRESS_CACHE", str(tmp_path))
    assert cache_root() == tmp_path
