"""What a result is measured against: ordinary ways to run the reference, each by the name that recipes use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from compress.graph.build import AttentionForm
from compress.runtime import runtime_of


@dataclass(frozen=True)
class Baseline:
    """A runtime, and the form of graph that the reference is exported in where the runtime wants one.

    `obstacle` says why a baseline that the contract names can't be measured by this version: it is named as skipped.
    """

    runtime: str
    attention: AttentionForm | None = None
    precision: Literal["fp32", "fp16"] = "fp32"
    obstacle: str = ""


def obstacle_to(name: str, device: str) -> str | None:
    """Why a baseline can't be measured here; None where it can."""
    baseline = BASELINES[name]
    if baseline.precision == "fp16" and device == "cpu":
        return "float16 has no fast CPU kernels; onnxruntime casts it to float32 and back"
    return baseline.obstacle or runtime_of(baseline.runtime).obstacle(device)


BASELINES = {
    "torch-fp32": Baseline("torch-fp32"),
    "torch-compile": Baseline("torch-compile"),
    "torch-bf16": Baseline("torch-bf16"),
    "torch-fp16": Baseline("torch-fp16"),
    "torch-dynamic-int8": Baseline("torch-dynamic-int8"),
    # Exported as a recipe's own result is by default, so that what is compared is the compression alone.
    "onnx-fp32": Baseline("onnxruntime", attention="fused"),
    "onnx-fp16": Baseline("onnxruntime", attention="fused", precision="fp16"),
    "openvino": Baseline("openvino", attention="plain"),
    "openvino-int8": Baseline("openvino", obstacle="this version quantizes for onnxruntime only"),
}
