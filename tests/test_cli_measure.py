"""`compress measure` with targets in processes of their own, and with what can't run here."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from small_run import Small, command, few_rounds, finished_run

from evaluation.measurement import Run
from evaluation.speed.footprint import footprints


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """One finished run; its home is where commands are typed."""
    return finished_run(tmp_path_factory)


@pytest.fixture
def ask(small: Small, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Type `measure` with the run's two graphs, or with the targets that are given."""
    monkeypatch.chdir(small.home)
    few_rounds(monkeypatch)
    onnx = small.output / "model" / "onnx"

    def do(*words: str | Path, targets: Any = (onnx / "model.onnx", onnx / "model_int8.onnx")) -> Any:
        options = ("--data", "texts.tsv", "--latency", "1x8", "--threads", "1")
        return command(monkeypatch, "measure", *targets, *options, *words, cache=small.cache)

    return do


def test_targets_apart_have_every_figure_and_say_so(ask: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("evaluation.suite.footprints", footprints)  # as it is without the tests' haste
    answer = ask("--processes", "apart", "--json")
    assert answer.code == 0, answer
    run = Run.model_validate(json.loads(answer.out))
    assert run.skipped == []
    for target in ("model", "model_int8"):
        for name in ("latency_p50_ms", "latency_p95_ms", "throughput_per_s"):
            for at in ({"tokens": 8}, {"tokenization": "apart"}, {"tokenization": "included"}):
                row = run.measured(target, name, **at)
                assert row.conditions["processes"] == "apart"
                assert row.conditions["threads"] == 1
        assert run.measured(target, "load_ms").value > 0
        assert run.measured(target, "peak_memory_bytes", of="host", tokens=8).value > 10e6
    assert run.measured("model", "noise", tokens=8) is not None
    assert run.compared("model_int8", "model", "speedup", tokens=8).noise is not None


def test_a_file_of_somebody_elses_is_measured_as_the_model_before_it_is_read(ask: Any, small: Small, tmp_path: Path):
    theirs = tmp_path / "theirs.onnx"
    shutil.copy(small.output / "model" / "onnx" / "model.onnx", theirs)
    answer = ask("--json", targets=(small.output / "model", theirs))
    assert answer.code == 0, answer
    assert Run.model_validate(json.loads(answer.out)).compared("theirs", "model", "agreement").value == 1.0


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[:-500]), "theirs.onnx: not a readable ONNX file"),
        (lambda file: file.write_bytes(file.read_bytes().replace(b"input_ids", b"input_idz")), "asks for input_idz"),
    ],
)
def test_what_is_wrong_with_somebody_elses_file_is_told(ask: Any, small: Small, tmp_path: Path, spoil, told: str):
    theirs = tmp_path / "theirs.onnx"
    shutil.copy(small.output / "model" / "onnx" / "model.onnx", theirs)
    spoil(theirs)
    answer = ask(targets=(small.output / "model", theirs))
    assert (answer.code, told in answer.message) == (2, True), answer


def test_a_file_by_itself_has_to_follow_a_model(ask: Any, small: Small, tmp_path: Path):
    theirs = tmp_path / "theirs.onnx"
    shutil.copy(small.output / "model" / "onnx" / "model.onnx", theirs)
    answer = ask(targets=(theirs, small.output / "model"))
    assert answer.code == 2
    assert "`compress measure` takes it after a model whose tokenizer it reads by" in answer.message


def test_without_a_footprint_there_is_no_load_time(ask: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("evaluation.suite.footprints", footprints)
    answer = ask("--no-footprint", "--json")
    names = {row["name"] for row in json.loads(answer.out)["measurements"]}
    assert "latency_p50_ms" in names
    assert not {"load_ms", "peak_memory_bytes"} & names


def test_metrics_rounds_price_and_quotes_are_as_asked(ask: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("evaluation.suite.footprints", footprints)
    answer = ask(
        "--no-footprint", "--metric", "f1_macro", "--rounds", "7", "--price", "0.17USD", "--no-quote", "--json"
    )
    assert answer.code == 0, answer
    run = Run.model_validate(json.loads(answer.out))
    names = {row.name for row in run.measurements}
    assert {"f1_macro", "accuracy"} & names == {"f1_macro"}
    assert run.measured("model", "cost_per_million", tokens=8).unit == "USD"
    assert (
        run.compared("model_int8", "model", "speedup", tokens=8).conditions["rounds"] == 6
    )  # it is the seconds that are over
    assert all("text" not in row for row in run.tables["flips"])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--metric", "perplexity"), "--metric perplexity: does not fit the task text-classification"),
        (("--metric", "acuracy"), "--metric"),
        (("--rounds", "1"), "--rounds"),
        (("--price", "cheap"), "--price"),
        (("--price", "-1USD"), "--price"),
        (("--slices", "colour"), "colour"),
    ],
)
def test_options_that_can_not_be_met_are_refused_by_their_name(ask: Any, options: tuple[str, str], told: str):
    answer = ask(*options)
    assert answer.code == 2
    assert told in answer.message


def test_the_page_says_what_to_type_to_measure_again(ask: Any, small: Small, tmp_path: Path):
    graph = (small.output / "model" / "onnx" / "model.onnx").resolve()
    assert ask("--no-quote", "--rounds", "6", "-o", str(tmp_path), targets=(graph,)).code == 0
    text = (tmp_path / "report" / "report.md").read_text()
    assert "compress measure model.onnx --data texts.tsv --latency 1x8" in text
    assert all(option in text for option in ("--rounds 6", "--no-quote"))
    assert str(graph.parent) not in text


def test_another_number_of_processes_is_refused(ask: Any):
    answer = ask("--processes", "two")
    assert answer.code == 2
    assert "'two' is not one of 'one', 'apart'" in answer.message


def test_a_runtime_that_is_not_installed_is_named_as_skipped(ask: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    answer = ask("--runtime", "openvino", "--runtime", "onnxruntime")
    assert answer.code == 0, answer
    assert "skipped model@openvino: openvino is not installed" in answer.out
    assert "model@onnxruntime" in answer.out


def test_openvino_runs_our_graphs_beside_onnxruntime(ask: Any, small: Small):
    pytest.importorskip("openvino")
    targets = [small.output / "model" / "onnx" / "model.onnx"]
    answer = ask("--runtime", "openvino", "--runtime", "onnxruntime", "--json", targets=targets)
    assert answer.code == 0, answer
    run = Run.model_validate(json.loads(answer.out))
    assert {target.runtime for target in run.targets} == {"openvino", "onnxruntime"}
    assert run.compared("model@onnxruntime", "model@openvino", "agreement").value == 1.0


@pytest.mark.parametrize("content", [b"", b"no model", b'{"model_type": "bert"}'])
def test_a_target_that_is_no_model_is_refused(ask: Any, tmp_path: Path, content: bytes):
    target = tmp_path / "thing.bin"
    target.write_bytes(content)
    answer = ask(targets=[target])
    assert answer.code == 2
    assert f"{target}: neither a model folder nor an ONNX file" in answer.message


def test_an_empty_folder_is_refused(ask: Any, tmp_path: Path):
    answer = ask(targets=[tmp_path])
    assert answer.code == 2
    assert str(tmp_path / "config.json") in answer.message
