"""What a result is measured against: ordinary ways to run the reference, each by the name that recipes use."""

from __future__ import annotations

from dataclasses import dataclass

from compress.graph.build import AttentionForm


@dataclass(frozen=True)
class Baseline:
    """A runtime, and the form of graph that the reference is exported in where the runtime wants one."""

    runtime: str
    attention: AttentionForm | None = None


BASELINES = {
    "torch-fp32": Baseline("torch-fp32"),
    "torch-compile": Baseline("torch-compile"),
    "torch-bf16": Baseline("torch-bf16"),
    "torch-fp16": Baseline("torch-fp16"),
    "torch-dynamic-int8": Baseline("torch-dynamic-int8"),
    # The fused form, as it is never slower: a baseline gets the best of what is to be had without compression.
    "onnx-fp32": Baseline("onnxruntime", attention="fused"),
}
