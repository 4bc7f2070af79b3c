"""The machine, its packages and what the run took of them, under names that need no key to `run.json`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from reports.number import duration, size
from reports.record import cell_of, facts
from reports.table import Table

_NAMES = {
    "cpu": "processor",
    "cpu_features": "vector instructions",
    "cores": "physical cores",
    "affinity": "logical cores it was held to",
    "memory_gb": "memory",
    "device": "ran on",
    "threads": "threads used",
    "os": "operating system",
    "python": "Python",
    "packages": "packages",
    "date": "date",
    "seconds": "time taken",
    "seconds_measuring": "of it measuring",
    "peak_memory_bytes": "peak memory",
    "stages_reused": "stages from the store",
    "energy": "energy",
    "commit": "commit",
}
_WRITTEN: dict[str, Callable[[Any], str]] = {
    "memory_gb": lambda value: f"{value:g} GB",
    "seconds": duration,
    "seconds_measuring": duration,
    "peak_memory_bytes": size,
    "os": lambda value: {"linux": "Linux", "darwin": "macOS", "windows": "Windows"}.get(value, str(value)),
}
_OF_THIS_SITTING = ("seconds", "peak_memory_bytes")


def machine_table(environment: Mapping[str, Any]) -> Table | None:
    """The machine and its packages; beside time and memory, what they leave out.

    What is not known here keeps the name that it was recorded under.
    """
    known = [name for name in _NAMES if name in environment]
    shown = {_NAMES.get(name, name): _told(name, environment) for name in (*known, *environment)}
    return facts("Machine and packages", shown)


def _told(name: str, environment: Mapping[str, Any]) -> Any:
    value, reused = environment[name], environment.get("stages_reused")
    known = name in _WRITTEN and isinstance(value, int | float | str) and not (name != "os" and isinstance(value, str))
    told = _WRITTEN[name](value) if known else value
    if name not in _OF_THIS_SITTING or not isinstance(reused, int) or reused <= 0:
        return told
    done = "1 stage was" if reused == 1 else f"{reused} stages were"
    return f"{cell_of(told)} ({done} found done: this covers the rest only)"
