"""What a graph is made for: which kernels it is to suit, and the precisions that run there."""

from __future__ import annotations

from typing import Literal

Target = Literal["cpu", "cuda", "web"]
Kernels = Literal["cpu", "cuda", "webgpu"]
"""onnxruntime's own, by where they run; a browser has those of WebGPU, and those of CPUs as WebAssembly."""

PRECISIONS: dict[Target, tuple[str, ...]] = {
    "cpu": ("fp32", "bf16", "int8", "int4"),
    "cuda": ("fp16", "fp32", "bf16", "int4"),
    "web": ("fp32", "fp16", "int8", "int4"),
}
"""What runs on a target as it is, the fastest float first on GPUs."""


def default_precision(target: Target | None) -> Literal["fp32", "fp16"]:
    """What `compress export` makes where no precision is asked for: what runs everywhere, but on GPUs of the target."""
    return "fp16" if target == "cuda" else "fp32"


def target_of(device: str, precision: str) -> Target:
    """What a graph is for where nobody says: the device at work, or GPUs where no CPU computes in the precision."""
    return "cuda" if precision not in PRECISIONS["cpu"] or device == "cuda" else "cpu"


def kernels_of(target: Target, precision: str) -> Kernels:
    """Whose kernels run a graph.

    Quantizers need the products of query, key and value as nodes of their own, so graphs whose weights become integers
    are written as CPUs want them: kernels for GPUs may have these weights in the attention's node.
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
        (
            "cuda",
            "int8",
        ): "onnxruntime carries products of integers from CUDA to the CPU, and weights alone in int8 were never "
        "tried there",
        ("web", "bf16"): "fp16 is as small, and computed with there",
    }
    made = ", ".join(PRECISIONS[target])
    return f"{precision} for {target}: {reasons[target, precision]}; made for {target} are {made}"
