"""The bench of ONNX files: a seat answers as the product does, promises are judged by the worst shape."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from tiny import tiny_bundle, tiny_split

from bench.onnx import __main__ as command
from bench.onnx import making
from bench.onnx.files import FILES, FLOAT, NNCF, PORTABLE, RESULT, File
from bench.onnx.making import Material, write_inputs
from bench.onnx.record import TORCH, as_run
from bench.onnx.sitting import Sat, seated, sit
from compress.bundle import Bundle
from compress.deploy import Shape
from compress.graph.calibration import calibration_inputs
from compress.runtimes.onnxruntime import open_session
from evaluation.measurement import Run

pytestmark = pytest.mark.slow

Exported = dict[str, tuple[Bundle, Bundle]]
SHAPES = (Shape(1, 16), Shape(8, 128))
ABOUT = {"threads": 1, "rounds": 8, "command": "python -m bench.onnx"}
LABELS = np.arange(400) % 2


@pytest.fixture
def material() -> Material:
    bundle = tiny_bundle()
    return Material("model", bundle, tiny_split("calibration", 6, seed=1), tiny_split("test", 40, seed=2), "train.tsv")


def test_a_seat_answers_as_the_product_does_and_times_what_it_was_given(exported: Exported, tmp_path: Path):
    bundle = exported["even-fused"][1]
    [fed] = calibration_inputs(bundle, tiny_split("test", 8, seed=2))
    file = write_inputs([fed, {name: value[:3] for name, value in fed.items()}], tmp_path / "in.npz")
    with seated(Path(sys.executable), "onnxruntime", bundle.graph.path, 1) as seat:
        whole, part = seat.answers(file)
        assert whole == pytest.approx(open_session(bundle.graph, device="cpu", threads=1).outputs(fed), abs=1e-5)
        assert part == pytest.approx(whole[:3], abs=1e-4)
        timed = seat.at(write_inputs([fed], tmp_path / "one.npz"))
        assert timed.warm_up() > 0
        block = timed.block()
    assert 3 <= len(block) <= 20
    assert (block > 0).all()


def test_a_seat_that_ends_is_told(tmp_path: Path):
    (tmp_path / "none.onnx").write_bytes(b"")
    with (
        pytest.raises(RuntimeError, match="a seat ended with exit code 1"),
        seated(Path(sys.executable), "onnxruntime", tmp_path / "none.onnx", 1) as seat,
    ):
        seat.answers(tmp_path / "none.npz")


def test_a_sitting_has_answers_in_the_order_of_the_rows_and_times_of_every_round(
    exported: Exported, material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("bench.onnx.sitting.BLOCK", (0.01, 3))
    file = exported["even-fused"][1].graph.path
    opened = {RESULT: (Path(sys.executable), "onnxruntime", file)}
    sat = sit(material, opened, [Shape(1, 8)], tmp_path, threads=1, rounds=2, twins=(RESULT,))
    assert sat.scores[RESULT] == pytest.approx(sat.scores[TORCH], abs=1e-4)
    assert sat.scores[TORCH].shape == (40, 2)
    assert {name: len(rounds) for name, rounds in sat.times[Shape(1, 8)].items()} == {RESULT: 2, f"{RESULT} (again)": 2}


@pytest.fixture
def judged(tmp_path: Path) -> Callable[..., Run]:
    """A run of made-up answers and times: every file takes 100 ms unless said otherwise, and answers as torch does."""
    generator = np.random.default_rng(0)
    whole = np.stack([1.0 - LABELS, LABELS], axis=1) * 4 + generator.standard_normal((400, 2))

    def judge(
        times: dict[str, tuple[float, float]],
        moved: float = 0.0,
        without: tuple[str, ...] = (),
        asked: Sequence[File] = FILES,
    ) -> Run:
        paths, scores = {}, {TORCH: whole}
        names = [file.name for file in asked if file.name not in without]
        for name in names:
            paths[name] = tmp_path / f"{name}.onnx"
            paths[name].write_bytes(bytes(1000))
            scores[name] = whole + moved * generator.standard_normal((400, 2))
        taken = {
            shape: {
                name: [np.full(4, times.get(name.split(" ")[0], (100.0, 100.0))[place])] * 8
                for name in [*names, f"{names[-1]} (again)"]
            }
            for place, shape in enumerate(SHAPES)
        }
        return as_run(Sat(scores, taken), asked, paths, dict.fromkeys(without, "no such package"), LABELS, ABOUT)

    return judge


def passed(run: Run) -> dict[str, bool]:
    return {gate.name: gate.passed for gate in run.gates}


def test_promises_are_kept_where_ours_is_fast_and_true(judged: Callable[..., Run]):
    run = judged({RESULT: (50.0, 50.0), FLOAT: (90.0, 90.0), PORTABLE: (90.0, 90.0)}, moved=0.02)
    assert set(passed(run).values()) == {True}
    assert len(run.gates) == 13
    assert run.name == "onnx-minilm"


def test_of_one_precision_only_its_promises_are_judged(judged: Callable[..., Run]):
    asked = [file for file in FILES if file.precision == "fp32"]
    run = judged({FLOAT: (100.0, 105.0)}, asked=asked)
    assert run.name == "onnx-minilm-fp32"
    assert passed(run) == dict.fromkeys(
        ("speedup_over_transformers-fp32", "speedup_over_optimum-O3", "speedup_over_olive"), False
    )


@pytest.mark.parametrize(
    ("times", "broken"),
    [
        ({RESULT: (90.0, 50.0)}, "speedup_over_openvino-nncf_at_1x16"),
        ({RESULT: (50.0, 130.0)}, "speedup_over_openvino-nncf"),
        ({RESULT: (50.0, 50.0), NNCF[1]: (50.0, 39.0)}, "speedup_over_openvino-nncf"),
        ({RESULT: (50.0, 85.0)}, "speedup_over_sentence-transformers-int8"),
        ({RESULT: (50.0, 95.0)}, "speedup_over_transformers-int8"),
        ({FLOAT: (100.0, 105.0)}, "speedup_over_optimum-O3"),
    ],
)
def test_the_worst_shape_and_the_fastest_setting_of_a_peer_decide(judged: Callable[..., Run], times, broken):
    assert passed(judged(times))[broken] is False


def test_answers_that_moved_too_far_break_the_promise(judged: Callable[..., Run]):
    kept, broken = passed(judged({}, moved=0.05)), passed(judged({}, moved=1.5))
    assert (kept["logit_error"], kept["agreement"], kept["quality_drop"]) == (True, True, True)
    assert (broken["logit_error"], broken["agreement"], broken["quality_drop"]) == (False, False, False)


def test_a_peer_that_could_not_be_made_is_named_and_its_promise_is_not_kept(judged: Callable[..., Run]):
    run = judged({RESULT: (50.0, 50.0)}, without=("optimum-O3",))
    assert [(one.target, one.reason) for one in run.skipped] == [("optimum-O3", "no such package")]
    [gate] = [gate for gate in run.gates if gate.name == "speedup_over_optimum-O3"]
    assert (gate.passed, gate.value) == (False, None)


def test_what_a_peers_script_says_last_is_the_reason(material: Material, tmp_path: Path, monkeypatch):
    (tmp_path / "peers").mkdir()
    (tmp_path / "peers" / "transformers_exporter.py").write_text("raise SystemExit('it can not')", encoding="utf-8")
    monkeypatch.setattr(making, "PEERS", tmp_path / "peers")
    file = next(file for file in FILES if file.name == "transformers-fp32")
    with pytest.raises(RuntimeError, match=r"transformers_exporter\.py ends with exit code 1: it can not"):
        making._peers(file, {}, material, tmp_path / "work", tmp_path / "environments")


def test_the_command_names_no_folder_and_bad_input_ends_in_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    asked = command._parsed(["--model", "/somewhere/mine", "--train", "/somewhere/train.tsv"])
    assert "/" not in command._command(asked)
    assert command.main(["--model", str(tmp_path / "none"), "--work", str(tmp_path)]) == 2
    assert "no such file or folder" in capsys.readouterr().err
