"""Laws of locks: one holder at a time, who can be named, and a dead one holds nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from small_run import outside

from compress.errors import StoreError
from compress.store.locks import Holder, held, held_if_free, holder

HOLD = """
import sys
from pathlib import Path
from compress.store.locks import held
with held(Path(sys.argv[1]), "a test"):
    print("held", flush=True)
    sys.stdin.readline()
"""


def _held_elsewhere(lock: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=outside(lock.parent),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_second_is_told_what_is_held_by_which_process_since_when_and_that_it_lives(tmp_path: Path):
    lock = tmp_path / ".lock"
    process = _held_elsewhere(lock)
    try:
        said = (
            rf"the run folder here: held by process {process.pid} since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d.*it is alive"
        )
        with pytest.raises(StoreError, match=said), held(lock, "the run folder here"):
            pass
        with held_if_free(lock) as free:
            assert not free
    finally:
        process.communicate("\n", timeout=60)
    assert holder(lock) is None
    with held(lock, "the run folder here") as waited:
        assert not waited


def test_a_process_that_was_killed_holds_nothing(tmp_path: Path):
    lock = tmp_path / ".lock"
    process = _held_elsewhere(lock)
    process.kill()
    process.communicate(timeout=60)
    left = holder(lock)
    assert left is not None
    assert (left.pid, left.lives()) == (process.pid, False)
    with held(lock, "a test"):
        mine = holder(lock)
        assert mine is not None
        assert (mine.pid, mine.lives()) == (os.getpid(), True)


def test_a_number_that_another_process_has_by_now_is_not_the_holder():
    here = Holder.here()
    assert here.lives()
    assert not replace(here, started=here.started - 100).lives()


def test_of_another_machines_process_nobody_knows_whether_it_lives():
    elsewhere = replace(Holder.here(), machine="another")
    assert elsewhere.lives() is None
    assert "on another machine" in str(elsewhere)


def test_a_block_that_fails_lets_go(tmp_path: Path):
    with pytest.raises(KeyboardInterrupt), held(tmp_path / ".lock", "a test"):
        raise KeyboardInterrupt
    with held_if_free(tmp_path / ".lock") as free:
        assert free


def test_a_lock_that_cannot_be_made_says_where(tmp_path: Path):
    lock = tmp_path / "file" / ".lock"
    lock.parent.write_text("no folder")
    with pytest.raises(StoreError, match=r"file/\.lock: can't be locked: .*choose a folder"), held(lock, "a test"):
        pass
