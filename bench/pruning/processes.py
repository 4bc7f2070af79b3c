"""The toolkit's commands, each in a process of its own; what is finished is not done again."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.pruning.part import tell
from evaluation.measurement import FILE_NAME

GATE_FAILED = 3
_SHOWN = 2000


def made(folder: Path, words: Sequence[str]) -> Path:
    """The folder, with what `compress WORDS -o FOLDER` leaves in it; its log lies beside it.

    A gate that failed is no failure here: everything is made and marked, and what is measured says how bad it is.

    Raises:
        RuntimeError: the command failed; the message has the end of its log.
    """
    if (folder / FILE_NAME).exists():
        return folder
    tell(f"compress {words[0]} -> {folder.name}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    log = log_of(folder)
    with log.open("w", encoding="utf-8") as sink:
        command = [sys.executable, "-m", "compress", *words, "-o", str(folder)]
        done = subprocess.run(command, stdout=sink, stderr=subprocess.STDOUT, check=False)
    if done.returncode not in (0, GATE_FAILED):
        end = log.read_text(encoding="utf-8")[-_SHOWN:]
        raise RuntimeError(f"{folder.name}: compress {words[0]} ends with exit code {done.returncode}: {end}")
    return folder


def log_of(folder: Path) -> Path:
    """Where the log of the command that made a folder lies."""
    return folder.with_name(f"{folder.name}.log")
