"""The bench of exports: what it makes is measured as it is, and each promise can be broken."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_run import make_small
from tiny import tiny_bundle

from bench.exporting.cases import CASES, FLOAT, HEADS, UNEVEN, WHOLE, Case
from bench.exporting.making import made, with_heads
from bench.exporting.record import TWIN, as_run
from evaluation.measurement import Run

ABOUT = {"threads": 1, "command": "python -m bench.exporting"}
_GATE = {"name": "parity", "passed": True, "detail": "fine"}
_ONE = {"seconds": 9.0, "model_bytes": 100, "peak_bytes": 350, "gates": [_GATE], "logit_error": 0.03, "bytes": 14e6}
FOUND: dict[str, Any] = {case.name: _ONE | {"flops": 120, "path": "x"} for case in CASES}
FOUND[UNEVEN.name] = FOUND[UNEVEN.name] | {"flops": 100}


def _run(found: dict[str, Any], *, uneven_ms: float = 10.0, command_s: float = 12.0) -> Run:
    names = {WHOLE.name: 12.0, WHOLE.name + TWIN: 12.0, UNEVEN.name: uneven_ms}
    times = {name: [np.full(4, ms + 0.01 * place) for place in range(8)] for name, ms in names.items()}
    return as_run(found, times, command_s, ABOUT)


def test_what_keeps_every_promise_passes():
    run = _run(FOUND)
    assert [gate.detail for gate in run.gates if not gate.passed] == []
    assert run.compared(UNEVEN.name, WHOLE.name, "speedup", batch=32, tokens=64).value == pytest.approx(1.2, rel=0.01)
    assert len(run.tables["files"]) == len(CASES)


@pytest.mark.parametrize(
    ("name", "change", "settings", "gate"),
    [
        (FLOAT.name, {"peak_bytes": 420}, {}, "peak_memory"),
        (FLOAT.name, {}, {"command_s": 21.0}, "command_seconds"),
        ("int8-trimmed", {"bytes": 15.2e6}, {}, "megabytes"),
        (UNEVEN.name, {"gates": [_GATE | {"passed": False}]}, {}, "export_gates"),
        (UNEVEN.name, {"gates": []}, {}, "export_gates"),
        (UNEVEN.name, {}, {"uneven_ms": 13.0}, "speedup_by_flops"),
    ],
)
def test_each_promise_can_be_broken(name: str, change: dict[str, Any], settings: dict[str, Any], gate: str):
    found = deepcopy(FOUND)
    found[name] |= change
    assert [one.name for one in _run(found, **settings).gates if not one.passed] == [gate]


@pytest.mark.slow
def test_a_case_is_made_and_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("bench.exporting.making.COLUMNS", "text=text")
    monkeypatch.setattr("bench.exporting.making.CALIBRATION", 8)
    home = make_small(tmp_path)
    case = Case("small", "a small one", ({"export": {}}, {"quantize": {"reduce_range": True}}))
    table = str(home.home / "texts.tsv")
    found = made(asdict(case), str(home.home / "source"), table, str(tmp_path / "work"))
    assert Path(found["path"]).stat().st_size == found["bytes"] > 0
    assert {gate["name"] for gate in found["gates"]} >= {"fusion", "parity", "quantized_operators"}
    assert 0 < found["logit_error"] < 2
    assert min(found["seconds"], found["flops"], found["model_bytes"]) > 0


def test_as_many_heads_stay_as_were_asked_for():
    cut = with_heads(tiny_bundle(), [3, 1, 2, 4])
    assert list(cut.anatomy.heads_by_layer()) == [3, 1, 2, 4]
    assert len(HEADS) == 6
