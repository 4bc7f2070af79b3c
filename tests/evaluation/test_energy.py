"""Energy is what the machine's own counters say, however they wrap; where there are none, the reason is said."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evaluation.speed.energy import energy_note, meter_of

RANGE = 1_000_000


class Fault(Exception):
    """What NVML raises."""


def zone(powercap: Path, place: str, name: str, microjoules: int) -> Path:
    folder = powercap / f"intel-rapl:{place}"
    folder.mkdir(parents=True)
    for file, content in (("name", name), ("energy_uj", microjoules), ("max_energy_range_uj", RANGE)):
        (folder / file).write_text(f"{content}\n", encoding="ascii")
    return folder / "energy_uj"


def gpu(*millijoules: int, fault: str = "") -> Any:
    """A driver whose counter reads these values in turn, or that fails."""
    readings = iter(millijoules)

    def read(_handle: object) -> int:
        if fault:
            raise Fault(fault)
        return next(readings)

    return SimpleNamespace(
        NVMLError=Fault,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda index: f"index {index}",
        nvmlDeviceGetHandleByUUID=lambda uuid: f"uuid {uuid}",
        nvmlDeviceGetTotalEnergyConsumption=read,
        nvmlDeviceGetName=lambda handle: f"GPU of {handle}",
    )


def test_a_cpu_is_its_packages_and_memory_and_nothing_twice(tmp_path: Path):
    package = zone(tmp_path, "0", "package-0", 100)
    zone(tmp_path, "0:0", "core", 100)  # a part of the package
    memory = zone(tmp_path, "0:1", "dram", 5)
    whole = zone(tmp_path, "1", "psys", 7)  # all of them together
    meter = meter_of("cpu", powercap=tmp_path)
    assert not isinstance(meter, str)
    before = meter.joules()
    for file, value in ((package, 300_100), (memory, 20_005), (whole, 900_000)):
        file.write_text(str(value), encoding="ascii")
    assert meter.joules() - before == pytest.approx(0.32)
    assert "package-0, dram" in meter.of


def test_a_counter_that_starts_again_loses_nothing(tmp_path: Path):
    file = zone(tmp_path, "0", "package-0", RANGE - 1000)
    meter = meter_of("cpu", powercap=tmp_path)
    assert not isinstance(meter, str)
    before = meter.joules()
    for value in (500, RANGE - 500, 1500):
        file.write_text(str(value), encoding="ascii")
        after = meter.joules()
    assert after - before == pytest.approx((1500 + RANGE - 1000 + 2000) / 1e6)


def test_a_cpu_without_counters_has_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert "no RAPL counters" in str(meter_of("cpu", powercap=tmp_path))
    file = zone(tmp_path, "0", "package-0", 1)
    file.write_text("nonsense", encoding="ascii")
    assert "can't be read" in str(meter_of("cpu", powercap=tmp_path))

    def refuse(*_args: object, **_kwargs: object) -> str:
        raise PermissionError

    monkeypatch.setattr(Path, "read_text", refuse)
    assert "root alone" in str(meter_of("cpu", powercap=tmp_path))


def test_a_gpu_is_asked_in_millijoules():
    meter = meter_of("cuda", nvml=gpu(0, 1000, 3500))
    assert not isinstance(meter, str)
    assert -meter.joules() + meter.joules() == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("visible", "handle"), [("2,0", "index 2"), ("GPU-abc", "uuid GPU-abc"), ("", "index 0"), (None, "index 0")]
)
def test_the_gpu_is_the_one_that_programs_see_first(visible: str | None, handle: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    meter = meter_of("cuda", nvml=gpu(0))
    assert not isinstance(meter, str)
    assert handle in meter.of


def test_a_gpu_that_does_not_count_has_a_reason(monkeypatch: pytest.MonkeyPatch):
    assert "no such counter" in str(meter_of("cuda", nvml=gpu(fault="no such counter")))
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert "nvidia-ml-py" in str(meter_of("cuda"))
    assert energy_note("cuda").startswith("not measured: ")
