"""`compress doctor`: what is wrong with this machine, and the command that mends it."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from compress.deploy import visible_cores
from compress.memory import room
from compress.runtimes.onnxruntime import Onnxruntime, sums_are_whole
from compress.store.inventory import LIMIT, limit_bytes, stages
from compress.store.store import Store, cache_root, is_whole

if TYPE_CHECKING:
    from packaging.requirements import Requirement

DISTRIBUTION = "compress-transformers"
CACHE_BYTES = 3_000_000_000
"""What a recipe's sources and stages take at most."""
TEMP_BYTES = 1_000_000_000
"""What the files of an export take while it is written."""
MEMORY_BYTES = 2_000_000_000
"""What the smallest of the shipped recipes needs."""
SAMPLING_S = 2.0
"""How long stored stages are compared with their manifests: it means reading them whole."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
BROUGHT = {
    "energy": "what a GPU takes, asked of NVML",
    "openvino": "the runtime OpenVINO",
    "test": "what the tests need",
}
"""What each extra is for; cpu and gpu have a look of their own."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `mend` is the command that puts it right."""

    severity: Literal["good", "note", "fault"]
    text: str
    mend: str = ""


def examine() -> list[Finding]:
    """Everything that was looked at, faults first. It raises nothing: what can't be looked at is a fault."""
    looks = {
        "onnxruntime": _runtime,
        "GPU": _gpu,
        "packages": _versions,
        "extras": _extras,
        "disk": _disk,
        "cache": _cache,
        "memory": _memory,
        "integers": _integers,
        "compiler": _compiler,
        "threads": _threads,
    }
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


def to_json(findings: list[Finding]) -> list[dict[str, Any]]:
    """The findings as JSON values."""
    return [asdict(finding) for finding in findings]


def _looked(subject: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from look()
    except Exception as fault:  # a broken installation fails in any way, and is what the doctor is called for
        yield Finding("fault", f"{subject}: can't be examined: {_told(fault)}")


def _runtime() -> Iterator[Finding]:
    """The two onnxruntime wheels write the same files: with both, whichever came last runs, half overwritten."""
    cpu, gpu = _version("onnxruntime"), _version("onnxruntime-gpu")
    install = _install("cpu")
    if cpu and gpu:
        mend = f"{_pip()} uninstall -y onnxruntime onnxruntime-gpu && {install}  # or [gpu]"
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
        yield Finding("fault", text, f"{_pip()} uninstall -y {wheel} && {install}")
    else:
        yield Finding("good", f"{wheel} {gpu or cpu} runs on {device}")


def _gpu() -> Iterator[Finding]:
    """What torch makes of the GPU, or of there being none."""
    import torch

    built, works = torch.version.cuda, torch.cuda.is_available()
    if built and not works:
        text = f"torch {torch.__version__} is built for CUDA {built}, but finds no driver or no GPU: it runs on the CPU"
        yield Finding("note", text, "nvidia-smi  # has to list the GPU; where there is none, nothing needs mending")
    elif works and not _version("onnxruntime-gpu"):
        mend = f"{_pip()} uninstall -y onnxruntime && {_install('gpu')}"
        yield Finding("note", "torch has a GPU here, onnxruntime is without: results can't be timed on it", mend)
    elif works:
        yield Finding("good", f"torch {torch.__version__} runs on {torch.cuda.get_device_name()}")


def _versions() -> Iterator[Finding]:
    """Installed packages against the ranges that this version declares."""
    outside = 0
    for requirement in _declared():
        found = _version(requirement.name)
        # A marker is an extra's: what it names may be missing.
        if found is None and requirement.marker is not None:
            continue
        if found and requirement.specifier.contains(found, prereleases=True):
            continue
        outside += 1
        text = f"{requirement.name} {found or 'is missing'}, tested with {requirement.specifier}"
        wanted = f"{requirement.name}{requirement.specifier}"
        yield Finding("note" if found else "fault", text, f"{_pip()} install '{wanted}'")
    if not outside and _declared():
        yield Finding("good", "every package is within its tested range")


def _extras() -> Iterator[Finding]:
    """The extras of which something is missing."""
    if not _declared():
        yield Finding("note", f"{DISTRIBUTION} is not installed, only on the path", f"{_pip()} install -e '.[cpu]'")
    for extra, purpose in BROUGHT.items():
        named = [one for one in _declared() if one.marker and one.marker.evaluate({"extra": extra})]
        lacking = [one.name for one in named if _version(one.name) is None]
        if lacking:
            yield Finding("note", f"extra {extra} ({purpose}) lacks {', '.join(lacking)}", _install(extra))


def _disk() -> Iterator[Finding]:
    """Room where results are kept and where files pass through."""
    root = cache_root()
    existing = next(folder for folder in (root, *root.parents) if folder.exists())
    elsewhere = "COMPRESS_CACHE=/a/larger/disk compress run ..."
    if not os.access(existing, os.W_OK):
        yield Finding("fault", f"the cache in {root} can't be written", elsewhere)
    free = shutil.disk_usage(existing).free
    text = f"{free / 1e9:.1f} GB free for the cache in {root}"
    if free < CACHE_BYTES:
        yield Finding("note", f"{text}; a recipe takes up to {CACHE_BYTES / 1e9:.0f}", elsewhere)
    else:
        yield Finding("good", text)
    passing = tempfile.gettempdir()
    free = shutil.disk_usage(passing).free
    if free < TEMP_BYTES:
        text = f"{free / 1e9:.1f} GB free for temporary files in {passing}; an export takes up to 1"
        yield Finding("note", text, "TMPDIR=/a/larger/disk compress run ...")


def _cache() -> Iterator[Finding]:
    """The stage store: entries that are not as they were left, what dead processes left, and its size."""
    store = Store(cache_root())
    entries = stages(store)
    whole = [entry for entry in entries if entry.kind == "stage"]
    started, looked, damaged = time.monotonic(), 0, 0
    for entry in reversed(whole):  # what was used last is what will be used next
        if looked and time.monotonic() - started > SAMPLING_S:
            break
        looked += 1
        damaged += not is_whole(entry.path)
    sample = f"{looked} of {len(whole)} stored stages looked at"
    if damaged:
        text = f"{damaged} are not as they were left ({sample}); a run makes them again"
        yield Finding("note", text, "compress cache clear")
    elif whole:
        yield Finding("good", f"{sample}: as they were left")
    left = [entry for entry in entries if entry.kind == "unfinished" and not entry.user]
    if left:
        size = sum(entry.size_bytes for entry in left)
        text = f"{len(left)} interrupted stages hold {size / 1e9:.1f} GB; the same `compress run` goes on from them"
        yield Finding("note", text, "compress cache clear --older-than 1d  # where they are not wanted any more")
    limit, size = limit_bytes(), sum(entry.size_bytes for entry in entries)
    if limit is not None and size > limit:
        text = f"the stage store holds {size / 1e9:.1f} GB, more than {LIMIT} allows ({limit / 1e9:.1f})"
        yield Finding("note", text, f"compress cache clear --keep {limit // 10**6}MB")


def _memory() -> Iterator[Finding]:
    there = room()
    text = f"{there.size_bytes / 1e9:.1f} GB of memory {there.limit}"
    if there.size_bytes < MEMORY_BYTES:
        yield Finding("note", f"{text}; few recipes fit", "compress plan RECIPE  # says what a run needs")
    else:
        yield Finding("good", text)


def _integers() -> Iterator[Finding]:
    """Whether sums of 8-bit products are right here: x86 CPUs without VNNI add two of them in 16 bits."""
    if sums_are_whole():
        yield Finding("good", "sums of 8-bit integers are whole on this CPU")
    else:
        text = "this CPU adds products of 8-bit integers in 16 bits, where large ones are clipped: int8 is less true"
        mend = "compress export ... --reduce-range  # in a recipe, quantize: {reduce_range: true}"
        yield Finding("note", text, mend)


def _compiler() -> Iterator[Finding]:
    if shutil.which("g++") or shutil.which("clang++"):
        yield Finding("good", "a C++ compiler for the torch-compile baseline")
    else:
        yield Finding("note", "no C++ compiler: the baseline torch-compile will be skipped", "install g++")


def _threads() -> Iterator[Finding]:
    """What the environment says of threads, against the cores that affinity and container leave to this process."""
    import psutil

    cores, here = visible_cores(), psutil.cpu_count(logical=False) or visible_cores()
    fewer = f" of {here}: affinity or container allow no more" if cores < here else ""
    yield Finding("good", f"{cores} physical cores may be used{fewer}")
    for variable in THREAD_VARIABLES:
        value = os.environ.get(variable)
        if value is None:
            continue
        if not value.isdigit() or int(value) < 1:
            yield Finding("note", f"{variable}={value} is no number of threads", f"unset {variable}")
        elif int(value) > cores:
            text = f"{variable}={value}, but {cores} physical cores may be used: threads wait for each other"
            yield Finding("note", text, f"export {variable}={cores}")
        elif int(value) == 1 < cores:
            text = f"{variable}=1, with {cores} physical cores: what asks for no number of its own uses one of them"
            yield Finding("note", text, f"unset {variable}")


def _declared() -> list[Requirement]:
    """What this distribution asks for, by its own metadata; nothing where it is not installed."""
    from packaging.requirements import Requirement

    try:
        return [Requirement(text) for text in metadata.requires(DISTRIBUTION) or []]
    except metadata.PackageNotFoundError:
        return []


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _pip() -> str:
    python = Path(sys.executable)
    here = python.is_relative_to(Path.cwd())
    return f"{shlex.quote(str(python.relative_to(Path.cwd()) if here else python))} -m pip"


def _install(extra: str) -> str:
    """The command that brings what an extra names. This program itself may be in no registry that pip asks."""
    named = [one for one in _declared() if one.marker and one.marker.evaluate({"extra": extra})]
    wanted = [shlex.quote(f"{one.name}{one.specifier}") for one in named] or [f"-e '.[{extra}]'"]
    return f"{_pip()} install {' '.join(wanted)}"


def _told(fault: Exception) -> str:
    return f"{type(fault).__name__}: {str(fault).strip()}".splitlines()[0]
