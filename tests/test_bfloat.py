"""Laws of weights in bfloat16: half as large, exactly what torch says of weights so rounded, and no more is lost."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper

from compress.bundle import Bundle, OnnxGraph
from compress.errors import ExportError
from compress.graph.bfloat import FEWEST, bfloat16, rounded
from compress.graph.build import build_graph
from compress.graph.inspect import read_proto
from compress.graph.portable import nameless, opens_afresh
from compress.graph.verify import fusion, parity
from compress.stages.export import Export

Exported = dict[str, tuple[Bundle, Bundle]]


@pytest.mark.parametrize("name", ["even-fused", "even-plain", "uneven-fused", "uneven-plain"])
def test_a_graph_in_bfloat16_says_what_torch_says_of_rounded_weights(exported: Exported, tmp_path: Path, name: str):
    source, made = exported[name]
    graph = bfloat16(made.graph, tmp_path / "model_bf16.onnx")
    heads = source.anatomy.heads_by_layer()
    for finding in (
        fusion(graph, heads, name.split("-")[1]),
        parity(rounded(source), graph, seed=3),
        nameless(graph),
        opens_afresh(source, graph, seed=3),
    ):
        assert finding.passed, finding.detail
    assert not parity(source, graph, seed=3).passed, "it is no float32"
    floats = [each for each in read_proto(graph.path).graph.initializer if each.data_type == onnx.TensorProto.FLOAT]
    assert all(len(each.dims) < 2 or np.prod(each.dims) < FEWEST for each in floats)


def test_weights_that_were_cut_off_instead_of_rounded_fail_parity(exported: Exported, tmp_path: Path):
    source, made = exported["even-fused"]
    proto = onnx.load(bfloat16(made.graph, tmp_path / "model_bf16.onnx").path)
    whole = {f"{each.name}/bfloat16": each for each in onnx.load(made.graph.path).graph.initializer}
    for tensor in proto.graph.initializer:
        if tensor.data_type == onnx.TensorProto.BFLOAT16:
            upper = numpy_helper.to_array(whole[tensor.name]).view(np.uint16)[..., 1::2]
            tensor.raw_data = np.ascontiguousarray(upper).tobytes()
    onnx.save(proto, tmp_path / "model_bf16.onnx")
    assert not parity(rounded(source), OnnxGraph(tmp_path / "model_bf16.onnx", "bf16"), seed=3).passed


def test_a_graph_for_gpus_says_it_as_well(bundle: Bundle, tmp_path: Path):
    graph = build_graph(bundle, tmp_path / "model.onnx", attention="fused", kernels="cuda")
    graph = bfloat16(graph, tmp_path / "model_bf16.onnx")
    assert fusion(graph, bundle.anatomy.heads_by_layer(), "fused").passed
    found = parity(rounded(bundle), graph, seed=3)
    assert found.passed, found.detail


@pytest.mark.parametrize("name", ["even-fused", "uneven-plain"])
def test_once_it_is_loaded_it_is_the_float32_file(exported: Exported, tmp_path: Path, name: str):
    made = exported[name][1].graph
    loaded = []
    for place, graph in enumerate((made, bfloat16(made, tmp_path / "model_bf16.onnx"))):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.optimized_model_filepath = str(tmp_path / f"{place}.onnx")
        onnxruntime.InferenceSession(graph.path, options, providers=["CPUExecutionProvider"])
        nodes = onnx.load(tmp_path / f"{place}.onnx").graph.node
        loaded.append([(node.op_type, list(node.input), list(node.output)) for node in nodes])
    assert loaded[0] == loaded[1]


def test_a_model_trained_in_bfloat16_keeps_every_bit(bundle: Bundle, tmp_path: Path):
    trained = bundle.with_model(copy.deepcopy(bundle.module).to(torch.bfloat16).float())
    graph = bfloat16(build_graph(trained, tmp_path / "model.onnx", attention="fused"), tmp_path / "model_bf16.onnx")
    assert parity(trained, graph, seed=3).passed
    whole = {each.name: numpy_helper.to_array(each) for each in onnx.load(tmp_path / "model.onnx").graph.initializer}
    stored = [each for each in onnx.load(graph.path).graph.initializer if each.name.endswith("/bfloat16")]
    assert len(stored) > 4
    for each in stored:
        assert (numpy_helper.to_array(each).astype(np.float32) == whole[each.name.removesuffix("/bfloat16")]).all()
    assert graph.path.stat().st_size < 0.6 * (tmp_path / "model.onnx").stat().st_size


def test_equal_graphs_give_equal_bytes_and_what_the_file_says_stays(exported: Exported, tmp_path: Path):
    made = exported["even-fused"][1].graph
    first, second = (bfloat16(made, tmp_path / f"{name}.onnx") for name in "ab")
    assert first.path.read_bytes() == second.path.read_bytes()
    assert read_proto(first.path).metadata_props == read_proto(made.path).metadata_props


def test_a_graph_in_another_precision_is_refused(quantized_bundle: Bundle, tmp_path: Path):
    with pytest.raises(ExportError, match="its weights are int8 already; bfloat16 is made of fp32"):
        bfloat16(quantized_bundle.graph, tmp_path / "x.onnx")


def test_the_stage_gives_a_file_of_its_own_name(exported: Exported, make_context, monkeypatch: pytest.MonkeyPatch):
    source, made = exported["even-fused"]
    monkeypatch.setattr("compress.stages.export.build_graph", lambda *_args, **_more: made.graph)
    gates: dict[str, bool] = {}
    stage = Export(precision="bf16")
    after = stage.apply(source, make_context(check=lambda **gate: gates.update({gate["name"]: gate["passed"]})))
    assert (after.graph.precision, after.graph.file_name) == ("bf16", "model_bf16.onnx")
    assert gates == dict.fromkeys(("fusion", "parity", "nameless", "opens_afresh"), True)
    assert stage.weight_bytes == 2.0
