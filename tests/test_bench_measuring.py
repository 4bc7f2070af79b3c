"""The bench of measuring: it counts what it should, keeps what other parts found, and runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.measuring import __main__ as bench
from bench.measuring import aa, alone, many, planted
from bench.measuring.part import Part
from bench.measuring.sample import Slowed
from compress.runtimes.timing import WallClock
from evaluation.across.kept import Kept
from evaluation.measurement import Gate, Measurement, Run, read_run

pytestmark = pytest.mark.slow


def aa_rows(*verdicts: str) -> list[dict[str, Any]]:
    return [
        {"sitting": number, "runtime": "torch", "shape": "1x16", "verdict": verdict}
        for number, verdict in enumerate(verdicts, start=1)
    ]


@pytest.mark.parametrize(("false", "passed"), [(0, True), (1, True), (2, False)])
def test_a_false_verdict_is_one_whichever_way_and_wherever(false: int, passed: bool):
    rows = aa_rows(*["better", "worse"][:false], *["tie"] * (20 - false))
    rows += [{**row, "shape": "1x128"} for row in aa_rows(*["tie"] * 20)]
    part = aa._judged(rows, 20)
    [gate] = part.gates
    assert (gate.value, gate.passed) == (false, passed)
    assert [row.value for row in part.measurements] == [false, 0]


@pytest.mark.parametrize(("missed", "passed"), [(0, True), (1, True), (2, False)])
def test_a_slow_down_that_is_a_tie_or_better_is_missed(missed: int, passed: bool):
    rows = [{"runtime": "torch", "verdict": "worse"} for _ in range(10)]
    rows += [{"runtime": "onnxruntime", "verdict": v} for v in ["tie", "better"][:missed] + ["worse"] * (10 - missed)]
    [gate] = planted._judged(rows, 10).gates
    assert (gate.value, gate.passed) == (10 - missed, passed)


@pytest.mark.parametrize(("alone_ms", "passed"), [(1.05, True), (0.8, False), (1.3, False)])
def test_together_and_alone_may_differ_by_a_tenth_either_way(alone_ms: float, passed: bool):
    medians = {
        ("torch-fp32", "1x16"): {"together": [1.0, 1.0, 9.0], "alone": [1.0, 1.0, 9.0]},
        ("openvino", "1x16"): {"together": [1.0] * 3, "alone": [alone_ms] * 3},
    }
    times = {key: {how: [np.array([ms]) for ms in each] for how, each in ways.items()} for key, ways in medians.items()}
    [gate] = alone._judged(times, missing=[]).gates
    assert gate.passed is passed
    assert "openvino" in gate.detail
    [without] = alone._judged(times, missing=["onnxruntime"]).gates
    assert not without.passed, "the promise is of all three"


def test_runs_that_are_made_up_for_a_report_contradict_nothing(tmp_path: Path):
    form, split = read_run(many.FORM), many._split(60, 1)
    homes = [many._made(form, split, tmp_path / name, seed) for seed, name in enumerate("ab")]
    runs = [Kept(home.name, read_run(home), home) for home in homes]
    assert [doubts for kept in runs for doubts in kept.doubts()] == []
    assert runs[0].run.measured("result", "accuracy") != runs[1].run.measured("result", "accuracy")


@pytest.mark.parametrize(("seconds", "most", "held"), [(9.9, 9e8, [True, True]), (10.1, 1.1e9, [False, False])])
def test_a_report_over_many_runs_has_ten_seconds_and_a_gigabyte(seconds: float, most: float, held: list[bool]):
    part = many._judged(50, seconds, int(most), 3)
    assert [gate.passed for gate in part.gates] == held


def test_a_slowed_session_takes_a_share_longer():
    class Busy:
        def bind(self, _inputs: Any) -> Any:
            return np.ones((400, 400)).sum

    clock = WallClock()
    plain, slowed = Busy().bind({}), Slowed(Busy(), 1.0).bind({})  # type: ignore[arg-type]
    times = np.array([[clock.time_ms(plain), clock.time_ms(slowed)] for _ in range(60)])
    assert 1.6 < np.median(times[:, 1]) / np.median(times[:, 0]) < 3.0


def test_what_other_parts_found_stays():
    def of(name: str, value: float) -> Part:
        gate = Gate(name=name, limit=1, value=value, passed=True)
        row = Measurement(target="measuring", name=name, value=value, unit="count", higher_is_better=True)
        return Part([gate], [row], {name: [value]})

    earlier = bench.as_run({"a": of("a", 1), "b": of("b", 1)}, {}, {}, None)
    later = bench.as_run({"b": of("b", 2)}, {}, {}, earlier)
    assert [(gate.name, gate.value) for gate in later.gates] == [("a", 1), ("b", 2)]
    assert [(row.name, row.value) for row in later.measurements] == [("a", 1), ("b", 2)]
    assert (later.tables["a"], later.tables["b"]) == ([1], [2])
    assert [row["gate"] for row in later.tables["tried when"]] == ["a", "b"]
    assert isinstance(later, Run)


def test_the_bench_runs_and_writes_its_page(tmp_path: Any, capsys: pytest.CaptureFixture[str]):
    code = bench.main(["--small", "--only", "planted", "--output", str(tmp_path)])
    assert code in (0, 3)  # a tiny model and four rounds: what is found is not what is tested here
    run = read_run(tmp_path)
    assert [gate.name for gate in run.gates] == ["planted_slow_down"]
    assert len(run.tables["planted slow-downs"]) == 4
    assert "planted_slow_down" in capsys.readouterr().out
    assert (tmp_path / "index.html").exists()


def test_a_part_that_there_is_not_is_refused(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        bench.main(["--only", "aa,b"])
    assert "no part b" in capsys.readouterr().err
