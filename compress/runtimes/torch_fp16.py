"""torch, eager, float16."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, ClassVar

from compress.bundle import Form
from compress.runtimes.torch_session import TorchSession

if TYPE_CHECKING:
    from compress.bundle import Bundle


class TorchFp16:
    """Eager float16: weights and activations, on a GPU."""

    form: ClassVar[Form] = Form.TORCH

    def obstacle(self, device: str) -> str | None:
        return None if device == "cuda" else "float16 has no fast CPU kernels; torch-bf16 is the half precision there"

    def open(self, bundle: Bundle, *, device: str, threads: int) -> TorchSession:
        import torch

        model = copy.deepcopy(bundle.module).to(device, torch.float16)
        return TorchSession(model, bundle.task, device=device, threads=threads)
