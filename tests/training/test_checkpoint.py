"""Laws of checkpoints: whole or not there, one owner's alone, and cheap."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from compress.errors import StoreError
from compress.training import checkpoint
from compress.training.checkpoint import Checkpoints

TENSORS = {"weights": torch.arange(600.0).reshape(20, 30), "random": torch.arange(9, dtype=torch.uint8)}
STATE = {"step": 3, "losses": [[1, 0.1], [2, 1e-300]]}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the checkpoint is kept."""
    return tmp_path / "training.safetensors"


def test_what_was_written_is_read_back_to_the_bit(file: Path):
    Checkpoints(file, "me").write(TENSORS, STATE)
    found = Checkpoints(file, "me").read()
    assert found is not None
    assert found[1] == STATE
    assert all(torch.equal(found[0][name], tensor) for name, tensor in TENSORS.items())
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_views_and_transposed_tensors_are_kept_as_they_look(file: Path):
    whole = torch.arange(12.0).reshape(3, 4)
    shown = {"rows": whole[1:], "columns": whole[:, 1:], "turned": whole.T, "one": torch.tensor(7.0)}
    Checkpoints(file, "me").write(shown, {})
    found = Checkpoints(file, "me").read()
    assert found is not None
    assert all(torch.equal(found[0][name], tensor) for name, tensor in shown.items())


def test_where_there_is_none_or_another_owners_nothing_is_read(file: Path):
    assert Checkpoints(file, "me").read() is None
    Checkpoints(file, "another").write(TENSORS, STATE)
    assert Checkpoints(file, "me").read() is None


@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.999])
def test_a_torn_file_is_not_read(file: Path, part: float):
    Checkpoints(file, "me").write(TENSORS, STATE)
    os.truncate(file, int(file.stat().st_size * part))
    assert Checkpoints(file, "me").read() is None


@pytest.mark.parametrize("place", [0.0, 0.02, 0.1, 0.5, 0.999])
def test_a_byte_that_was_changed_is_noticed(file: Path, place: float):
    Checkpoints(file, "me").write(TENSORS, STATE)
    content = bytearray(file.read_bytes())
    content[int(len(content) * place)] ^= 1
    file.write_bytes(content)
    assert Checkpoints(file, "me").read() is None


@pytest.mark.parametrize("content", [b"", b"no safetensors", (2).to_bytes(8, "little") + b"{}"])
def test_a_file_of_another_kind_is_not_read(file: Path, content: bytes):
    file.write_bytes(content)
    assert Checkpoints(file, "me").read() is None


@pytest.mark.parametrize("step", ["safetensors.torch.save_file", "compress.training.checkpoint.os.fsync", "os.replace"])
def test_an_interrupt_or_a_full_disk_while_writing_leaves_the_one_before(file: Path, monkeypatch, step: str):
    kept = Checkpoints(file, "me")
    kept.write(TENSORS, STATE)
    for fault, seen in ((KeyboardInterrupt(), KeyboardInterrupt), (OSError(errno.ENOSPC, "full"), StoreError)):
        with monkeypatch.context() as patch:
            patch.setattr(step, _raising(fault))
            with pytest.raises(seen):
                kept.write(TENSORS, {"step": 4})
        found = kept.read()
        assert found is not None
        assert found[1] == STATE
    kept.write(TENSORS, {"step": 4})
    found = kept.read()
    assert found is not None
    assert found[1] == {"step": 4}


def _raising(fault: BaseException):
    def raising(*_: object, **__: object) -> None:
        raise fault

    return raising


def test_checkpoints_come_by_the_clock_and_after_epochs_and_take_a_bounded_share_of_the_time(file: Path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])
    kept = Checkpoints(file, "me")
    assert kept.due(epoch_ended=True)
    assert not kept.due(epoch_ended=False)
    now[0] = checkpoint.EVERY_S
    assert kept.due(epoch_ended=False)

    fsync = os.fsync

    def slow(number: int) -> None:
        now[0] += 2.0
        fsync(number)

    monkeypatch.setattr(os, "fsync", slow)
    kept.write(TENSORS, STATE)  # which takes 4 seconds
    written = now[0]
    now[0] = written + 4.0 / checkpoint.SHARE - 1
    assert not kept.due(epoch_ended=True)
    assert not kept.due(epoch_ended=False)
    now[0] = written + 4.0 / checkpoint.SHARE
    assert kept.due(epoch_ended=True)
    assert kept.due(epoch_ended=False)
