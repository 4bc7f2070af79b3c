"""torch, eager, bfloat16."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, ClassVar

from compress.bundle import Form
from compress.runtimes.torch_session import TorchSession

if TYPE_CHECKING:
    from compress.bundle import Bundle


class TorchBf16:
    """Eager bfloat16: weights and activations."""

    form: ClassVar[Form] = Form.TORCH

    def obstacle(self, device: str) -> str | None:
        return None

    def open(self, bundle: Bundle, *, device: str, threads: int) -> TorchSession:
        import torch

        model = copy.deepcopy(bundle.module).to(device, torch.bfloat16)
        return TorchSession(model, bundle.task, device=device, threads=threads)
