"""What is written down: the machine, `run.json`, and a table for a terminal."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from bench.gpu.attention import HEAD_SIZE, HEADS, QUOTED_CONDITIONS
from bench.gpu.memory import MEASURED
from bench.gpu.sitting import BASELINE, Effort, Findings

FILE_NAME = "run.json"


def environment_of(device: torch.device) -> dict[str, Any]:
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


def write(options: argparse.Namespace, effort: Effort, environment: dict[str, Any], findings: Findings) -> None:
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


def table(findings: Findings) -> str:
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


def _driver() -> str | None:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.splitlines()[0].strip() if answer.stdout.strip() else None


def _side(row: dict[str, Any], name: str) -> str:
    if row[f"{name}_outcome"] != MEASURED:
        return str(row[f"{name}_outcome"])
    peak = row[f"{name}peak_bytes"]
    return f"{row[f'{name}_ms']:.3f} ms" + (f", {peak / 2**20:.0f} MiB" if peak is not None else "")


def _span(low: float, high: float) -> str:
    return f"{low:.3f} to {high:.3f}"
