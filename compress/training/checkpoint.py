"""Checkpoints: all that decides how an interrupted training goes on, in one safetensors file, whole or not there."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.store.refusals import writing

if TYPE_CHECKING:
    from torch import Tensor

EVERY_S = 30.0
"""Between two checkpoints within an epoch."""
SHARE = 0.05
"""The most of the time that writing may take: with slow disks and big models, checkpoints come less often."""


class Checkpoints:
    """The checkpoint of one training, replaced as the training goes on.

    Args:
        file: where it is kept.
        owner: digest of what is trained, on what and how; a checkpoint of another owner is not read.
    """

    def __init__(self, file: Path, owner: str) -> None:
        self._file = file
        self._owner = owner
        self._took_s = 0.0
        self._last = time.monotonic()

    def due(self, *, epoch_ended: bool) -> bool:
        """Whether it is time for another one."""
        idle = time.monotonic() - self._last
        return idle * SHARE >= self._took_s and (epoch_ended or idle >= EVERY_S)

    def write(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Replace the checkpoint in one step.

        Args:
            tensors: by name; they may be on any device.
            state: JSON values.

        Raises:
            StoreError: no space or no permission; the checkpoint before is as it was.
        """
        from safetensors.torch import save_file

        began = time.monotonic()
        kept = {name: _own(tensor) for name, tensor in tensors.items()}
        said = json.dumps(state)
        notes = {"owner": self._owner, "state": said, "digest": _digest(kept, said)}
        draft = self._file.with_name(self._file.name + ".draft")
        with writing(self._file, "a checkpoint"):
            save_file(kept, draft, metadata=notes)
            _flush(draft)
            os.replace(draft, self._file)
            _flush(self._file.parent)
        self._last = time.monotonic()
        self._took_s = self._last - began

    def read(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Tensors and state of the last checkpoint; None when there is none, or it is torn, damaged or another's."""
        from safetensors import SafetensorError, safe_open

        if not self._file.exists():
            return None
        try:
            with safe_open(self._file, framework="pt") as opened:
                notes = opened.metadata() or {}
                if notes.get("owner") != self._owner:
                    return None
                tensors = {name: opened.get_tensor(name) for name in opened.offset_keys()}
        except (OSError, SafetensorError):
            return None
        if _digest(tensors, notes["state"]) != notes["digest"]:
            return None
        state: dict[str, Any] = json.loads(notes["state"])
        return tensors, state


def _own(tensor: Tensor) -> Tensor:
    """The tensor on the CPU, in memory that it shares with no other, as safetensors wants it."""
    tensor = tensor.detach().cpu().contiguous()
    return tensor if tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()


def _digest(tensors: Mapping[str, Tensor], state: str) -> str:
    import torch

    digest = hashlib.sha256(state.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _flush(path: Path) -> None:
    """Have the disk hold what was written, before anything is built on it."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
