"""torch.compile, float32: the graph compiled by TorchInductor."""

from __future__ import annotations

import copy
import shutil
from typing import TYPE_CHECKING, ClassVar

from compress.bundle import Form
from compress.runtimes.torch_session import TorchSession

if TYPE_CHECKING:
    from compress.bundle import Bundle


class TorchCompile:
    """Compiled float32, dynamic shapes; compilation itself is warm-up and not timed."""

    form: ClassVar[Form] = Form.TORCH

    def obstacle(self, device: str) -> str | None:
        compiler = shutil.which("g++") or shutil.which("clang++")
        return None if compiler else "torch.compile needs a C++ compiler; none is on the path"

    def open(self, bundle: Bundle, *, device: str, threads: int) -> TorchSession:
        import torch

        model = copy.deepcopy(bundle.module).to(device)
        return TorchSession(model, bundle.task, device=device, threads=threads, call=torch.compile(model, dynamic=True))
