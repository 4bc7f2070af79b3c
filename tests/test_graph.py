"""Laws of the ONNX side: a right graph passes its gates, every planted fault is caught, and files hold no secrets."""

from __future__ import annotations

import getpass
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from tiny import tiny_bundle, tiny_split

from compress.bundle import Bundle, OnnxGraph
from compress.errors import ExportError
from compress.graph.build import build_graph
from compress.graph.inspect import operators, products, read_proto
from compress.graph.quantize import dynamic_int8
from compress.graph.verify import AGREEMENT_LIMIT, PARITY_LIMIT, agreement, fusion, parity, probes, quantized
from compress.runtimes.onnxruntime import open_session

Exported = dict[str, tuple[Bundle, Bundle]]

FORMS = ["even-fused", "even-plain", "uneven-fused", "uneven-plain"]


def _heads(bundle: Bundle) -> list[int]:
    return [group.units for group in bundle.anatomy.of_axis("heads")]


def _edited(graph: OnnxGraph, folder: Path, edit: Callable[[onnx.ModelProto], object]) -> OnnxGraph:
    """A copy of a graph with a fault planted in it."""
    proto = onnx.load(graph.path)
    edit(proto)
    path = folder / graph.path.name
    onnx.save(proto, path)
    return replace(graph, path=path)


@pytest.mark.parametrize("name", FORMS)
def test_a_right_graph_passes_every_gate(exported: Exported, name: str):
    source, made = exported[name]
    form = name.split("-")[1]
    found = fusion(made.graph, _heads(source), form)
    assert found.passed, found.detail
    found = parity(source, made.graph, seed=3)
    assert found.passed, found.detail
    assert found.value < PARITY_LIMIT / 5, "the limit leaves room"


@pytest.mark.parametrize("name", FORMS)
def test_batch_and_length_are_free(exported: Exported, name: str):
    session = open_session(exported[name][1].graph, device="cpu", threads=1)
    for batch, tokens in ((1, 1), (3, 5), (7, 64)):
        ids = np.full((batch, tokens), 7, dtype=np.int64)
        inputs = {"input_ids": ids, "token_type_ids": ids * 0, "attention_mask": ids * 0 + 1}
        assert session.outputs(inputs).shape == (batch, 2)


@pytest.mark.exporter
@pytest.mark.parametrize("form", ["fused", "plain"])
def test_equal_models_give_equal_bytes(exported: Exported, tmp_path: Path, form: str):
    again = build_graph(tiny_bundle(), tmp_path / "elsewhere" / "model.onnx", attention=form)
    assert again.path.read_bytes() == exported[f"even-{form}"][1].graph.path.read_bytes()


def test_quantizing_twice_gives_equal_bytes(exported: Exported, quantized_bundle: Bundle, tmp_path: Path):
    again = dynamic_int8(exported["even-fused"][1].graph, tmp_path / "other.onnx", reduce_range=True)
    assert again.path.read_bytes() == quantized_bundle.graph.path.read_bytes()


@pytest.mark.parametrize("name", [*FORMS, "int8"])
def test_nothing_of_this_machine_is_in_the_file(exported: Exported, quantized_bundle: Bundle, name: str):
    made = quantized_bundle if name == "int8" else exported[name][1]
    content = made.graph.path.read_bytes()
    secrets = [str(Path(__file__).parents[1]), str(Path.home()), str(made.graph.path.parent), getpass.getuser()]
    secrets += ["site-packages", "Traceback", "modeling_", ".py", "pytest"]
    assert [secret for secret in secrets if secret.encode() in content] == []


@pytest.mark.exporter
def test_exporting_leaves_the_model_as_it_was():
    bundle = tiny_bundle()
    bundle.module.set_attn_implementation("eager")
    state = torch.random.get_rng_state()
    with pytest.MonkeyPatch.context() as patch:
        # Only what surrounds the exporter is looked at here; the exporter itself takes seconds.
        patch.setattr(torch.onnx, "export", _refuse)
        with pytest.raises(ExportError, match="torch can't write BertForSequenceClassification as ONNX: no such"):
            build_graph(bundle, Path("never.onnx"), attention="fused")
    assert bundle.module.config._attn_implementation == "eager"
    assert torch.equal(torch.random.get_rng_state(), state)


def _refuse(*_args: object, **_kwargs: object) -> None:
    raise torch.onnx.errors.OnnxExporterError("no such operator\nand a stack trace")


def test_a_graph_for_cpus_is_told_its_heads_and_keeps_norms_apart(exported: Exported, tmp_path: Path):
    source, made = exported["even-fused"]
    counted = operators(read_proto(made.graph.path))
    assert counted["Transpose"] == 0
    assert counted["Sum"] == counted["LayerNormalization"] == 1 + 2 * len(_heads(source))
    other = build_graph(source, tmp_path / "model.onnx", attention="fused", kernels="cuda")
    counted = operators(read_proto(other.path))
    assert counted["Sum"] == counted["Transpose"] == 0
    assert counted["SkipLayerNormalization"] == 2 * len(_heads(source))
    assert counted["BiasGelu"] == len(_heads(source))
    assert fusion(other, _heads(source), "fused").passed
    assert parity(source, other, seed=3).passed


# Planted faults


def _head_counts(proto: onnx.ModelProto) -> list[onnx.AttributeProto]:
    attributes = [one for node in proto.graph.node if node.op_type == "Attention" for one in node.attribute]
    return [one for one in attributes if one.name in ("q_num_heads", "kv_num_heads")]


def test_a_wrong_head_count_is_caught(exported: Exported, tmp_path: Path):
    source, made = exported["uneven-fused"]
    heads = _heads(source)
    assert not fusion(made.graph, [4, 4, 4, 4], "fused").passed
    assert not fusion(made.graph, heads[:-1], "fused").passed
    assert not fusion(made.graph, heads[::-1], "fused").passed

    def widen(proto: onnx.ModelProto) -> None:
        for attribute in _head_counts(proto):
            attribute.i = 4 if attribute.i == 3 else attribute.i

    found = fusion(_edited(made.graph, tmp_path, widen), heads, "fused")
    assert not found.passed
    assert "heads [4, 4, 1, 2]" in found.detail


def test_a_graph_that_splits_its_heads_wrongly_fails_parity(exported: Exported, tmp_path: Path):
    """The fault of a fusion pass that writes the config's head count into a layer that has fewer, narrower ones."""
    source, made = exported["even-fused"]

    def halve(proto: onnx.ModelProto) -> None:
        """Four heads of 8 become two of 16."""
        for attribute in _head_counts(proto):
            attribute.i = 2

    broken = _edited(made.graph, tmp_path, halve)
    assert not parity(source, broken, seed=3).passed
    assert not fusion(broken, _heads(source), "fused").passed


@pytest.mark.parametrize("name", ["even-fused", "even-plain"])
def test_a_dropped_mask_is_caught(exported: Exported, tmp_path: Path, name: str):
    source, made = exported[name]
    found = parity(source, _edited(made.graph, tmp_path, _ignore_mask), seed=3)
    assert not found.passed
    assert "padded" in found.detail or "holed" in found.detail


def _ignore_mask(proto: onnx.ModelProto) -> None:
    """Every reader of the mask reads instead a mask of ones: max(mask, 1)."""
    one = helper.make_tensor("one", TensorProto.INT64, [], [1])
    proto.graph.initializer.append(one)
    for node in proto.graph.node:
        for place, read in enumerate(node.input):
            if read == "attention_mask":
                node.input[place] = "all_real"
    proto.graph.node.insert(0, helper.make_node("Max", ["attention_mask", "one"], ["all_real"], name="ignore"))


def test_a_mask_that_quantizing_dropped_is_caught(exported: Exported, quantized_bundle: Bundle, tmp_path: Path):
    before, texts = exported["even-fused"][1], tiny_split("calibration", 64, seed=3)
    found = agreement(before, before.graph, quantized_bundle.graph, texts)
    assert found.passed, found.detail
    assert found.value > AGREEMENT_LIMIT
    broken = _edited(quantized_bundle.graph, tmp_path, _ignore_mask)
    found = agreement(before, before.graph, broken, texts)
    assert not found.passed, found.detail
    assert agreement(before, before.graph, before.graph, texts).value == 1.0


def test_fewer_products_than_the_model_has_linear_layers_are_a_graph_misread(
    exported: Exported, quantized_bundle: Bundle
):
    before = exported["even-fused"][1].graph
    right = quantized(before, quantized_bundle.graph, at_least=0)
    found = quantized(before, quantized_bundle.graph, at_least=int(right.limit) + 1)
    assert right.passed
    assert (found.passed, found.limit) == (False, right.limit + 1)


def test_left_padding_alone_can_fail_parity(exported: Exported, tmp_path: Path):
    """A graph that takes padding to be on the right is right on all other inputs, and still caught."""
    source, made = exported["even-plain"]
    names = [name for name, _ in probes(source, seed=3)]
    assert any("left" in name for name in names)
    assert any("holed" in name for name in names)
    assert any(name.startswith("1x1,") for name in names)

    def sort_mask(proto: onnx.ModelProto) -> None:
        proto.graph.initializer.append(helper.make_tensor("all", TensorProto.INT64, [1], [-1]))
        proto.graph.initializer.append(helper.make_tensor("at", TensorProto.INT64, [1], [1]))
        for node in proto.graph.node:
            for place, name in enumerate(node.input):
                if name == "attention_mask":
                    node.input[place] = "sorted"
        shape = helper.make_node("Shape", ["attention_mask"], ["mask_shape"], start=1, end=2)
        top = helper.make_node("TopK", ["attention_mask", "mask_shape"], ["sorted", "_places"], axis=-1)
        proto.graph.node.insert(0, top)
        proto.graph.node.insert(0, shape)

    broken = _edited(made.graph, tmp_path, sort_mask)
    found = parity(source, broken, seed=3)
    assert not found.passed
    assert "left" in found.detail or "holed" in found.detail


def test_an_unfused_layer_is_caught(exported: Exported):
    source, plain = exported["uneven-plain"]
    found = fusion(plain.graph, _heads(source), "fused")
    assert not found.passed
    assert "attention: plain" in found.detail
    assert not fusion(exported["uneven-fused"][1].graph, _heads(source), "plain").passed


def test_a_softmax_left_beside_the_fused_nodes_is_caught(exported: Exported, tmp_path: Path):
    source, made = exported["even-fused"]

    def add_softmax(proto: onnx.ModelProto) -> None:
        proto.graph.node.append(helper.make_node("Softmax", ["logits"], ["probabilities"]))

    assert not fusion(_edited(made.graph, tmp_path, add_softmax), _heads(source), "fused").passed


def test_a_changed_weight_fails_parity(exported: Exported, tmp_path: Path):
    source, made = exported["even-fused"]
    for change in (0.05, float("nan"), float("inf")):
        found = parity(source, _edited(made.graph, tmp_path, lambda proto, c=change: _shift(proto, c)), seed=3)
        assert not found.passed
        assert found.value is None if np.isinf(change) or np.isnan(change) else found.value > PARITY_LIMIT


def _shift(proto: onnx.ModelProto, change: float) -> None:
    """Add `change` to one weight of one of the encoder's matrices."""
    last = [node for node in proto.graph.node if node.op_type == "MatMul"][-1]
    [tensor] = [tensor for tensor in proto.graph.initializer if tensor.name == last.input[1]]
    value = numpy_helper.to_array(tensor).copy()
    value[3, 5] += change
    tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))


def test_an_unquantized_product_is_caught(exported: Exported, quantized_bundle: Bundle, tmp_path: Path):
    before = exported["even-fused"][1].graph
    found = quantized(before, quantized_bundle.graph, at_least=24)
    assert found.passed, found.detail
    assert found.value == found.limit > 4 * 6
    assert not quantized(before, before, at_least=0).passed

    def back_to_float(proto: onnx.ModelProto) -> None:
        node = next(node for node in proto.graph.node if node.op_type == "MatMulInteger")
        proto.graph.initializer.append(helper.make_tensor("float_weight", TensorProto.FLOAT, [1, 1], [1.0]))
        node.op_type = "MatMul"
        node.input[1] = "float_weight"
        del node.input[2:]

    found = quantized(before, _edited(quantized_bundle.graph, tmp_path, back_to_float), at_least=0)
    assert not found.passed
    assert "left in float" in found.detail

    def float_table(proto: onnx.ModelProto) -> None:
        node = next(node for node in proto.graph.node if node.op_type == "Gather" and "quantized" in node.input[0])
        proto.graph.initializer.append(helper.make_tensor("float_table", TensorProto.FLOAT, [1, 1], [1.0]))
        node.input[0] = "float_table"

    assert not quantized(before, _edited(quantized_bundle.graph, tmp_path, float_table), at_least=0).passed


def test_a_table_of_positions_counts_as_no_weight(exported: Exported, quantized_bundle: Bundle, tmp_path: Path):
    def add_positions(proto: onnx.ModelProto) -> None:
        proto.graph.initializer.append(helper.make_tensor("positions", TensorProto.INT64, [2], [0, 1]))
        proto.graph.node.append(helper.make_node("Gather", ["positions", "input_ids"], ["placed"], name="place"))

    (tmp_path / "int8").mkdir()
    before = _edited(exported["even-fused"][1].graph, tmp_path, add_positions)
    after = _edited(quantized_bundle.graph, tmp_path / "int8", add_positions)
    found = quantized(before, after, at_least=0)
    assert found.passed, found.detail


# Quantization


def test_int8_agrees_with_float(exported: Exported, quantized_bundle: Bundle):
    source, before = exported["even-fused"]
    sessions = [open_session(some.graph, device="cpu", threads=1) for some in (before, quantized_bundle)]
    for name, inputs in probes(source, seed=1):
        wanted, got = (session.outputs(inputs) for session in sessions)
        assert np.abs(got - wanted).max() < 0.3 * max(1.0, np.abs(wanted).max()), name  # of 7 bits


def test_int8_is_smaller_than_a_third_of_float(tmp_path: Path):
    source = tiny_bundle(vocab_size=2000, hidden_size=128, intermediate_size=512, num_hidden_layers=2)
    graph = build_graph(source, tmp_path / "model.onnx", attention="fused")
    smaller = dynamic_int8(graph, tmp_path / "model_int8.onnx")
    assert smaller.path.stat().st_size < graph.path.stat().st_size / 3
    assert products(read_proto(smaller.path)).float_products == ()


def test_quantized_weights_are_not_quantized_again(quantized_bundle: Bundle, tmp_path: Path):
    with pytest.raises(ExportError, match="its weights are int8 already"):
        dynamic_int8(quantized_bundle.graph, tmp_path / "twice.onnx")


# Unreadable files


def test_a_file_that_is_no_graph_is_refused(exported: Exported, tmp_path: Path):
    path = tmp_path / "model.onnx"
    with pytest.raises(ExportError, match="not a readable ONNX file"):
        read_proto(path)
    path.write_text("<html>not found</html>")
    with pytest.raises(ExportError, match=r"model\.onnx"):
        read_proto(path)
    with pytest.raises(ExportError, match="onnxruntime can't load it"):
        open_session(OnnxGraph(path), device="cpu", threads=1)
    shutil.copy(exported["even-fused"][1].graph.path, path)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(ExportError):
        read_proto(path)


def test_operators_are_counted(exported: Exported):
    assert operators(read_proto(exported["even-fused"][1].graph.path))["Attention"] == 4
    assert operators(read_proto(exported["even-plain"][1].graph.path))["Softmax"] == 4
