"""Part 1: one model, several ways to run it, at each shape."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bench.gpu.failure import failure
from bench.gpu.intervals import interval, median, p95, ratio
from bench.gpu.memory import peak_bytes
from bench.gpu.models import Variant, bytes_of, compiled, inputs_of, name_of
from bench.gpu.onnx_form import ONNX, onnx_variants
from bench.gpu.sitting import BASELINE, Sitting, say, skip
from bench.gpu.timing import Call, Rounds, time_interleaved


def time_model(model: Any, sitting: Sitting) -> None:
    """Part 1: one model, several ways to run it, at each shape."""
    full = copy.deepcopy(model).to(sitting.device)
    half = copy.deepcopy(model).to(sitting.device, sitting.half)
    low = name_of(sitting.half)
    # CUDA graphs take away the launches, which are most of the time at batch 1.
    mode = "reduce-overhead" if sitting.device.type == "cuda" else "default"
    variants = [
        Variant(BASELINE, "fp32", lambda inputs: lambda: full(**inputs).logits, bytes_of(full)),
        Variant(f"torch-{low}", low, lambda inputs: lambda: half(**inputs).logits, bytes_of(half)),
        Variant(f"torch-compile-{low}", low, lambda inputs: compiled(half, inputs, mode), bytes_of(half)),
    ]
    with tempfile.TemporaryDirectory() as folder:
        variants += onnx_variants(model, Path(folder) / "model.onnx", sitting)
        for batch, tokens in sitting.effort.shapes:
            reason = failure(partial(_time_shape, variants, (batch, tokens), model.config.vocab_size, sitting))
            skip(sitting.findings, "every variant", reason, shape=f"{batch}x{tokens}")
            sitting.keep(sitting.findings)


@torch.inference_mode()
def _time_shape(variants: Sequence[Variant], shape: tuple[int, int], vocabulary: int, sitting: Sitting) -> None:
    batch, tokens = shape
    findings, label = sitting.findings, f"{batch}x{tokens}"
    inputs = inputs_of(batch, tokens, vocabulary, sitting.device, sitting.seed)
    calls: dict[str, Call] = {}
    peaks: dict[str, int | None] = {}
    outputs: dict[str, torch.Tensor] = {}

    def prepare(variant: Variant) -> None:
        call = variant.make(inputs)
        peaks[variant.name] = peak_bytes(call, sitting.device)
        outputs[variant.name] = call().float().cpu().clone()  # the next call may write to the same memory
        calls[variant.name] = call

    for variant in variants:
        say(f"{label}: {variant.name}")
        skip(findings, variant.name, failure(partial(prepare, variant)), shape=label)
    times, failed = time_interleaved(calls, sitting)
    for name, reason in failed.items():
        skip(findings, name, reason, shape=label)
    conditions = {"batch": batch, "tokens": tokens, "device": sitting.device.type, "padding": "none"}
    for variant in (variant for variant in variants if variant.name in times):
        name, own = variant.name, conditions | {"precision": variant.precision}
        findings.targets.setdefault(name, _target(variant))
        findings.measurements += _latencies(name, times[name], own, sitting.seed)
        if variant.weights_bytes is not None and (activations := peaks[name]) is not None:
            findings.measurements.append(_peak_memory(name, variant.weights_bytes + activations, own))
        if name != BASELINE and BASELINE in times:
            speedup = interval(ratio, times[BASELINE], times[name], seed=sitting.seed)
            findings.comparisons.append(_comparison(name, speedup, own))
            apart = float((outputs[name] - outputs[BASELINE]).abs().max())
            findings.parity.append({"target": name, "shape": label, "largest_logit_difference": apart})


def _target(variant: Variant) -> dict[str, Any]:
    onnx, compiled = variant.name == ONNX, variant.name.startswith("torch-compile")
    runtime, form = ("onnxruntime", "onnx") if onnx else ("torch", "torch")
    how = "CUDA provider, bound inputs" if onnx else "compiled" if compiled else "eager"
    title = f"{runtime} {variant.precision}, {how}"
    return {"name": variant.name, "kind": "baseline", "title": title, "runtime": runtime, "form": form}


def _latencies(target: str, rounds: Rounds, conditions: dict[str, Any], seed: int) -> list[dict[str, Any]]:
    base = {"target": target, "unit": "ms", "count": sum(map(len, rounds)), "higher_is_better": False}
    return [
        base | {"name": name, "conditions": conditions} | interval(statistic, rounds, seed=seed)
        for name, statistic in (("latency_p50_ms", median), ("latency_p95_ms", p95))
    ]


def _peak_memory(target: str, size_bytes: int, conditions: dict[str, Any]) -> dict[str, Any]:
    base = {"target": target, "name": "peak_memory_bytes", "value": size_bytes, "unit": "bytes"}
    held = {"of": "weights and activations in torch's allocator"}
    return base | {"higher_is_better": False, "conditions": conditions | held}


def _comparison(target: str, figure: dict[str, float], conditions: dict[str, Any]) -> dict[str, Any]:
    verdict = "better" if figure["low"] > 1 else "worse" if figure["high"] < 1 else "tie"
    base = {"target": target, "baseline": BASELINE, "name": "speedup", "p_value": None, "verdict": verdict}
    return base | figure | {"conditions": conditions}
