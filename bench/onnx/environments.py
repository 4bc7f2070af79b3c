"""The peers' environments: a folder each, apart from the project's own, whose libraries contradict theirs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

NEEDS = {
    "openvino": ("openvino==2026.4.1", "nncf==3.4.0", "onnx==1.23.2"),
    "sentence-transformers": ("torch==2.13.0", "sentence-transformers[onnx]==5.7.0", "onnxruntime==1.32.0"),
}
"""By environment: what pip installs into it."""
_READY = "ready"


def python_of(name: str, root: Path) -> Path:
    """The environment's Python; it is made first where it is not there. `ours` is the one that runs.

    Raises:
        RuntimeError: pip could not install it; the message holds what it said last.
    """
    if name == "ours":
        return Path(sys.executable)
    folder = root / name
    python = folder / "bin" / "python"
    if not (folder / _READY).exists():
        for command in (
            [sys.executable, "-m", "venv", str(folder)],
            [str(python), "-m", "pip", "install", "--quiet", *NEEDS[name]],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                said = done.stderr.strip().splitlines() or ["it says nothing"]
                raise RuntimeError(f"{name}: `{' '.join(command[1:4])}` fails: {said[-1]}")
        (folder / _READY).touch()
    return python
