"""Laws of the store: an entry is whole or not there, one process makes it at a time, and an interrupted one goes on."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from small_run import outside

from compress.errors import StoreError
from compress.store.inventory import sweep
from compress.store.store import MANIFEST, Store, cache_root

KEY = "sha256:" + "ab" * 32


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "store")


@contextmanager
def _making(store: Store, key: str = KEY) -> Iterator[Path]:
    with store.claimed(key) as claim, claim.making() as draft:
        yield draft


def _make(store: Store, text: str = "weights", key: str = KEY) -> Path:
    with _making(store, key) as draft:
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


def test_a_maker_that_fails_leaves_no_entry_and_no_draft(store: Store):
    with pytest.raises(RuntimeError, match="half way"), _making(store) as draft:
        (draft / "config.json").write_text("{}")
        raise RuntimeError("half way")
    assert store.find(KEY) is None
    sweep(store)
    assert _left_over(store) == []


def test_an_entry_is_not_there_until_it_is_finished(store: Store):
    with _making(store) as draft:
        (draft / "config.json").write_text("{}")
        assert store.find(KEY) is None
    assert store.find(KEY) is not None


def test_a_failed_replacement_keeps_the_old_entry(store: Store):
    _make(store, "old")
    with pytest.raises(RuntimeError), _making(store):
        raise RuntimeError
    found = store.find(KEY)
    assert found is not None
    assert (found / "onnx" / "model.onnx").read_text() == "old"


def test_a_new_entry_takes_the_place_of_the_old_one(store: Store):
    _make(store, "old")
    assert (_make(store, "new") / "onnx" / "model.onnx").read_text() == "new"


def test_an_entry_that_says_the_same_is_left_where_others_may_be_reading_it(store: Store):
    before = (_make(store) / "onnx" / "model.onnx").stat().st_ino
    assert (_make(store) / "onnx" / "model.onnx").stat().st_ino == before


DAMAGES: dict[str, Callable[[Path], object]] = {
    "changed": lambda folder: (folder / "onnx" / "model.onnx").write_text("weighty"),
    "gone": lambda folder: (folder / "config.json").unlink(),
    "one more file": lambda folder: (folder / "onnx" / "model.onnx_data").write_text("more"),
    "no manifest": lambda folder: (folder / MANIFEST).unlink(),
    "manifest cut short": lambda folder: os.truncate(folder / MANIFEST, 9),
    "manifest of another kind": lambda folder: (folder / MANIFEST).write_text("[]"),
    "manifest of other things": lambda folder: (folder / MANIFEST).write_text('{"files": [1]}'),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_not_found_and_can_be_made_again(store: Store, damage: str):
    DAMAGES[damage](_make(store))
    assert store.find(KEY) is None
    _make(store)


# One maker at a time


def test_a_second_maker_that_does_not_wait_is_told_who_is_at_work(store: Store):
    with _making(store) as draft:
        (draft / "config.json").write_text("{}")
        with (
            pytest.raises(StoreError, match=rf"held by process {os.getpid()} since 20\d\d-.*it is alive"),
            store.claimed(KEY),
        ):
            pass
    assert store.find(KEY) is not None


def test_makers_of_different_entries_do_not_meet(store: Store):
    with _making(store) as one, _making(store, "sha256:" + "ac" * 32) as other:
        assert one != other


MAKER = """
import sys, time
from pathlib import Path
from compress.store.store import Store
with Store(Path(sys.argv[1])).claimed(sys.argv[2]) as claim:
    (claim.scratch() / "checkpoint").write_text("half way")
    with claim.making() as draft:
        (draft / "config.json").write_text("theirs")
        print("at work", flush=True)
        sys.stdin.readline()
"""


@contextmanager
def _other_maker(store: Store) -> Iterator[subprocess.Popen[str]]:
    """Another process that makes the entry until it gets a line to read."""
    words = [sys.executable, "-c", MAKER, str(store.root), KEY]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, env=outside(store.root)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "at work\n"
        yield process
        process.kill()


def test_who_waits_for_another_process_is_told_for_whom_and_uses_what_it_made(store: Store):
    told: list[str] = []
    with _other_maker(store) as process:
        assert process.stdin is not None

        def waiting(holder: str) -> None:
            told.append(holder)
            if len(told) == 2:
                process.stdin.write("\n")
                process.stdin.flush()

        with store.claimed(KEY, waiting) as claim:
            assert claim.waited
            found = store.find(KEY)
            assert found is not None
            assert (found / "config.json").read_text() == "theirs"
    assert all(f"process {process.pid} since" in holder for holder in told)


def test_when_the_other_process_is_killed_the_one_that_waits_goes_on_from_its_scratch(store: Store):
    with _other_maker(store) as process:
        with store.claimed(KEY, lambda _holder: process.kill()) as claim:
            assert claim.waited
            assert store.find(KEY) is None
            assert (claim.scratch() / "checkpoint").read_text() == "half way"
            with claim.making() as draft:
                assert list(draft.iterdir()) == []
                (draft / "config.json").write_text("ours")
        found = store.find(KEY)
        assert found is not None
        assert (found / "config.json").read_text() == "ours"
        assert not claim.work.exists()


# The scratch folder


def test_scratch_outlives_an_interrupt_and_not_the_entry(store: Store):
    with pytest.raises(KeyboardInterrupt), store.claimed(KEY) as claim:
        (claim.scratch() / "checkpoint").write_text("step 3")
        with claim.making():
            raise KeyboardInterrupt
    with store.claimed(KEY) as claim:
        assert (claim.scratch() / "checkpoint").read_text() == "step 3"
        with claim.making() as draft:
            (draft / "config.json").write_text("{}")
    assert not claim.work.exists()


def test_who_wants_it_fresh_finds_nothing_in_scratch(store: Store):
    with store.claimed(KEY) as claim:
        (claim.scratch() / "checkpoint").write_text("step 3")
    with store.claimed(KEY) as claim:
        assert list(claim.scratch(fresh=True).iterdir()) == []


def test_sweeping_takes_drafts_of_the_dead_and_leaves_scratch_and_the_living_alone(store: Store):
    with _other_maker(store) as process:
        [work] = (store.root / "stages").glob("*/.work-*")
        sweep(store)
        assert (work / "draft" / "config.json").exists()
        process.kill()
        process.wait()
        sweep(store)
        assert not (work / "draft").exists()
        assert (work / "scratch" / "checkpoint").exists()
    weeks_ago = time.time() - 50 * 86400
    for path in (work, *work.rglob("*")):
        os.utime(path, (weeks_ago, weeks_ago))
    sweep(store)
    assert not work.exists()


# What the disk refuses


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StoreError, match="the stage store can't be written"), _making(Store(tmp_path / "file")):
        pass


def test_a_full_disk_leaves_the_old_entry_and_the_next_try_succeeds(store: Store, monkeypatch: pytest.MonkeyPatch):
    _make(store, "old")
    with monkeypatch.context() as patch:
        patch.setattr("compress.store.store.Claim._seal", _no_space)
        with pytest.raises(StoreError, match="No space left on device; free space"), _making(store) as draft:
            (draft / "config.json").write_text("new")
    found = store.find(KEY)
    assert found is not None
    assert (found / "onnx" / "model.onnx").read_text() == "old"
    assert (_make(store, "new") / "onnx" / "model.onnx").read_text() == "new"


def _no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_store_that_is_read_only_is_read(store: Store, monkeypatch: pytest.MonkeyPatch):
    _make(store)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "utime", refuse)
    monkeypatch.setattr(Path, "mkdir", refuse)
    with store.in_use() as used:
        assert used.find(KEY) is not None
        with pytest.raises(StoreError, match="Read-only file system"), used.claimed("sha256:" + "ac" * 32):
            pass


def test_a_makers_own_missing_file_is_not_blamed_on_the_store(store: Store):
    with pytest.raises(FileNotFoundError), _making(store) as draft:
        (draft / "never written").read_text()


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("COMPRESS_CACHE", str(tmp_path))
    assert cache_root() == tmp_path
