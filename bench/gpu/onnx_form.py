"""The model as an ONNX file, on onnxruntime's CUDA provider with bound inputs."""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.gpu.failure import failure
from bench.gpu.models import Inputs, Variant, inputs_of
from bench.gpu.sitting import Sitting, say, skip
from bench.gpu.timing import Call

ONNX = "onnx-fp16"


def onnx_variants(model: Any, file: Path, sitting: Sitting) -> list[Variant]:
    """The ONNX variant, or none and the reason among what was skipped."""
    reason = _why_no_onnx(sitting.device)
    if reason is None:
        say("export to ONNX")
        fault = failure(lambda: export(copy.deepcopy(model).half(), file))
        reason = fault and f"export: {fault}"
    if reason is not None:
        skip(sitting.findings, ONNX, reason)
        return []
    return [Variant(ONNX, "fp16", lambda inputs: onnx_call(file, inputs, model.config.num_labels, torch.float16))]


def onnx_call(file: Path, inputs: Inputs, labels: int, dtype: torch.dtype) -> Call:
    """Run an ONNX file in onnxruntime on the device of its inputs; the call gives logits, (batch, labels).

    Inputs and output are bound by address and not copied: keep `inputs` for as long as the call is used.

    Raises:
        RuntimeError: onnxruntime has the device's provider but can't start it.
    """
    import onnxruntime

    device = inputs["input_ids"].device
    provider = "CUDAExecutionProvider" if device.type == "cuda" else "CPUExecutionProvider"
    session = onnxruntime.InferenceSession(str(file), providers=[provider], enable_fallback=0)
    if session.get_providers()[0] != provider:
        raise RuntimeError(f"onnxruntime fell back to {session.get_providers()}, wanted {provider}; is cuDNN missing?")
    logits = torch.empty((len(inputs["input_ids"]), labels), dtype=dtype, device=device)
    binding = session.io_binding()
    place = (device.type, device.index or 0)
    for name, tensor in inputs.items():
        binding.bind_input(name, *place, np.int64, tuple(tensor.shape), tensor.data_ptr())
    element = np.float16 if dtype == torch.float16 else np.float32
    binding.bind_output("logits", *place, element, tuple(logits.shape), logits.data_ptr())

    def call() -> torch.Tensor:
        session.run_with_iobinding(binding)
        return logits

    return call


def export(model: Any, file: Path) -> None:
    """Write a classifier on the CPU as ONNX, batch and tokens dynamic."""
    example = inputs_of(2, 8, model.config.vocab_size, torch.device("cpu"), seed=0)
    batch, tokens = torch.export.Dim("batch"), torch.export.Dim("tokens")
    # Opset 23 has attention as one node, which needs no fusion pass.
    torch.onnx.export(
        model,
        kwargs=example,
        f=file,
        dynamo=True,
        opset_version=23,
        input_names=list(example),
        output_names=["logits"],
        dynamic_shapes={name: {0: batch, 1: tokens} for name in example},
        verbose=False,
    )


def _why_no_onnx(device: torch.device) -> str | None:
    if device.type != "cuda":
        return "times the CUDA provider, and no GPU is in use"
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        return f"not installed here: {', '.join(missing)}"
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return "onnxruntime has no CUDA provider here; it comes with onnxruntime-gpu"
    return None
