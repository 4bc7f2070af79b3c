"""Time a Transformer on a GPU: precisions, compilation and ONNX against eager fp32, and attention fused against plain.

It needs a checkout, torch and transformers, and nothing else of this project, so that it runs on a borrowed machine:

    python bench/gpu.py                                   # BERT-base from its config, weights random
    python bench/gpu.py --model FOLDER --recipe FILE

Shapes are a recipe's `deploy.shapes`, as they stand there: those of `--recipe`, by default recipes/reviews-trio.yaml.
`--shapes 1x128,32x128` overrides it. Without that file they are 1x128, 32x128 and 32x512.

Times do not depend on what the weights are. Variants run in interleaved blocks, in random order in every round, timed
with CUDA events; intervals come from resampling whole rounds. What can't run here, or fails at a shape, is named as
skipped there with its reason, and running out of memory is a result. Everything goes to `run.json`, format 1, which is
written anew after every shape. On a machine without a GPU it times a smaller model on the CPU, which shows that the
script works and nothing more.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import gc
import importlib.metadata
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
import yaml

Call = Callable[[], torch.Tensor]
Inputs = dict[str, torch.Tensor]
Rounds = list[np.ndarray]

RECIPE = Path(__file__).parent.parent / "recipes" / "reviews-trio.yaml"
BASELINE, ONNX = "torch-fp32", "onnx-fp16"
MEASURED = "measured"
FILE_NAME = "run.json"
SIZES = {  # hidden size, layers, heads, FFN, vocabulary
    "bert-base": (768, 12, 12, 3072, 30522),
    "minilm": (384, 6, 12, 1536, 30522),
    "tiny": (32, 2, 4, 64, 200),
}
HEADS, HEAD_SIZE = 16, 64
QUOTED = {  # tokens: plain, fused
    2048: ("235 ms", "78 ms"),
    8192: ("3.1 s", "0.9 s"),
    32768: ("out of memory", "4.2 s"),
}
QUOTED_CONDITIONS = "A100, as the project's brief has it; batch, layers and what else these figures hold are not known"
_T_975 = {2: 4.303, 7: 2.365}  # Student's t, 97.5 %, by degrees of freedom


@dataclass(frozen=True)
class Effort:
    """How much is timed: shapes (batch, tokens), tokens of the attention part, and the blocks."""

    shapes: tuple[tuple[int, int], ...]
    attention_tokens: tuple[int, ...]
    rounds: int = 8
    block_seconds: float = 0.5
    block_calls: int = 20
    pause_seconds: float = 0.1


@dataclass
class Findings:
    """What goes to run.json, as it is found."""

    targets: dict[str, dict[str, Any]] = field(default_factory=dict)
    skipped: list[dict[str, str]] = field(default_factory=list)
    measurements: list[dict[str, Any]] = field(default_factory=list)
    comparisons: list[dict[str, Any]] = field(default_factory=list)
    parity: list[dict[str, Any]] = field(default_factory=list)
    attention: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Sitting:
    """One machine, one amount of effort, one seed, and what has been found so far."""

    device: torch.device
    effort: Effort
    seed: int
    findings: Findings = field(default_factory=Findings)
    keep: Callable[[Findings], object] = lambda _: None
    """Called whenever there is something more to write down."""

    @property
    def half(self) -> torch.dtype:
        """CPUs compute in bfloat16 where they have a half precision at all."""
        return torch.float16 if self.device.type == "cuda" else torch.bfloat16


@dataclass(frozen=True)
class Variant:
    """One way to run a model. `make` gives the call for given inputs; `weights_bytes` is None outside torch."""

    name: str
    precision: str
    make: Callable[[Inputs], Call]
    weights_bytes: int | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write run.json, print a table; returns the exit code."""
    options = _options(arguments)
    device = torch.device(options.device)
    if device.type == "cpu":
        print("no GPU in use: a smaller model on the CPU, which says nothing about a GPU", file=sys.stderr)
    effort = _effort(device, options.quick, options.shapes)
    keep = partial(_write, options, effort, _environment(device))
    sitting = Sitting(device, effort, options.seed, keep=keep)
    parts = {"every variant": partial(time_model, _model(options.model, options.size), sitting)}
    parts["attention"] = partial(time_attention, sitting)
    for name, part in parts.items():
        _skip(sitting.findings, name, _failure(part))
        keep(sitting.findings)
    print(_table(sitting.findings))
    print(f"written to {options.output / FILE_NAME}")
    return 0 if sitting.findings.measurements else 1


def time_model(model: Any, sitting: Sitting) -> None:
    """Part 1: one model, several ways to run it, at each shape."""
    full = copy.deepcopy(model).to(sitting.device)
    half = copy.deepcopy(model).to(sitting.device, sitting.half)
    low = _name(sitting.half)
    # CUDA graphs take away the launches, which are most of the time at batch 1.
    mode = "reduce-overhead" if sitting.device.type == "cuda" else "default"
    variants = [
        Variant(BASELINE, "fp32", lambda inputs: lambda: full(**inputs).logits, _bytes(full)),
        Variant(f"torch-{low}", low, lambda inputs: lambda: half(**inputs).logits, _bytes(half)),
        Variant(f"torch-compile-{low}", low, lambda inputs: _compiled(half, inputs, mode), _bytes(half)),
    ]
    with tempfile.TemporaryDirectory() as folder:
        variants += _onnx_variants(model, Path(folder) / "model.onnx", sitting)
        for batch, tokens in sitting.effort.shapes:
            reason = _failure(partial(_time_shape, variants, (batch, tokens), model.config.vocab_size, sitting))
            _skip(sitting.findings, "every variant", reason, shape=f"{batch}x{tokens}")
            sitting.keep(sitting.findings)


def time_attention(sitting: Sitting) -> None:
    """Part 2: attention written out, its scores materialised, against the fused kernel; forward, batch 1."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    # Torch's own fallback is plain attention: with only fused kernels allowed it fails instead of misleading.
    fused = [SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]
    with torch.inference_mode(), sdpa_kernel(fused):
        for tokens in sitting.effort.attention_tokens:
            _say(f"attention at {tokens} tokens")
            row: dict[str, Any] = {"tokens": tokens, "batch": 1, "heads": HEADS, "head_size": HEAD_SIZE}
            row |= {"precision": _name(sitting.half), "pass": "forward"}
            if tokens in QUOTED and sitting.device.type == "cuda":
                row |= {"quoted_plain": QUOTED[tokens][0], "quoted_fused": QUOTED[tokens][1]}
                row["quoted_conditions"] = QUOTED_CONDITIONS
            reason = _failure(partial(_fill_row, row, tokens, sitting))
            row |= {f"{name}_outcome": reason for name in ("plain", "fused") if reason and f"{name}_ms" not in row}
            sitting.findings.attention.append(row)
            sitting.keep(sitting.findings)


def _fill_row(row: dict[str, Any], tokens: int, sitting: Sitting) -> None:
    """Add outcomes, peaks and figures as they come: what was found before a failure stays."""
    source = torch.Generator(sitting.device).manual_seed(sitting.seed)
    shape = (1, HEADS, tokens, HEAD_SIZE)
    query, key, value = (
        torch.randn(shape, generator=source, device=sitting.device, dtype=sitting.half) for _ in range(3)
    )
    calls: dict[str, Call] = {
        "plain": lambda: plain_attention(query, key, value),
        "fused": lambda: torch.nn.functional.scaled_dot_product_attention(query, key, value),
    }
    for name in list(calls):
        row[f"{name}_outcome"], row[f"{name}_peak_bytes"] = _probe(calls[name], sitting.device)
        if row[f"{name}_outcome"] != MEASURED:
            del calls[name]
    times, failed = time_interleaved(calls, sitting)
    row |= {f"{name}_outcome": reason for name, reason in failed.items()}
    for name, rounds in times.items():
        row |= _prefixed(f"{name}_ms", _interval(_median, rounds, seed=sitting.seed))
    if len(times) == 2:
        row |= _prefixed("speedup", _interval(_ratio, times["plain"], times["fused"], seed=sitting.seed))


def plain_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """softmax(Q K^T / sqrt(d)) V, each step a tensor of its own (Vaswani et al. 2017, equation 1).

    All are (batch, heads, tokens, head size).
    """
    scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    return torch.softmax(scores, dim=-1) @ value


def time_interleaved(calls: Mapping[str, Call], sitting: Sitting) -> tuple[dict[str, Rounds], dict[str, str]]:
    """Milliseconds per call, one array per round and variant; and of variants that failed instead, the reason.

    Each round has one block of each variant in random order. A block: a pause, three calls that are not counted, then
    calls until its time or its number of calls is reached, but at least three. A variant that fails once is left out
    from then on, its times too; the others go on.
    """
    timed = _cuda_timer() if sitting.device.type == "cuda" else _wall_timer()
    order = np.random.default_rng(sitting.seed)
    names = list(calls)
    times: dict[str, Rounds] = {name: [] for name in names}
    failed: dict[str, str] = {}

    def add_block(name: str) -> None:
        times[name].append(_block(calls[name], timed, sitting.effort))

    def attempt(work: Callable[[], object], name: str) -> None:
        if name not in failed and (reason := _failure(work)):
            failed[name] = reason

    for name in names:
        attempt(partial(_warm, calls[name], timed), name)
    for _ in range(sitting.effort.rounds):
        for index in order.permutation(len(names)):
            attempt(partial(add_block, names[index]), names[index])
    return {name: rounds for name, rounds in times.items() if name not in failed}, failed


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
    example = _inputs(2, 8, model.config.vocab_size, torch.device("cpu"), seed=0)
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


def _onnx_variants(model: Any, file: Path, sitting: Sitting) -> list[Variant]:
    """The ONNX variant, or none and the reason among what was skipped."""
    reason = _why_no_onnx(sitting.device)
    if reason is None:
        _say("export to ONNX")
        fault = _failure(lambda: export(copy.deepcopy(model).half(), file))
        reason = fault and f"export: {fault}"
    if reason is not None:
        _skip(sitting.findings, ONNX, reason)
        return []
    return [Variant(ONNX, "fp16", lambda inputs: onnx_call(file, inputs, model.config.num_labels, torch.float16))]


@torch.inference_mode()
def _time_shape(variants: Sequence[Variant], shape: tuple[int, int], vocabulary: int, sitting: Sitting) -> None:
    batch, tokens = shape
    findings, label = sitting.findings, f"{batch}x{tokens}"
    inputs = _inputs(batch, tokens, vocabulary, sitting.device, sitting.seed)
    calls: dict[str, Call] = {}
    peaks: dict[str, int | None] = {}
    outputs: dict[str, torch.Tensor] = {}

    def prepare(variant: Variant) -> None:
        call = variant.make(inputs)
        peaks[variant.name] = _peak_bytes(call, sitting.device)
        outputs[variant.name] = call().float().cpu().clone()  # the next call may write to the same memory
        calls[variant.name] = call

    for variant in variants:
        _say(f"{label}: {variant.name}")
        _skip(findings, variant.name, _failure(partial(prepare, variant)), shape=label)
    times, failed = time_interleaved(calls, sitting)
    for name, reason in failed.items():
        _skip(findings, name, reason, shape=label)
    conditions = {"batch": batch, "tokens": tokens, "device": sitting.device.type, "padding": "none"}
    for variant in (variant for variant in variants if variant.name in times):
        name, own = variant.name, conditions | {"precision": variant.precision}
        findings.targets.setdefault(name, _target(variant))
        findings.measurements += _latencies(name, times[name], own, sitting.seed)
        if variant.weights_bytes is not None and (activations := peaks[name]) is not None:
            findings.measurements.append(_peak_memory(name, variant.weights_bytes + activations, own))
        if name != BASELINE and BASELINE in times:
            speedup = _interval(_ratio, times[BASELINE], times[name], seed=sitting.seed)
            findings.comparisons.append(_comparison(name, speedup, own))
            apart = float((outputs[name] - outputs[BASELINE]).abs().max())
            findings.parity.append({"target": name, "shape": label, "largest_logit_difference": apart})


def _warm(call: Call, timed: Callable[[Call], float]) -> None:
    for _ in range(5):
        timed(call)


def _block(call: Call, timed: Callable[[Call], float], effort: Effort) -> np.ndarray:
    was_on = gc.isenabled()
    gc.disable()  # a collection in the middle of a call would be charged to it
    try:
        time.sleep(effort.pause_seconds)
        for _ in range(3):
            timed(call)
        times: list[float] = []
        while len(times) < 3 or (len(times) < effort.block_calls and sum(times) < 1000 * effort.block_seconds):
            times.append(timed(call))
    finally:
        if was_on:
            gc.enable()
    return np.array(times)


def _cuda_timer() -> Callable[[Call], float]:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def timed(call: Call) -> float:
        torch.cuda.synchronize()
        start.record()
        call()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end))

    return timed


def _wall_timer() -> Callable[[Call], float]:
    def timed(call: Call) -> float:
        start = time.perf_counter_ns()
        call()
        return (time.perf_counter_ns() - start) / 1e6

    return timed


def _peak_bytes(call: Call, device: torch.device) -> int | None:
    """The most that three first calls hold beyond what was there; None where it can't be told."""
    if device.type != "cuda":
        for _ in range(3):
            call()
        return None
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    for _ in range(3):
        call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def _probe(call: Call, device: torch.device) -> tuple[str, int | None]:
    """Whether a call runs at all, in words, and its peak in bytes."""
    peaks: list[int | None] = []
    reason = _failure(lambda: peaks.append(_peak_bytes(call, device)))
    return (reason, None) if reason else (MEASURED, peaks[0])


def _failure(work: Callable[[], object]) -> str | None:
    """Do it; why it failed, in one line, or None. From a missing compiler to memory, the rest is worth having."""
    try:
        work()
        return None
    except Exception as fault:
        reason = "out of memory" if isinstance(fault, torch.OutOfMemoryError) else _first_line(fault)
    # Only here, as the fault's traceback keeps the call's tensors while it is handled.
    with contextlib.suppress(RuntimeError):  # after some faults of a GPU nothing works on it, this neither
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return reason


def _skip(findings: Findings, target: str, reason: str | None, *, shape: str | None = None) -> None:
    """Note what could not be measured; no reason, nothing to note."""
    if reason:
        findings.skipped.append({"target": target, "reason": f"{shape}: {reason}" if shape else reason})


def _interval(statistic: Callable[..., float], *variants: Rounds, seed: int, resamples: int = 1000) -> dict[str, float]:
    """A statistic of rounds and its 95 % interval; whole rounds are resampled, the same ones of each variant.

    Calls of one round are not independent, and rounds are few: hence the expanded percentiles (Hesterberg 2015, "What
    Teachers Should Know about the Bootstrap").
    """
    random = np.random.default_rng(seed)
    count = len(variants[0])
    drawn = random.integers(0, count, (resamples, count))
    values = [statistic(*([rounds[i] for i in row] for rounds in variants)) for row in drawn]
    tail = NormalDist().cdf(-_T_975[count - 1] * (count / (count - 1)) ** 0.5)
    low, high = np.quantile(values, [tail, 1 - tail])
    return {"value": statistic(*variants), "low": float(low), "high": float(high)}


def _median(rounds: Rounds) -> float:
    return float(np.median(np.concatenate(rounds)))


def _p95(rounds: Rounds) -> float:
    return float(np.percentile(np.concatenate(rounds), 95))


def _ratio(baseline: Rounds, target: Rounds) -> float:
    return _median(baseline) / _median(target)


def _model(folder: Path | None, size: str) -> Any:
    from transformers import AutoConfig, AutoModelForSequenceClassification

    if folder is not None:
        model = AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="sdpa")
        return model.float().eval()
    hidden, layers, heads, ffn, vocabulary = SIZES[size]
    config = AutoConfig.for_model(
        "bert",
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=ffn,
        vocab_size=vocabulary,
    )
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_config(config, attn_implementation="sdpa").eval()


def _compiled(model: Any, inputs: Inputs, mode: str) -> Call:
    # From its eighth shape on a function is quietly run eagerly, unless what was compiled before is forgotten.
    torch.compiler.reset()
    compiled = torch.compile(model, mode=mode, dynamic=False)
    return lambda: compiled(**inputs).logits


def _inputs(batch: int, tokens: int, vocabulary: int, device: torch.device, seed: int) -> Inputs:
    """Random tokens without padding, (batch, tokens)."""
    source = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, vocabulary, (batch, tokens), generator=source)
    return {"input_ids": ids.to(device), "attention_mask": torch.ones_like(ids).to(device)}


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


def _name(dtype: torch.dtype) -> str:
    return {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}[dtype]


def _bytes(model: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in (*model.parameters(), *model.buffers()))


def _target(variant: Variant) -> dict[str, Any]:
    onnx, compiled = variant.name == ONNX, variant.name.startswith("torch-compile")
    runtime, form = ("onnxruntime", "onnx") if onnx else ("torch", "torch")
    how = "CUDA provider, bound inputs" if onnx else "compiled" if compiled else "eager"
    title = f"{runtime} {variant.precision}, {how}"
    return {"name": variant.name, "kind": "baseline", "title": title, "runtime": runtime, "form": form}


def _latencies(target: str, rounds: Rounds, conditions: dict[str, Any], seed: int) -> list[dict[str, Any]]:
    base = {"target": target, "unit": "ms", "count": sum(map(len, rounds)), "higher_is_better": False}
    return [
        base | {"name": name, "conditions": conditions} | _interval(statistic, rounds, seed=seed)
        for name, statistic in (("latency_p50_ms", _median), ("latency_p95_ms", _p95))
    ]


def _peak_memory(target: str, size_bytes: int, conditions: dict[str, Any]) -> dict[str, Any]:
    base = {"target": target, "name": "peak_memory_bytes", "value": size_bytes, "unit": "bytes"}
    held = {"of": "weights and activations in torch's allocator"}
    return base | {"higher_is_better": False, "conditions": conditions | held}


def _comparison(target: str, figure: dict[str, float], conditions: dict[str, Any]) -> dict[str, Any]:
    verdict = "better" if figure["low"] > 1 else "worse" if figure["high"] < 1 else "tie"
    base = {"target": target, "baseline": BASELINE, "name": "speedup", "p_value": None, "verdict": verdict}
    return base | figure | {"conditions": conditions}


def _prefixed(name: str, figure: dict[str, float]) -> dict[str, float]:
    return {name: figure["value"], f"{name}_low": figure["low"], f"{name}_high": figure["high"]}


def _environment(device: torch.device) -> dict[str, Any]:
    found: dict[str, Any] = {
        "device": device.type,
        "system": platform.system(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    for package in ("torch", "transformers", "onnxruntime-gpu", "onnxruntime", "onnx", "onnxscript"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {"gpu": properties.name, "gpu_memory_bytes": properties.total_memory, "driver": _driver()}
        found |= {"capability": f"{properties.major}.{properties.minor}", "cuda": torch.version.cuda}
        found["cudnn"] = torch.backends.cudnn.version()
        found["float32_matmul_precision"] = torch.get_float32_matmul_precision()
    return found


def _driver() -> str | None:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.splitlines()[0].strip() if answer.stdout.strip() else None


def _write(options: argparse.Namespace, effort: Effort, environment: dict[str, Any], findings: Findings) -> None:
    """In one step: a reader sees the old file or the new one, never half of one."""
    run = {
        "format": 1,
        "name": "gpu" if options.device == "cuda" else "gpu-bench-on-cpu",
        "recipe": {
            "model": "a folder that was given" if options.model else f"{options.size}, random weights",
            "shapes": [f"{batch}x{tokens}" for batch, tokens in effort.shapes],
            "shapes_of": options.recipe.name if options.recipe else None,
            "seed": options.seed,
            "rounds": effort.rounds,
            "block": {"seconds": effort.block_seconds, "calls": effort.block_calls, "pause": effort.pause_seconds},
        },
        "environment": environment,
        "lineage": [],
        "targets": list(findings.targets.values()),
        "skipped": findings.skipped,
        "measurements": findings.measurements,
        "comparisons": findings.comparisons,
        "gates": [],
        "series": {},
        "tables": {"attention": findings.attention, "parity": findings.parity},
    }
    options.output.mkdir(parents=True, exist_ok=True)
    file: Path = options.output / FILE_NAME
    draft = file.with_suffix(".json.draft")
    draft.write_text(json.dumps(run, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(draft, file)


def _table(findings: Findings) -> str:
    """What was found, for a terminal."""
    speedups = {(c["target"], c["conditions"]["batch"], c["conditions"]["tokens"]): c for c in findings.comparisons}
    lines = [f"{'shape':>8}  {'target':<20} {'p50 ms':>10} {'95 % interval':>22}  speed-up over {BASELINE}"]
    for m in findings.measurements:
        if m["name"] != "latency_p50_ms":
            continue
        batch, tokens = m["conditions"]["batch"], m["conditions"]["tokens"]
        line = f"{f'{batch}x{tokens}':>8}  {m['target']:<20} {m['value']:>10.3f} {_span(m['low'], m['high']):>22}"
        ratio = speedups.get((m["target"], batch, tokens))
        lines.append(line + (f"  {ratio['value']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})" if ratio else ""))
    lines += ["", f"attention, forward, batch 1, {HEADS} heads of {HEAD_SIZE}: milliseconds and peak MiB"]
    for row in findings.attention:
        sides = "   ".join(f"{name} {_side(row, name)}" for name in ("plain", "fused"))
        quoted = f"   (quoted: {row['quoted_plain']} -> {row['quoted_fused']})" if "quoted_plain" in row else ""
        lines.append(f"{row['tokens']:>8}  {sides}{quoted}")
    if any("quoted_plain" in row for row in findings.attention):
        lines.append(f"quoted: {QUOTED_CONDITIONS}")
    lines += [f"skipped: {entry['target']}: {entry['reason']}" for entry in findings.skipped]
    return "\n".join(lines)


def _side(row: dict[str, Any], name: str) -> str:
    if row[f"{name}_outcome"] != MEASURED:
        return str(row[f"{name}_outcome"])
    peak = row[f"{name}_peak_bytes"]
    return f"{row[f'{name}_ms']:.3f} ms" + (f", {peak / 2**20:.0f} MiB" if peak is not None else "")


def _span(low: float, high: float) -> str:
    return f"{low:.3f} to {high:.3f}"


def _effort(device: torch.device, quick: bool, shapes: tuple[tuple[int, int], ...] | None) -> Effort:
    if device.type == "cuda" and not quick:
        return Effort(shapes or ((1, 128), (32, 128), (32, 512)), (2048, 8192, 32768))
    if device.type == "cuda":
        return Effort(shapes or ((1, 128),), (2048,), rounds=3, block_seconds=0.1)
    if not quick:
        return Effort(shapes or ((1, 128), (8, 128)), (512, 1024, 2048))
    return Effort(shapes or ((1, 16), (2, 32)), (64, 128), rounds=3, block_seconds=0.02, pause_seconds=0.01)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, metavar="FOLDER", help="a model folder as the hub lays it out")
    parser.add_argument("--size", choices=SIZES, help="what to build without a model: bert-base; minilm on a CPU")
    parser.add_argument("--recipe", type=Path, metavar="FILE", help=f"whose shapes to time; default: {RECIPE.name}")
    parser.add_argument("--shapes", type=_shapes, metavar="BxT,...", help="batch x tokens, such as 1x128,32x128")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="default: reports/published/gpu; runs/gpu-bench on a CPU"
    )
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument("--quick", action="store_true", help="few rounds of small sizes: does it work here?")
    options = parser.parse_args(arguments)
    if options.device == "auto":
        options.device = "cuda" if torch.cuda.is_available() else "cpu"
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error(
            "--device cuda: torch finds no CUDA device here; wanted a GPU, its driver and a CUDA build of torch"
        )
    if options.model is not None and not (options.model / "config.json").is_file():
        parser.error(f"--model {options.model}: no config.json there; wanted a model folder")
    options.size = options.size or ("bert-base" if options.device == "cuda" else "minilm")
    _settle_shapes(parser, options)
    # Figures of a CPU must not land where a GPU's are published.
    options.output = options.output or Path("reports/published/gpu" if options.device == "cuda" else "runs/gpu-bench")
    return options


def _settle_shapes(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Read the recipe's shapes, unless others are asked for; `recipe` is then None."""
    if options.shapes is not None:
        options.recipe = None
    elif options.recipe is None and not options.quick and RECIPE.is_file():
        options.recipe = RECIPE
    if options.recipe is None:
        return
    try:
        shapes = yaml.safe_load(options.recipe.read_text(encoding="utf-8"))["deploy"]["shapes"]
        options.shapes = _shapes(",".join(map(str, shapes)))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, argparse.ArgumentTypeError) as fault:
        parser.error(f"--recipe {options.recipe}: {' '.join(str(fault).split())}")
    except (KeyError, TypeError):
        parser.error(f"--recipe {options.recipe}: no deploy.shapes there; give shapes with --shapes 1x128,32x128")


def _shapes(text: str) -> tuple[tuple[int, int], ...]:
    try:
        shapes = tuple((int(batch), int(tokens)) for batch, tokens in (part.split("x") for part in text.split(",")))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: wanted BATCHxTOKENS,... such as 1x128,32x128") from None
    if min(min(shape) for shape in shapes) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: wanted a batch and tokens of at least 1")
    return shapes


def _first_line(fault: Exception) -> str:
    return (str(fault).strip() or type(fault).__name__).splitlines()[0]


def _say(message: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
