"""`compress plan` for a local model: how long it takes from start to end, and whether it writes anything."""

from __future__ import annotations

import hashlib
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from bench.faults.sample import Sample, compress_command, outside


@dataclass(frozen=True)
class Planned:
    """Wall times of whole processes, imports included, and what they changed."""

    seconds: tuple[float, ...]
    start_seconds: tuple[float, ...]
    """The same for a process that does nothing but import the command line."""
    codes: tuple[int, ...]
    changed: bool

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def planned(sample: Sample, times: int, recipe: str = "") -> Planned:
    """Plan a recipe, by default the sample's, several times, with an empty store."""
    before = tree_digest(sample.home)
    environment = outside(sample.home / "no-store") | {"PYTHONDONTWRITEBYTECODE": "1"}
    seconds, codes = [], []
    for _ in range(times):
        started = time.perf_counter()
        done = subprocess.run(
            compress_command("plan", recipe or sample.recipe.name),
            cwd=sample.home,
            env=environment,
            capture_output=True,
            check=False,
        )
        seconds.append(time.perf_counter() - started)
        codes.append(done.returncode)
    changed = tree_digest(sample.home) != before
    return Planned(tuple(seconds), starts(sample, times), tuple(codes), changed)


def starts(sample: Sample, times: int) -> tuple[float, ...]:
    """Seconds of whole processes that do nothing but import the command line."""
    environment = outside(sample.home / "no-store") | {"PYTHONDONTWRITEBYTECODE": "1"}
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import compress.cli"], env=environment, check=True)
        seconds.append(time.perf_counter() - started)
    return tuple(seconds)


def tree_digest(folder: Path) -> str:
    """`sha256:...` over the names, times and bytes of everything below a folder."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        total.update(f"{path.relative_to(folder).as_posix()} {status.st_mtime_ns} {content}\n".encode())
    return f"sha256:{total.hexdigest()}"
