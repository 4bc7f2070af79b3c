"""Environments of other toolkits: a folder each, apart from the project's own, whose libraries contradict theirs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

SENTENCE_TRANSFORMERS = ("torch==2.13.0", "sentence-transformers[onnx]==5.7.0", "onnxruntime==1.32.0")
OPENVINO = ("openvino==2026.4.1", "nncf==3.4.0", "onnx==1.23.2", "tokenizers==0.23.3")
NEEDS: Mapping[str, Sequence[str]] = {
    "openvino": OPENVINO,
    "sentence-transformers": SENTENCE_TRANSFORMERS,
    "olive": ("torch==2.13.0", "transformers==5.24.0", "onnxruntime==1.32.0", "olive-ai==0.13.0", "requests"),
    "bare": ("onnxruntime==1.32.0", "tokenizers==0.23.3"),
}
"""By environment: what pip installs into it."""
NODE_NEEDS = ("@huggingface/transformers@4.3.2",)
"""What npm installs for Node; it brings the onnxruntime-web that browsers would run with it."""
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
    if not _holds(folder, NEEDS[name]):
        _run(name, [sys.executable, "-m", "venv", "--clear", str(folder)])
        _run(name, [str(python), "-m", "pip", "install", "--quiet", *NEEDS[name]])
        _note(folder, NEEDS[name])
    return python


def node_folder(root: Path) -> Path:
    """A folder in which Node finds transformers.js; it is made first where it is not there.

    Raises:
        RuntimeError: npm is not here, or could not install it.
    """
    folder = root / "node"
    if not _holds(folder, NODE_NEEDS):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"private": true}', encoding="utf-8")
        # Its package has the CPU's library; what it would fetch besides is for CUDA.
        offline = {**os.environ, "ONNXRUNTIME_NODE_INSTALL": "skip"}
        _run("node", ["npm", "install", "--silent", "--prefix", str(folder), *NODE_NEEDS], environment=offline)
        _note(folder, NODE_NEEDS)
    return folder


def _holds(folder: Path, needs: Sequence[str]) -> bool:
    """Whether what is asked for now was installed there, to the end."""
    noted = folder / _READY
    return noted.exists() and noted.read_text(encoding="utf-8") == "\n".join(needs)


def _note(folder: Path, needs: Sequence[str]) -> None:
    (folder / _READY).write_text("\n".join(needs), encoding="utf-8")


def _run(name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
    shown = " ".join(Path(word).name if os.sep in word else word for word in command[:4])
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    except OSError as fault:
        raise RuntimeError(f"{name}: `{shown}` can't be started: {fault.strerror}") from fault
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it says nothing"]
        raise RuntimeError(f"{name}: `{shown}` fails: {said[-1]}")
