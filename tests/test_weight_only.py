"""Laws of weight-only quantization: smaller by as much as bits are saved, truer with more, and nothing left out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from tiny import tiny_bundle, tiny_split

from compress.bundle import Bundle, OnnxGraph
from compress.errors import ExportError
from compress.graph.build import build_graph
from compress.graph.calibration import calibration_inputs
from compress.graph.half import float16
from compress.graph.inspect import operators, products, read_proto
from compress.graph.sensitivity import judge_of
from compress.graph.verify import agreement, quantized
from compress.graph.weight_only import Rounding, weight_only
from compress.inputs import Inputs
from compress.stages.quantize import Quantize

ROUNDINGS: tuple[Rounding, ...] = ("rtn", "k_quant", "hqq", "gptq")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A graph wide enough for blocks."""
    bundle = tiny_bundle(hidden_size=64, intermediate_size=128, vocab_size=5000)
    folder = tmp_path_factory.mktemp("wide")
    return replace(bundle, model=build_graph(bundle, folder / "model.onnx", attention="fused"))


def _texts(made: Bundle) -> Iterator[Inputs]:
    return calibration_inputs(made, tiny_split("calibration", 8, seed=1))


def _error(made: Bundle, graph: OnnxGraph) -> float:
    return judge_of(made, made.graph, tiny_split("dev", 64, seed=4))(graph)


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_four_bits_keep_the_answers_and_every_product_is_in_blocks(made: Bundle, tmp_path: Path, rounding: Rounding):
    graph = weight_only(made.graph, tmp_path / "int4.onnx", bits=4, rounding=rounding, samples=_texts(made))
    assert graph.precision == "int4"
    linears = {part.module for group in tiny_bundle().anatomy.groups for part in group.slices}
    found = quantized(made.graph, graph, at_least=len(linears))
    assert found.passed, found.detail
    counted, before = operators(read_proto(graph.path)), products(read_proto(made.graph.path))
    assert counted["MatMulNBits"] == len(before.float_products)
    assert counted["MatMul"] == counted["Gemm"] == 0
    assert 0.001 < _error(made, graph) < 0.3
    assert graph.path.stat().st_size < 0.35 * made.graph.path.stat().st_size
    if rounding != "gptq":  # which reads the texts twice
        again = weight_only(made.graph, tmp_path / "again.onnx", bits=4, rounding=rounding)
        assert again.path.read_bytes() == graph.path.read_bytes()


def test_more_bits_are_truer_and_larger(made: Bundle, tmp_path: Path):
    four, eight = (weight_only(made.graph, tmp_path / f"{bits}.onnx", bits=bits) for bits in (4, 8))
    assert _error(made, eight) < _error(made, four) / 3
    assert four.path.stat().st_size < eight.path.stat().st_size < made.graph.path.stat().st_size / 2
    found = agreement(made, made.graph, eight, tiny_split("calibration", 64, seed=3))
    assert found.passed, found.detail


def test_a_large_table_may_have_four_bits_as_well(made: Bundle, tmp_path: Path):
    eight, four = (weight_only(made.graph, tmp_path / f"t{bits}.onnx", bits=4, tables=bits) for bits in (8, 4))
    assert four.path.stat().st_size < eight.path.stat().st_size
    assert operators(read_proto(four.path))["GatherBlockQuantized"] == 1
    assert quantized(made.graph, four, at_least=1).passed


def test_what_is_to_stay_in_float_stays(made: Bundle, tmp_path: Path):
    first, second, *_ = products(read_proto(made.graph.path)).float_products
    [table, *_] = products(read_proto(made.graph.path)).float_tables
    kept = weight_only(made.graph, tmp_path / "keep.onnx", bits=4, keep=[first, table])
    left = products(read_proto(kept.path))
    assert (left.float_products, left.float_tables) == ((first,), (table,))
    assert quantized(made.graph, kept, at_least=1, kept=[first, table]).passed
    assert not quantized(made.graph, kept, at_least=1).passed, "a product that was left out is no accident"
    only = products(read_proto(weight_only(made.graph, tmp_path / "only.onnx", bits=4, only=[second]).path))
    assert len(only.quantized_products) == 1
    assert not only.quantized_tables


def test_a_scale_that_was_moved_is_seen_in_the_answers(made: Bundle, tmp_path: Path):
    graph = weight_only(made.graph, tmp_path / "int8.onnx", bits=8)
    proto = onnx.load(graph.path)
    node = next(node for node in proto.graph.node if node.op_type == "MatMulNBits")
    scale = next(tensor for tensor in proto.graph.initializer if tensor.name == node.input[2])
    scale.raw_data = (-np.frombuffer(scale.raw_data, np.float32)).tobytes()
    onnx.save(proto, tmp_path / "moved.onnx")
    assert _error(made, OnnxGraph(tmp_path / "moved.onnx", "int8")) > 10 * _error(made, graph)


def test_what_can_not_be_done_is_told(made: Bundle, tmp_path: Path):
    with pytest.raises(ExportError, match="rounding gptq reads calibration examples, and there are none"):
        weight_only(made.graph, tmp_path / "x.onnx", bits=4, rounding="gptq")
    half, _ = float16(made.graph, tmp_path / "model_fp16.onnx", [])
    with pytest.raises(ExportError, match="its weights are fp16 already"):
        weight_only(half, tmp_path / "x.onnx", bits=4)
    for settings, said in (
        ({"method": "weight_int8", "rounding": "hqq"}, "rounding: is of weight_int4, and the method is weight_int8"),
        ({"method": "weight_int4", "ranges": "minmax"}, "ranges: is of static_int8, and the method is weight_int4"),
        (
            {"method": "weight_int4", "reduce_range": True},
            "reduce_range: is of dynamic_int8 and static_int8 and fastest",
        ),
    ):
        with pytest.raises(ValueError, match=said):
            Quantize.model_validate(settings)


def test_the_stage_names_its_file_by_its_bits(made: Bundle, make_context):
    gates: dict[str, bool] = {}
    context = make_context(check=lambda **gate: gates.update({gate["name"]: gate["passed"]}))
    stage = Quantize(method="weight_int4", rounding="gptq", embedding="int4")
    after = stage.apply(made, context)
    assert (after.graph.precision, after.graph.file_name) == ("int4", "model_int4.onnx")
    assert gates == dict.fromkeys(("quantized_operators", "quantized_agreement", "nameless", "opens_afresh"), True)
    assert Quantize().weight_bytes == 1.0 > stage.weight_bytes
