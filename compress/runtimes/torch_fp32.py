"""torch, eager, float32: the model as its owner runs it today."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, ClassVar

from compress.bundle import Form
from compress.runtimes.torch_session import TorchSession

if TYPE_CHECKING:
    from compress.bundle import Bundle


class TorchFp32:
    """Eager float32 with sdpa attention, dynamic length, `inference_mode`."""

    form: ClassVar[Form] = Form.TORCH

    def obstacle(self, device: str) -> str | None:
        return None

    def open(self, bundle: Bundle, *, device: str, threads: int) -> TorchSession:
        return TorchSession(copy.deepcopy(bundle.module).to(device), bundle.task, device=device, threads=threads)
