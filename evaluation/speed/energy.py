"""Energy, asked of the machine itself: a GPU through NVML, a CPU through the RAPL counters of Linux.

Both count what the whole chip takes, other programs included, since some moment in the past: two readings around a
piece of work say what it took. RAPL is described in the kernel's documentation (power/powercap), NVML's counter in
NVIDIA's reference of nvmlDeviceGetTotalEnergyConsumption.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

POWERCAP = Path("/sys/class/powercap")
_COUNTED = ("package", "dram")  # `psys`, where there is one, holds both again


class Meter(Protocol):
    """Something that counts energy."""

    @property
    def of(self) -> str:
        """What is counted, in words."""

    def joules(self) -> float:
        """Joules since some moment in the past; only differences mean anything."""


def meter_of(device: str, *, powercap: Path = POWERCAP, nvml: Any = None) -> Meter | str:
    """A meter for what runs on `device`, "cpu" or "cuda"; or the reason why there is none here.

    Args:
        powercap: where the kernel shows its RAPL counters.
        nvml: stands in for the module `pynvml`.
    """
    return _gpu(nvml) if device == "cuda" else _cpu(powercap)


def energy_note(device: str) -> str:
    """What is counted on `device`, or why nothing is: for a run's environment."""
    found = meter_of(device)
    return f"not measured: {found}" if isinstance(found, str) else found.of


@dataclass
class _Counter:
    """One RAPL counter, which starts again from zero beyond `wraps_at`; it does so within an hour or so under load."""

    file: Path
    wraps_at: int
    last: int
    total: int = 0

    def microjoules(self) -> int:
        now = int(self.file.read_text(encoding="ascii"))
        self.total += now - self.last if now >= self.last else now + self.wraps_at - self.last
        self.last = now
        return self.total


@dataclass
class _Rapl:
    """The CPU packages, and the memory beside them where it is counted."""

    of: str
    counters: list[_Counter] = field(default_factory=list)

    def joules(self) -> float:
        return sum(counter.microjoules() for counter in self.counters) / 1e6


@dataclass(frozen=True)
class _Nvml:
    """One GPU."""

    of: str
    nvml: Any
    handle: Any

    def joules(self) -> float:
        return float(self.nvml.nvmlDeviceGetTotalEnergyConsumption(self.handle)) / 1e3  # it counts millijoules


def _cpu(powercap: Path) -> Meter | str:
    counters, names = [], []
    try:
        for folder in sorted(powercap.glob("intel-rapl:*")):  # AMD's counters have this name too
            name = (folder / "name").read_text(encoding="ascii").strip()
            if not name.startswith(_COUNTED):
                continue
            file = folder / "energy_uj"
            first, wraps_at = (int((folder / one).read_text("ascii")) for one in (file.name, "max_energy_range_uj"))
            counters.append(_Counter(file, wraps_at, first))
            names.append(name)
    except PermissionError:
        return f"the RAPL counters under {powercap} can be read by root alone here"
    except (OSError, ValueError) as fault:
        return f"the RAPL counters under {powercap} can't be read: {fault}"
    if not counters:
        return f"no RAPL counters under {powercap}; a virtual machine or container seldom has them"
    return _Rapl(f"RAPL: {', '.join(names)}; whole packages, other programs included", counters)


def _gpu(nvml: Any) -> Meter | str:
    if nvml is None:
        try:
            nvml = import_module("pynvml")
        except ImportError:
            return "nvidia-ml-py is not installed; `pip install -c constraints.txt -e '.[energy]'` brings it"
    try:
        nvml.nvmlInit()
        handle = _handle(nvml)
        nvml.nvmlDeviceGetTotalEnergyConsumption(handle)  # GPUs before Volta have no such counter
        name = nvml.nvmlDeviceGetName(handle)
    except nvml.NVMLError as fault:
        return f"NVML can't tell what this GPU takes: {fault}"
    return _Nvml(f"NVML: {name}; the whole GPU, other programs included", nvml, handle)


def _handle(nvml: Any) -> Any:
    """The GPU that a program sees as its first; NVML itself sees all of them, whatever a program is allowed."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    if first.startswith(("GPU-", "MIG-")):
        return nvml.nvmlDeviceGetHandleByUUID(first)
    return nvml.nvmlDeviceGetHandleByIndex(int(first) if first.isdecimal() else 0)
