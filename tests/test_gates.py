"""Gates: which end of an interval is judged, what was not measured fails, and a failed promise stops no run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_run import Answer, Small, command, copy_of, few_rounds, finished_run

from compress.recipe import Gates
from compress.stages.export import PARITY_LIMITS
from evaluation.gates import judge, margins
from evaluation.measurement import Comparison, Gate, Measurement, Run, read_run

QUALITY = {"max_quality_drop": {"metric": "accuracy", "drop": 0.03}}
SPEED = {"min_speedup": {"baseline": "onnx-fp32", "shape": "1x16", "ratio": 2.0}}
SIZE = {"min_compression": {"baseline": "torch-fp32", "ratio": 4.0}}

DROP = {"baseline": "torch-fp32", "name": "quality_drop", "conditions": {"metric": "accuracy"}}
FASTER = {"baseline": "onnx-fp32", "name": "speedup", "conditions": {"batch": 1, "tokens": 16, "rounds": 8}}
SMALLER = {"baseline": "torch-fp32", "name": "compression_ratio"}


def judged(gates: dict[str, Any], *rows: dict[str, Any]) -> list[Gate]:
    compared = [Comparison(**{"target": "result", **row}) for row in rows]
    return judge(Gates.model_validate(gates), Run(name="a", comparisons=compared), reference="torch-fp32")


def bound(gate: dict[str, Any]) -> dict[str, Any]:
    """The same gate, judged by the worse end."""
    return {name: {**body, "bound": 0.95} for name, body in gate.items()}


def test_no_gates_no_judgement():
    assert judged({}, DROP | {"value": 9.0}) == []


@pytest.mark.parametrize(
    ("gate", "row", "good", "bad"),
    [(QUALITY, DROP, 0.029, 0.031), (SPEED, FASTER, 2.1, 1.9), (SIZE, SMALLER, 4.1, 3.9)],
)
def test_a_gate_passes_on_its_side_of_the_limit_and_on_the_limit_itself(gate, row, good, bad):
    [limit] = [body[key] for body in gate.values() for key in ("drop", "ratio") if key in body]
    for value, passes in ((good, True), (limit, True), (bad, False)):
        [found] = judged(gate, row | {"value": value})
        assert (found.passed, found.value, found.limit) == (passes, value, limit)
        assert row["baseline"] in found.detail


@pytest.mark.parametrize(("gate", "row", "value", "end"), [(QUALITY, DROP, 0.02, 0.05), (SPEED, FASTER, 2.5, 1.5)])
def test_a_bound_judges_the_worse_end_of_the_interval(gate, row, value, end):
    ends = {"low": min(value, end) - 0.01 * (end > value), "high": max(value, end)}
    row = row | {"value": value, **ends}
    [plain] = judged(gate, row)
    [strict] = judged(bound(gate), row)
    assert (plain.passed, plain.value) == (True, value)
    assert (strict.passed, strict.value) == (False, end)
    assert "worse end" in strict.detail
    assert "worse end" not in plain.detail


def test_a_bound_on_quality_says_how_likely_such_data_were_if_too_much_was_lost():
    row = DROP | {"value": 0.01, "low": 0.0, "high": 0.02, "margin": 0.03, "margin_p_value": 0.004}
    assert judged(bound(QUALITY), row)[0].p_value == 0.004
    assert judged(QUALITY, row)[0].p_value is None
    assert judged(bound(QUALITY), row | {"margin": 0.05})[0].p_value is None  # computed for another limit
    assert margins(Gates.model_validate(QUALITY)) == {"accuracy": 0.03}
    assert margins(Gates()) == {}


def test_outputs_that_are_not_finite_fail_a_gate_that_nobody_asked_for():
    rows = [
        Measurement(target=target, name=name, value=3, unit="examples", count=90, higher_is_better=False)
        for target, name in (("result", "not_finite"), ("02-prune", "not_finite"), ("onnx-fp32", "accuracy"))
    ]
    found = judge(Gates(), Run(name="a", measurements=rows), reference="torch-fp32")
    assert [(gate.name, gate.target, gate.value, gate.passed) for gate in found] == [
        ("finite_outputs", "result", 3, False),
        ("finite_outputs", "02-prune", 3, False),
    ]
    assert "of 90 examples" in found[0].detail


def test_a_gain_in_quality_passes():
    [found] = judged(QUALITY, DROP | {"value": -0.02})
    assert found.passed


def test_a_drop_in_perplexity_is_judged_as_a_fraction_and_says_so():
    gate = {"max_quality_drop": {"metric": "perplexity", "drop": 0.05}}
    row = DROP | {"unit": "relative", "conditions": {"metric": "perplexity"}}
    [kept], [broken] = (judged(gate, row | {"value": value}) for value in (0.04, 0.06))
    assert (kept.passed, broken.passed) == (True, False)
    assert "perplexity against torch-fp32, as a fraction of its value" in broken.detail


@pytest.mark.parametrize("gate", [QUALITY, SPEED, SIZE])
def test_what_was_not_measured_was_not_kept(gate):
    [found] = judged(gate)
    assert not found.passed
    assert "not measured here" in found.detail


def test_only_the_result_at_the_named_shape_against_the_named_baseline_counts():
    elsewhere = [
        FASTER | {"value": 9.0, "target": "01-distill"},
        FASTER | {"value": 9.0, "baseline": "torch-fp32"},
        FASTER | {"value": 9.0, "conditions": {"batch": 1, "tokens": 128}},
    ]
    assert not judged(SPEED, *elsewhere)[0].passed
    assert judged(SPEED, *elsewhere, FASTER | {"value": 3.0})[0].value == 3.0


def test_every_gate_is_judged_even_after_one_failed():
    rows = (DROP | {"value": 0.5}, FASTER | {"value": 3.0}, SMALLER | {"value": 1.0})
    found = {gate.name: gate.passed for gate in judged(QUALITY | SPEED | SIZE, *rows)}
    assert found == {"max_quality_drop": False, "min_speedup": True, "min_compression": False}


# In a run


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Small, Answer]:
    """A run that promised a compression that nothing reaches, and a quality that it keeps."""
    small = copy_of(finished_run(tmp_path_factory), tmp_path_factory.mktemp("gates") / "mine")
    with pytest.MonkeyPatch.context() as patch:
        few_rounds(patch)
        return small, command(patch, *promising(small), cache=small.cache)


def promising(small: Small) -> list[str | Path]:
    words: list[str | Path] = ["run", small.recipe, "-o", small.output, "--set", "measure.baselines=[torch-bf16]"]
    gates = "{min_compression: {baseline: torch-bf16, ratio: 1000}, max_quality_drop: {metric: accuracy, drop: 1}}"
    return [*words, "--set", f"gates={gates}"]


def test_a_failed_gate_ends_with_exit_code_3_and_says_value_limit_and_place(failed):
    small, answer = failed
    assert answer.code == 3
    assert "gate min_compression of result failed" in answer.message
    assert "limit 1000" in answer.message
    assert f"everything is kept: {small.output / 'report' / 'index.html'}" in answer.message
    assert "**result (04-quantize)**" in answer.out
    assert "Traceback" not in answer.err


def test_a_failed_gate_is_marked_in_run_json_and_on_the_page(failed):
    small, _ = failed
    gates = {gate.name: gate for gate in read_run(small.output).gates}
    assert not gates["min_compression"].passed
    for page in ("index.html", "report.md"):
        text = (small.output / "report" / page).read_text(encoding="utf-8")
        assert "FAILED" in text or "failed" in text
        assert "compression" in text


def test_a_failed_gate_keeps_everything(failed):
    small, _ = failed
    kept = {file.name for file in small.output.rglob("*") if file.is_file()}
    assert {"model_int8.onnx", "model.safetensors", "recipe.yaml", "result.npz", "index.html"} <= kept


def test_quality_is_judged_against_the_reference_even_where_it_is_no_baseline(failed):
    small, _ = failed
    gates = {gate.name: gate for gate in read_run(small.output).gates}
    assert gates["max_quality_drop"].passed
    assert "not measured" not in gates["max_quality_drop"].detail


def test_a_failed_gate_fails_again_when_nothing_has_to_be_measured(failed, monkeypatch):
    small, _ = failed
    before = (small.output / "run.json").read_bytes()
    answer = command(monkeypatch, *promising(small), cache=small.cache)
    assert answer.code == 3
    assert (small.output / "run.json").read_bytes() == before


def test_a_stricter_gate_of_a_stage_is_not_passed_on_an_older_runs_word(tmp_path_factory, tmp_path: Path, monkeypatch):
    """The stage is done again and leaves the same model; only its gate is another."""
    from compress import runner

    small = copy_of(finished_run(tmp_path_factory), tmp_path / "mine")
    before = read_run(small.output)
    original = runner.code_digest
    monkeypatch.setattr(
        runner, "code_digest", lambda name: f"changed {original(name)}" if "export" in name else original(name)
    )
    monkeypatch.setitem(PARITY_LIMITS, "fp32", 0.0)
    few_rounds(monkeypatch)
    answer = command(monkeypatch, "run", small.recipe, "-o", small.output, cache=small.cache)
    assert answer.code == 3, answer
    assert "gate parity of 03-export failed" in answer.message
    after = read_run(small.output)
    assert [step["digest_after"] for step in after.lineage] == [step["digest_after"] for step in before.lineage]
    assert after.key != before.key


def test_a_gate_without_a_value_fails_and_says_so(tmp_path_factory, tmp_path: Path, monkeypatch):
    small = copy_of(finished_run(tmp_path_factory), tmp_path / "mine")
    few_rounds(monkeypatch)
    words = ["run", small.recipe, "-o", small.output, "--set", "measure.baselines=[torch-fp32, openvino-int8]"]
    words += ["--set", "gates={min_compression: {baseline: openvino-int8, ratio: 1}}", "--set", "report=[]"]
    answer = command(monkeypatch, *words, cache=small.cache)
    assert answer.code == 3, answer
    assert "gate min_compression of result failed: no value, limit 1 " in answer.message
    run = read_run(small.output)
    reason = "this version quantizes for onnxruntime only"
    assert [(one.target, one.reason) for one in run.skipped] == [("openvino-int8", reason)]
    assert [gate.value for gate in run.gates if gate.name == "min_compression"] == [None]


@pytest.mark.slow
def test_a_gate_that_a_stage_checks_fails_the_run_too(tmp_path_factory, tmp_path: Path, monkeypatch):
    small = copy_of(finished_run(tmp_path_factory), tmp_path / "mine")
    few_rounds(monkeypatch)
    monkeypatch.setitem(PARITY_LIMITS, "fp32", 0.0)
    words = ["run", small.recipe, "-o", small.output, "--fresh", "--set", "report=[]"]
    words += ["--set", "prepare.finetune.epochs=1", "--set", "stages.distill.epochs=1"]
    answer = command(monkeypatch, *words, cache=small.cache)
    assert answer.code == 3
    assert "gate parity of 03-export failed" in answer.message
    assert (small.output / "model" / "onnx" / "model_int8.onnx").exists()


def test_a_result_whose_outputs_are_not_finite_is_kept_and_marked(tmp_path_factory, tmp_path: Path, monkeypatch):
    """The quantized graph gives NaN for some texts: the run goes on to its end, and fails."""
    from compress.runtimes import onnxruntime

    small = copy_of(finished_run(tmp_path_factory), tmp_path / "mine")
    few_rounds(monkeypatch)
    whole = onnxruntime.OnnxSession.outputs

    def outputs(self, inputs, options=None):
        scores = whole(self, inputs, options).copy()
        if "int8" in self._graph.file_name:
            scores[::7] = float("nan")
        return scores

    monkeypatch.setattr(onnxruntime.OnnxSession, "outputs", outputs)
    words = ["run", small.recipe, "-o", small.output, "--set", "gates={max_quality_drop: {metric: accuracy, drop: 1}}"]
    answer = command(monkeypatch, *words, cache=small.cache)
    assert answer.code == 3, answer
    assert "gate finite_outputs of result failed" in answer.message
    assert "gate max_quality_drop of result failed: no value" in answer.message
    run = read_run(small.output)
    assert run.measured("result", "not_finite").value > 0
    assert run.measured("result", "accuracy") is None
    assert run.measured("result", "latency_p50_ms") is not None
    assert (small.output / "report" / "index.html").exists()
    assert command(monkeypatch, *words, cache=small.cache).code == 3  # found again without measuring
