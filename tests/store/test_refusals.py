"""What a disk refuses is the user's to mend; what is our own fault stays a fault of ours."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from compress.errors import StoreError
from compress.store.refusals import IN_THE_WAY, REFUSALS, writing


@pytest.mark.parametrize("number", REFUSALS)
def test_a_refusal_says_what_could_not_be_written_where_and_why(number: int):
    advice = "a file is in the way, choose" if number in IN_THE_WAY else "free space or choose"
    said = f"here: the model can't be written: no, said the disk; {advice} another folder"
    with pytest.raises(StoreError, match=said), writing(Path("here"), "the model"):
        raise OSError(number, "no, said the disk")


def test_the_file_that_was_refused_is_named_where_it_is_known(tmp_path: Path):
    said = f"{tmp_path}: the model can't be written: Is a directory"
    with pytest.raises(StoreError, match=re.escape(said)), writing(Path("here"), "the model"):
        tmp_path.write_text("a file")


def test_what_safetensors_was_refused_is_told_alike(tmp_path: Path):
    with pytest.raises(StoreError, match=r"the model can't be written: .*os error"), writing(tmp_path, "the model"):
        save_file({"a": torch.zeros(1)}, tmp_path / "none" / "file")


def test_a_place_that_cannot_be_made_is_a_refusal():
    nowhere = Path("/proc/nowhere/run")
    with pytest.raises(StoreError, match=r"/proc/nowhere.*can't be written"), writing(nowhere, "the run folder"):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "/proc/nowhere")


def test_other_faults_pass_as_they_are(tmp_path: Path):
    with pytest.raises(FileNotFoundError), writing(tmp_path, "the model"):
        raise FileNotFoundError(errno.ENOENT, "no such file")
    with pytest.raises(ValueError, match="ours"), writing(tmp_path, "the model"):
        raise ValueError("ours")
    (tmp_path / "file").write_bytes(b"no safetensors")
    with pytest.raises(SafetensorError), writing(tmp_path, "the model"):
        load_file(tmp_path / "file")
