"""`compress doctor`: what is wrong with this machine, and the command that mends it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from compress.deploy import visible_cores
from compress.store import cache_root

NEEDED_BYTES = 3_000_000_000
DISTRIBUTION = "compress-transformers"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `mend` is the command that puts it right."""

    severity: Literal["good", "note", "fault"]
    text: str
    mend: str = ""


def examine() -> list[Finding]:
    """Everything that was looked at, faults first."""
    findings = [*_runtime(), *_versions(), *_disk(), *_compiler()]
    findings.append(Finding("good", f"{visible_cores()} physical cores may be used"))
    order = {"fault": 0, "note": 1, "good": 2}
    return sorted(findings, key=lambda finding: order[finding.severity])


def to_text(findings: list[Finding]) -> str:
    """A line a finding, with its mend below."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.severity:<5} {finding.text}")
        if finding.mend:
            lines.append(f"      mend: {finding.mend}")
    return "\n".join(lines)


def _runtime() -> Iterator[Finding]:
    """The two onnxruntime wheels write the same files: with both, whichever came last runs, half overwritten."""
    cpu, gpu = _version("onnxruntime"), _version("onnxruntime-gpu")
    pip = f"{Path(sys.executable).name} -m pip"
    if cpu and gpu:
        mend = f"{pip} uninstall -y onnxruntime onnxruntime-gpu && {pip} install '{DISTRIBUTION}[cpu]'  # or [gpu]"
        yield Finding("fault", f"onnxruntime {cpu} and onnxruntime-gpu {gpu} overwrite each other", mend)
        return
    if not cpu and not gpu:
        yield Finding("fault", "no onnxruntime", f"{pip} install '{DISTRIBUTION}[cpu]'  # or [gpu]")
        return
    import onnxruntime

    providers = onnxruntime.get_available_providers()
    if gpu and "CUDAExecutionProvider" not in providers:
        text = f"onnxruntime-gpu {gpu} finds no CUDA provider: the CUDA and cuDNN that it was built for are not here"
        yield Finding("fault", text, f"{pip} uninstall -y onnxruntime-gpu && {pip} install '{DISTRIBUTION}[cpu]'")
        return
    yield Finding("good", f"onnxruntime{'-gpu' if gpu else ''} {gpu or cpu} with {', '.join(providers)}")


def _versions() -> Iterator[Finding]:
    """Installed packages against the ranges that this version declares."""
    from packaging.requirements import Requirement

    try:
        declared = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        yield Finding("note", f"{DISTRIBUTION} is not installed, only on the path", "pip install -e '.[cpu]'")
        return
    wanted = [Requirement(text) for text in declared]
    outside = 0
    for requirement in wanted:
        found = _version(requirement.name)
        if requirement.marker is not None or (found and requirement.specifier.contains(found, prereleases=True)):
            continue
        outside += 1
        text = f"{requirement.name} {found or 'is missing'}, tested with {requirement.specifier}"
        yield Finding("note" if found else "fault", text, f"pip install '{requirement}'")
    if not outside:
        yield Finding("good", "every package is within its tested range")


def _disk() -> Iterator[Finding]:
    root = cache_root()
    existing = next(folder for folder in (root, *root.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    text = f"{free / 1e9:.1f} GB free for the cache in {root}"
    if free < NEEDED_BYTES:
        yield Finding("note", f"{text}; a recipe takes up to 3", "COMPRESS_CACHE=/a/larger/disk compress run ...")
    else:
        yield Finding("good", text)


def _compiler() -> Iterator[Finding]:
    if shutil.which("g++") or shutil.which("clang++"):
        yield Finding("good", "a C++ compiler for the torch-compile baseline")
    else:
        yield Finding("note", "no C++ compiler: the baseline torch-compile will be skipped", "install g++")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
