"""Laws of float16 graphs: half as large, as right as float16 is, and in float32 wherever that has no room."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from tiny import tiny_bundle

from compress.bundle import Bundle
from compress.errors import ExportError
from compress.graph.build import build_graph
from compress.graph.half import float16, too_large
from compress.graph.inspect import read_proto
from compress.graph.portable import nameless, opens_afresh
from compress.graph.verify import HALF_PARITY_LIMIT, fusion, parity
from compress.inputs import probes
from compress.stages.export import Export

Exported = dict[str, tuple[Bundle, Bundle]]


def _samples(bundle: Bundle) -> list[dict[str, np.ndarray]]:
    return [inputs for _, inputs in probes(bundle, seed=1)]


@pytest.mark.parametrize("name", ["even-fused", "even-plain", "uneven-fused", "uneven-plain"])
def test_a_graph_in_float16_passes_every_gate(exported: Exported, tmp_path: Path, name: str):
    source, made = exported[name]
    graph, kept = float16(made.graph, tmp_path / "model_fp16.onnx", _samples(source))
    assert kept == ()
    heads = source.anatomy.heads_by_layer()
    for finding in (
        fusion(graph, heads, name.split("-")[1]),
        parity(source, graph, seed=3, limit=HALF_PARITY_LIMIT),
        nameless(graph),
        opens_afresh(source, graph, seed=3),
    ):
        assert finding.passed, finding.detail
    assert not parity(source, graph, seed=3).passed, "it is no float32"
    floats = [
        tensor for tensor in read_proto(graph.path).graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT
    ]
    assert sum(len(tensor.raw_data) for tensor in floats) < 100


def test_inputs_outputs_and_what_the_file_says_stay_as_they_were(exported: Exported, tmp_path: Path):
    source, made = exported["even-fused"]
    graph, _ = float16(made.graph, tmp_path / "model_fp16.onnx", _samples(source))
    before, after = (onnxruntime.InferenceSession(each.path) for each in (made.graph, graph))
    for ends in ("get_inputs", "get_outputs"):
        told = [[(end.name, end.type) for end in getattr(session, ends)()] for session in (before, after)]
        assert told[0] == told[1]
    assert before.get_modelmeta().custom_metadata_map == after.get_modelmeta().custom_metadata_map
    again, _ = float16(made.graph, tmp_path / "again.onnx", _samples(source))
    assert again.path.read_bytes() == graph.path.read_bytes()


def test_what_float16_has_no_room_for_stays_in_float32(tmp_path: Path):
    bundle = tiny_bundle()
    model = copy.deepcopy(bundle.module)
    layer = model.base_model.encoder.layer[1]
    with torch.no_grad():  # the same model, its numbers a hundred thousand times as large on the way
        for linear in (layer.intermediate.dense.weight, layer.intermediate.dense.bias):
            linear.mul_(1e5)
        layer.intermediate.intermediate_act_fn = torch.nn.ReLU()
        layer.output.dense.weight.mul_(1e-5)
    large = bundle.with_model(model)
    graph = build_graph(large, tmp_path / "model.onnx", attention="fused")
    half, kept = float16(graph, tmp_path / "model_fp16.onnx", _samples(large))
    assert 2 <= len(kept) <= 6, kept
    assert parity(large, half, seed=3, limit=HALF_PARITY_LIMIT).passed
    blind, _ = float16(graph, tmp_path / "blind.onnx", [])
    assert not parity(large, blind, seed=3, limit=HALF_PARITY_LIMIT).passed


@pytest.mark.parametrize("name", ["even-fused", "even-plain"])
def test_what_masks_padding_is_no_number_that_has_to_fit(exported: Exported, name: str):
    source, made = exported[name]
    assert too_large(made.graph, _samples(source)) == ()


def test_a_graph_in_another_precision_is_refused(quantized_bundle: Bundle, exported: Exported, tmp_path: Path):
    with pytest.raises(ExportError, match="its weights are int8 already"):
        float16(quantized_bundle.graph, tmp_path / "x.onnx", [])
    graph, _ = float16(exported["even-fused"][1].graph, tmp_path / "model_fp16.onnx", [])
    with pytest.raises(ExportError, match="its weights are fp16 already"):
        float16(graph, tmp_path / "x.onnx", [])


def test_the_stage_gives_a_file_of_its_own_name(exported: Exported, make_context, monkeypatch: pytest.MonkeyPatch):
    source, made = exported["even-fused"]
    monkeypatch.setattr("compress.stages.export.build_graph", lambda *_args, **_more: made.graph)
    gates: dict[str, bool] = {}
    stage = Export(precision="fp16")
    after = stage.apply(source, make_context(check=lambda **gate: gates.update({gate["name"]: gate["passed"]})))
    assert (after.graph.precision, after.graph.file_name) == ("fp16", "model_fp16.onnx")
    assert gates == dict.fromkeys(("fusion", "parity", "nameless", "opens_afresh"), True)
    assert (stage.weight_bytes, Export().weight_bytes) == (2.0, 4.0)
