"""What made a result: the code, the versions of the libraries that matter, and the machine."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
import platform
import sys
from collections.abc import Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    *("torch", "transformers", "tokenizers", "numpy", "accelerate", "torch-pruning", "safetensors"),
    *("pillow", "scipy"),  # what a picture's pixels are, and the perplexity that an epoch is chosen by
    *("onnx", "onnx-ir", "onnxscript", "onnxruntime", "onnxruntime-gpu"),
)
RUNTIMES = ("openvino",)
"""What only figures depend on: no stage uses it, and no stored outcome grows stale by it."""
OWN = ("compress", "evaluation")


def versions() -> dict[str, str]:
    """The installed version of each package that can change a result."""
    return _installed(PACKAGES)


@cache
def code_digest(module: str) -> str:
    """The sha256 of a module's source and of every module of ours that it imports, however far away.

    A stage whose code changed, or that relies on code that changed, so never finds a stale result.
    """
    digest = hashlib.sha256()
    for name in sorted(_reached(module)):
        source = _source(name)
        assert source is not None, f"{name} was found a moment ago"
        digest.update(f"{name}\n".encode() + source.read_bytes())
    return "sha256:" + digest.hexdigest()


def processor() -> dict[str, Any]:
    """What decides how fast anything is on the CPU here."""
    import psutil

    cores = psutil.cpu_count(logical=False) or os.cpu_count()
    return {"cpu": _cpu_name(), "cpu_features": _vector_features(), "cores": cores}


def environment(device: str, threads: int) -> dict[str, Any]:
    """The machine and the libraries, for `run.json`; nothing that names a user, a host or a path."""
    import psutil

    return {
        "python": platform.python_version(),
        "packages": _installed((*PACKAGES, *RUNTIMES)),
        "os": platform.system().lower(),
        **processor(),
        **({"affinity": cores} if (cores := _affinity()) else {}),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "device": _device_name(device),
        "threads": threads,
    }


def _affinity() -> str:
    """The logical cores that this process is held to, as `0-3,8`; empty where the system does not say.

    Threads are as many as a recipe asks for, and the system moves them among these. It is for who starts a program to
    hold it to some (`taskset -c 0-3 compress run ...`): two that chose for themselves would choose the same.
    """
    import psutil

    try:
        cores = sorted(psutil.Process().cpu_affinity())
    except (AttributeError, OSError):  # macOS has no such thing
        return ""
    runs: list[list[int]] = []
    for core in cores:
        if runs and core == runs[-1][-1] + 1:
            runs[-1].append(core)
        else:
            runs.append([core])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _installed(packages: Sequence[str]) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _reached(module: str) -> set[str]:
    reached: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        source = _source(name)
        if name in reached or source is None:
            continue
        reached.add(name)
        waiting += _imports(source)
    return reached


@cache
def _imports(source: Path) -> list[str]:
    """Modules of ours that a file imports; `from compress import x` may name a module x."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in OWN:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in OWN]
    return found


@cache
def _source(module: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # the parent is a module, not a package: the name is something inside it
        return None
    return Path(spec.origin) if spec and spec.origin else None


def _cpu_name() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _vector_features() -> list[str]:
    """The instructions that decide how fast int8 and bfloat16 are."""
    if sys.platform != "linux":
        return []
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("flags", 1)[-1].split("\n", 1)[0].split()
    return [flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8") if flag in flags]


def _device_name(device: str) -> str:
    if device == "cpu":
        return "cpu"
    import torch

    return torch.cuda.get_device_name()
