"""torch's own dynamic int8: linear layers in int8, activations quantized at run time."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, ClassVar

from compress.bundle import Form
from compress.runtimes.torch_session import TorchSession

if TYPE_CHECKING:
    from compress.bundle import Bundle


class TorchDynamicInt8:
    """What most guides do first: `quantize_dynamic` on the linear layers; embeddings stay float32."""

    form: ClassVar[Form] = Form.TORCH

    def obstacle(self, device: str) -> str | None:
        return None if device == "cpu" else "torch dynamic int8 runs on a CPU only"

    def open(self, bundle: Bundle, *, device: str, threads: int) -> TorchSession:
        import warnings

        import torch
        from torch.ao.quantization import quantize_dynamic

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # announces that it will move to another package
            model = quantize_dynamic(copy.deepcopy(bundle.module), {torch.nn.Linear}, dtype=torch.qint8)
        return TorchSession(model, bundle.task, device=device, threads=threads)
