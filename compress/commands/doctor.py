"""`compress doctor`: what is wrong with this machine, and the command that mends it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from compress.deploy import visible_cores
from compress.runtimes.onnxruntime import Onnxruntime
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
    """Everything that was looked at, faults first. It raises nothing: what can't be looked at is a fault."""
    looks = {"onnxruntime": _runtime, "packages": _versions, "disk": _disk, "compiler": _compiler, "cores": _cores}
    findings = [finding for subject, look in looks.items() for finding in _looked(subject, look)]
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


def _looked(subject: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from look()
    except Exception as fault:  # a broken installation fails in any way, and is what the doctor is called for
        yield Finding("fault", f"{subject}: can't be examined: {_told(fault)}")


def _runtime() -> Iterator[Finding]:
    """The two onnxruntime wheels write the same files: with both, whichever came last runs, half overwritten."""
    cpu, gpu = _version("onnxruntime"), _version("onnxruntime-gpu")
    pip = f"{Path(sys.executable).name} -m pip"
    install = f"{pip} install '{DISTRIBUTION}[cpu]'"
    if cpu and gpu:
        mend = f"{pip} uninstall -y onnxruntime onnxruntime-gpu && {install}  # or [gpu]"
        yield Finding("fault", f"onnxruntime {cpu} and onnxruntime-gpu {gpu} overwrite each other", mend)
        return
    if not cpu and not gpu:
        yield Finding("fault", "no onnxruntime", f"{install}  # or [gpu]")
        return
    wheel, device = ("onnxruntime-gpu", "cuda") if gpu else ("onnxruntime", "cpu")
    try:
        obstacle = Onnxruntime().obstacle(device)
    except Exception as fault:  # half of a wheel may import and then lack anything
        obstacle = _told(fault)
    if obstacle:
        text = f"{wheel} {gpu or cpu} can't run on {device}: {obstacle}"
        yield Finding("fault", text, f"{pip} uninstall -y {wheel} && {install}")
    else:
        yield Finding("good", f"{wheel} {gpu or cpu} runs on {device}")


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
        # A marker is an extra's: what it names may be missing.
        if found is None and requirement.marker is not None:
            continue
        if found and requirement.specifier.contains(found, prereleases=True):
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


def _cores() -> Iterator[Finding]:
    yield Finding("good", f"{visible_cores()} physical cores may be used")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _told(fault: Exception) -> str:
    return f"{type(fault).__name__}: {str(fault).strip()}".splitlines()[0]
