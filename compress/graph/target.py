"""What a graph is made for: which kernels it is to suit, and the precisions that run there."""

from __future__ import annotations

from typing import Literal

Target = Literal["cpu", "cuda", "web"]
Kernels = Literal["cpu", "cuda", "webgpu"]
"""onnxruntime's own, by where they run; a browser has those of WebGPU, and those of CPUs as WebAssembly."""

PRECISIONS: dict[Target, tuple[str, ...]] = {
    "cpu": ("fp32", "int8", "int4"),
    "cuda": ("fp16", "fp32", "int4"),
    "web": ("fp32", "fp16", "int8", "int4"),
}
"""What runs on a target as it is; the first is what is made where no precision is asked for."""


def target_of(device: str, precision: str) -> Target:
    """What a graph is for where nobody says: the device at work, or GPUs where no CPU computes in the precision."""
    return "cuda" if precision not in PRECISIONS["cpu"] or device == "cuda" else "cpu"


def kernels_of(target: Target, precision: str) -> Kernels:
    """Whose kernels run a graph.

    Of products that are quantized each is a node of its own, as CPUs want it. Kernels for GPUs take the weights of
    query, key and value in the node that is the attention, where no quantizer finds them.
    """
    if target == "cpu" or precision in ("int8", "int4"):
        return "cpu"
    return "cuda" if target == "cuda" else "webgpu"


def why_not(target: Target, precision: str) -> str | None:
    """Why a target can't run a precision; None where it can."""
    if precision in PRECISIONS[target]:
        return None
    reasons = {
        ("cpu", "fp16"): "CPUs cast it to float32 and back at every operator",
        ("cuda", "int8"): "onnxruntime has no kernels for these products on CUDA, and carries them to the CPU and back",
    }
    because = reasons.get((target, precision), "its kernels have no such numbers")
    return f"{precision} for {target}: {because}; made for {target} are {', '.join(PRECISIONS[target])}"
