"""`compress export` as it is typed: what it leaves, what it gates, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from small_run import Answer, Small, command, make_small
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import compress
from compress.graph.inspect import operators, read_proto
from compress.graph.verify import Finding
from evaluation.measurement import read_run

Ask = Callable[..., Answer]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """A model folder and a table, which no test changes."""
    return make_small(tmp_path_factory.mktemp("export"))


@pytest.fixture(scope="module")
def typed(home: Small) -> Any:
    """Type `export` in the folder of the model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home.home)
        yield lambda *words: command(patch, "export", *words, cache=home.cache)


@pytest.fixture(scope="module")
def int8(typed: Ask, home: Small) -> tuple[Path, Answer]:
    """The folder of an export in int8, and what was printed."""
    answer = typed("source", "-o", "out", "--precision", "int8", "--data", "texts.tsv")
    assert answer.code == 0, answer
    return home.home / "out", answer


def test_the_folder_loads_in_stock_libraries_and_in_ours(int8: tuple[Path, Answer]):
    folder, _ = int8
    read = AutoTokenizer.from_pretrained(folder)(["w0 w3", "w1 w2 w5"], padding=True, return_tensors="np")
    stock = AutoModelForSequenceClassification.from_pretrained(folder)
    wanted = stock(**{name: torch.from_numpy(value) for name, value in read.items()}).logits
    for file, near in (("model.onnx", 1e-4), ("model_int8.onnx", 0.5)):
        session = onnxruntime.InferenceSession(folder / "onnx" / file)
        [got] = session.run(None, {node.name: read[node.name] for node in session.get_inputs()})
        assert np.abs(got - wanted.detach().numpy()).max() < near
        assert compress.load(folder / "onnx" / file).labels == ("negative", "positive")
    assert compress.load(folder).anatomy == compress.load(folder / "onnx" / "model.onnx").anatomy


def test_what_was_counted_and_checked_stands_in_run_json_and_on_the_terminal(int8: tuple[Path, Answer]):
    folder, answer = int8
    run = read_run(folder)
    assert [gate.name for gate in run.gates if gate.target == "01-export"] == [
        *("fusion", "parity", "nameless", "opens_afresh"),
    ]
    assert [gate.name for gate in run.gates if gate.target == "02-quantize"] == [
        *("quantized_operators", "quantized_agreement", "nameless", "opens_afresh"),
    ]
    assert all(gate.passed for gate in run.gates)
    for name, file in (("01-export", "model.onnx"), ("result", "model_int8.onnx")):
        assert run.measured(name, "bytes").value == (folder / "onnx" / file).stat().st_size
    assert [step["stage"] for step in run.lineage] == ["export", "quantize"]
    assert "4 attention nodes with heads [4, 4, 4, 4]" in answer.out
    assert "Made on" in answer.out, "nothing was measured: sizes are counted"
    assert str(folder.parent) not in (folder / "run.json").read_text()
    assert "onnx/model_int8.onnx" in (folder / "README.md").read_text()


def test_the_same_again_gives_the_same_bytes_and_another_option_gives_others(typed: Ask, int8, home: Small):
    folder, _ = int8
    first = {file.name: file.read_bytes() for file in (folder / "onnx").iterdir()}
    assert typed("source", "-o", "again", "--precision", "int8", "--data", "texts.tsv").code == 0
    assert {file.name: file.read_bytes() for file in (home.home / "again" / "onnx").iterdir()} == first
    answer = typed("source", "-o", "plain", "--attention", "plain", "--json")
    assert answer.code == 0
    assert json.loads(answer.out)["gates"][0]["detail"] == "4 Softmax and 0 attention nodes; wanted 4 and 0"
    assert (home.home / "plain" / "onnx" / "model.onnx").read_bytes() != first["model.onnx"]


def test_activations_may_be_calibrated(typed: Ask, home: Small):
    words = ("--precision", "int8", "--data", "texts.tsv", "--method", "static_int8")
    answer = typed("source", "-o", "static", *words)
    assert answer.code == 0, answer
    run = read_run(home.home / "static")
    assert "--method static_int8" in run.environment["command"]
    assert [gate.name for gate in run.gates if gate.target == "02-quantize"][:1] == ["quantized_operators"]
    counted = operators(read_proto(home.home / "static" / "onnx" / "model_int8.onnx"))
    assert counted["MatMulIntegerToFloat"] > 0 == counted["DynamicQuantizeLinear"]


def test_weights_alone_may_be_in_blocks_of_four_bits(typed: Ask, home: Small):
    answer = typed("source", "-o", "blocks", "--precision", "int4", "--data", "texts.tsv")
    assert answer.code == 0, answer
    folder = home.home / "blocks" / "onnx"
    assert [file.name for file in sorted(folder.iterdir())] == ["model.onnx", "model_int4.onnx"]
    assert operators(read_proto(folder / "model_int4.onnx"))["MatMulNBits"] > 0
    run = read_run(home.home / "blocks")
    assert (run.lineage[-1]["stage"], run.lineage[-1]["settings"]["method"]) == ("quantize", "weight_int4")
    assert compress.load(folder / "model_int4.onnx").graph.precision == "int4"


def test_seven_bits_are_other_bytes_and_the_command_says_so(typed: Ask, home: Small, int8: tuple[Path, Answer]):
    answer = typed("source", "-o", "seven", "--precision", "int8", "--data", "texts.tsv", "--reduce-range")
    assert answer.code == 0, answer
    files = [folder / "onnx" / "model_int8.onnx" for folder in (home.home / "seven", int8[0])]
    assert files[0].read_bytes() != files[1].read_bytes()
    assert "--reduce-range" in read_run(home.home / "seven").environment["command"]


@pytest.mark.parametrize(
    ("target", "file", "attention"),
    [("cuda", "model_fp16.onnx", "MultiHeadAttention"), ("web", "model.onnx", "MultiHeadAttention")],
)
def test_a_target_chooses_precision_and_nodes(typed: Ask, home: Small, target: str, file: str, attention: str):
    answer = typed("source", "-o", target, "--target", target)
    assert answer.code == 0, answer
    [written] = (home.home / target / "onnx").iterdir()
    assert written.name == file
    counted = operators(read_proto(written))
    assert counted["SkipLayerNormalization"] > 0
    assert counted[attention] + counted["Attention"] == 4
    assert f"--target {target}" in read_run(home.home / target).environment["command"]


def test_float16_is_a_file_of_its_own(typed: Ask, home: Small):
    answer = typed("source", "-o", "half", "--precision", "fp16")
    assert answer.code == 0, answer
    assert [file.name for file in (home.home / "half" / "onnx").iterdir()] == ["model_fp16.onnx"]
    run = read_run(home.home / "half")
    assert run.compared("result", "source", "compression_ratio").value > 1.4  # of so small a model much is no weight
    assert compress.load(home.home / "half" / "onnx" / "model_fp16.onnx").graph.precision == "fp16"


def test_bfloat16_is_a_file_of_its_own(typed: Ask, home: Small):
    answer = typed("source", "-o", "brain", "--precision", "bf16")
    assert answer.code == 0, answer
    assert [file.name for file in (home.home / "brain" / "onnx").iterdir()] == ["model_bf16.onnx"]
    assert "largest relative difference from torch, weights rounded" in answer.out


def test_a_gate_that_fails_ends_in_3_and_keeps_the_file(typed: Ask, home: Small, monkeypatch: pytest.MonkeyPatch):
    broken = Finding("parity", 1e-4, 0.4, False, "largest relative difference from torch 0.4, on 2x7, left-padded")
    monkeypatch.setattr("compress.stages.export.parity", lambda *_args, **_more: broken)
    answer = typed("source", "-o", "broken")
    assert answer.code == 3
    assert "gate parity of 01-export failed: 0.4, limit 0.0001" in answer.message
    assert "| **result (01-export)** |" in answer.out
    assert (home.home / "broken" / "onnx" / "model.onnx").exists()
    assert not all(gate.passed for gate in read_run(home.home / "broken").gates)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("nowhere", "-o", "x"), "nowhere: no such file or folder"),
        (("texts.tsv", "-o", "x"), "neither a model folder nor an ONNX file"),
        (("source", "-o", "x", "--precision", "int8"), "--precision int8: needs --data"),
        (("source", "-o", "x", "--data", "texts.tsv"), "--data: nothing reads it for fp32"),
        (("source", "-o", "x", "--precision", "bf16", "--data", "small.yaml"), "nothing reads it for bf16"),
        (("nowhere", "-o", "x", "--precision", "int8", "--data", "none.tsv"), "--data none.tsv: no such file"),
        (("source", "-o", "x", "--columns", "text=text"), "--columns text=text: says what the columns of --data are"),
        (("source", "-o", "x", "--threads", "2"), "--latency and --threads: say where forms are timed"),
        (("source", "-o", "x", "--attention", "fastest"), "--attention fastest: needs --data"),
        (
            ("source", "-o", "x", "--attention", "fastest", "--data", "texts.tsv", "--latency", "1x500"),
            "shape 1x500: the model reads 64 tokens at most",
        ),
        (("source", "-o", "x", "--precision", "int8", "--data", "none.tsv"), "none.tsv"),
        (("source", "-o", "x", "--precision", "int8", "--data", "empty.tsv"), "empty.tsv"),
        (("source", "-o", "x", "--precision", "int9"), "int9"),
        (("source", "-o", "texts.tsv"), "a file is in the way, choose another folder"),
        (
            ("source", "-o", "x", "--method", "static_int8"),
            "--method static_int8: is a way to int8; add --precision int8",
        ),
        (("source", "-o", "x", "--target", "cpu", "--precision", "fp16"), "--precision fp16 for cpu: CPUs cast"),
        (
            ("source", "-o", "x", "--target", "cuda", "--precision", "int8"),
            "int8 for cuda: onnxruntime carries products",
        ),
        (("source", "-o", "x", "--precision", "int4"), "--precision int4: needs --data"),
        (
            ("source", "-o", "x", "--method", "weight_int4"),
            "--method weight_int4: is a way to int4; add --precision int4",
        ),
        (("source", "-o", "x", "--precision", "int4", "--data", "r.yaml"), "of a recipe it is the test split"),
        (("source", "-o", "x", "--precision", "fp16", "--data", "r.yaml"), "of a recipe it is the test split"),
        (
            ("source", "-o", "x", "--target", "web", "--attention", "fastest", "--data", "texts.tsv"),
            "--attention fastest: is timed on this CPU, and the target is web",
        ),
        (("source", "-o", "x", "--reduce-range"), "--reduce-range: is of dynamic_int8 and static_int8"),
        (("source", "-o", "source"), "source: is not empty, and would be replaced as a whole"),
    ],
)
def test_what_can_not_be_done_is_told(typed: Ask, home: Small, words: tuple[str, ...], told: str):
    (home.home / "empty.tsv").write_text("text\tlabel\n", encoding="utf-8")
    answer = typed(*words)
    assert answer.code == 2, answer
    assert told in answer.message
    assert not (home.home / "x").exists()


def test_a_graph_is_not_exported_again(typed: Ask, int8: tuple[Path, Answer]):
    answer = typed(int8[0] / "onnx" / "model.onnx", "-o", "x")
    assert answer.code == 2
    assert "is an ONNX graph already" in answer.message


def test_the_fastest_form_is_one_that_was_timed(typed: Ask, home: Small):
    words = ("--attention", "fastest", "--data", "texts.tsv", "--latency", "1x8", "--threads", "1")
    answer = typed("source", "-o", "timed", *words)
    assert answer.code == 0, answer
    run = read_run(home.home / "timed")
    times = {row["form"]: row["latency_ms"] for row in run.tables["01-export.attention_forms"]}
    assert set(times) == {"fused", "plain"}
    [gate] = [gate for gate in run.gates if gate.name == "fusion"]
    assert ("0 attention nodes" in gate.detail) == (min(times, key=lambda form: times[form]) == "plain")


def test_an_earlier_export_is_not_lost_to_a_later_one(typed: Ask, int8: tuple[Path, Answer]):
    before = {file.name: file.read_bytes() for file in (int8[0] / "onnx").iterdir()}
    answer = typed("source", "-o", "out")
    assert answer.code == 2
    assert "out: is not empty" in answer.message
    assert {file.name: file.read_bytes() for file in (int8[0] / "onnx").iterdir()} == before


def test_the_file_says_what_went_in_and_where_that_lay_is_told_by_name_alone(int8: tuple[Path, Answer], home: Small):
    about = onnxruntime.InferenceSession(int8[0] / "onnx" / "model.onnx").get_modelmeta().custom_metadata_map
    assert json.loads(about["lineage"])["source_digest"] == compress.load(home.model).digest
    assert compress.load(int8[0]).lineage.source == "source"
