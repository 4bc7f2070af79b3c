"""Laws of weight-only quantization: smaller by as much as bits are saved, truer with more, and nothing left out."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from tiny import tiny_bundle, tiny_split

from compress.bundle import Bundle, OnnxGraph
from compress.errors import ExportError
from compress.graph.build import build_graph
from compress.graph.calibration import Seen, calibration_inputs, observe
from compress.graph.half import float16
from compress.graph.inspect import operators, products, read_proto
from compress.graph.sensitivity import judge_of
from compress.graph.static import product_inputs
from compress.graph.verify import agreement, quantized
from compress.graph.weight_only import Rounding, weight_only
from compress.stages.quantize import Quantize

ROUNDINGS: tuple[Rounding, ...] = ("rtn", "k_quant", "hqq", "gptq")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A graph wide enough for blocks."""
    bundle = tiny_bundle(hidden_size=64, intermediate_size=128, vocab_size=5000)
    folder = tmp_path_factory.mktemp("wide")
    return replace(bundle, model=build_graph(bundle, folder / "model.onnx", attention="fused"))


@pytest.fixture(scope="module")
def seen(made: Bundle) -> dict[str, Seen]:
    inputs = calibration_inputs(made, tiny_split("calibration", 32, seed=1))
    return observe(made.graph, set(product_inputs(made.graph).values()), inputs, seed=1)


def _error(made: Bundle, graph: OnnxGraph) -> float:
    return judge_of(made, made.graph, tiny_split("dev", 64, seed=4))(graph)


def _unpacked(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    """By what it makes, the weight (channel, output) that each product stands for: what the runtime makes of ones."""
    held, found = {tensor.name: tensor for tensor in proto.graph.initializer}, {}
    for node in (node for node in proto.graph.node if node.op_type == "MatMulNBits"):
        size = next(option.i for option in node.attribute if option.name == "K")
        given = onnx.helper.make_tensor_value_info(node.input[0], onnx.TensorProto.FLOAT, [size, size])
        told = onnx.helper.make_tensor_value_info(node.output[0], onnx.TensorProto.FLOAT, None)
        graph = onnx.helper.make_graph([node], "one", [given], [told], [held[name] for name in node.input[1:]])
        alone = onnx.helper.make_model(graph, opset_imports=proto.opset_import, ir_version=10)
        session = onnxruntime.InferenceSession(alone.SerializeToString(), providers=["CPUExecutionProvider"])
        found[node.output[0]] = session.run(None, {node.input[0]: np.eye(size, dtype=np.float32)})[0]
    return found


def _exact(made: Bundle) -> dict[str, np.ndarray]:
    """As `_unpacked`, of weights in eight bits: as good as those that were."""
    with tempfile.TemporaryDirectory() as folder:
        return _unpacked(read_proto(weight_only(made.graph, Path(folder, "int8.onnx"), bits=8).path))


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_four_bits_keep_the_weights_and_every_product_is_in_blocks(
    made: Bundle, seen: dict[str, Seen], tmp_path: Path, rounding: Rounding
):
    graph = weight_only(made.graph, tmp_path / "int4.onnx", bits=4, rounding=rounding, seen=seen)
    assert graph.precision == "int4"
    linears = {part.module for group in tiny_bundle().anatomy.groups for part in group.slices}
    found = quantized(made.graph, graph, at_least=len(linears))
    assert found.passed, found.detail
    counted, before = operators(read_proto(graph.path)), products(read_proto(made.graph.path))
    assert counted["MatMulNBits"] == len(before.float_products)
    assert counted["MatMul"] == counted["Gemm"] == 0
    exact = _exact(made)
    for name, weight in _unpacked(read_proto(graph.path)).items():
        # 16 steps over the range of 32 normal numbers: a root mean square error of 8 %, and of what makes up, more.
        assert 0.01 < np.linalg.norm(weight - exact[name]) / np.linalg.norm(exact[name]) < 0.16
    assert graph.path.stat().st_size < 0.35 * made.graph.path.stat().st_size
    again = weight_only(made.graph, tmp_path / "again.onnx", bits=4, rounding=rounding, seen=seen)
    assert again.path.read_bytes() == graph.path.read_bytes()


def test_gptq_loses_less_on_what_was_seen_than_the_grids_that_it_starts_from(
    made: Bundle, seen: dict[str, Seen], tmp_path: Path
):
    """What flowed in is of few dimensions, as in trained models, so that one weight can make up for another."""
    generator = np.random.default_rng(3)
    thin = {}
    for name, one in seen.items():
        size = one.sample.shape[1]
        rows = generator.normal(size=(512, size // 4)) @ generator.normal(size=(size // 4, size))
        thin[name] = replace(one, sample=rows.astype(np.float32))
    roundings: tuple[Rounding, ...] = ("k_quant", "gptq")
    paths = {
        one: weight_only(made.graph, tmp_path / f"{one}.onnx", bits=4, rounding=one, seen=thin).path
        for one in roundings
    }
    exact = _exact(made)
    reads = {node.output[0]: node.input[0] for node in read_proto(paths["gptq"]).graph.node if node.output}
    lost = {
        rounding: [
            np.linalg.norm(thin[reads[name]].sample @ (weight - exact[name]))
            for name, weight in _unpacked(read_proto(path)).items()
        ]
        for rounding, path in paths.items()
    }
    assert all(np.array(lost["gptq"]) < 0.7 * np.array(lost["k_quant"]))


def _products(path: Path, weight: np.ndarray, *, readers: int = 1) -> OnnxGraph:
    """A graph of one weight, and so many products that read it."""
    size, width = weight.shape
    nodes = [onnx.helper.make_node("MatMul", [f"x{i}", "w"], [f"y{i}"], name=f"product{i}") for i in range(readers)]
    ends = [
        [
            onnx.helper.make_tensor_value_info(f"{kind}{i}", onnx.TensorProto.FLOAT, ["rows", last])
            for i in range(readers)
        ]
        for kind, last in (("x", size), ("y", width))
    ]
    graph = onnx.helper.make_graph(nodes, "one", *ends, [onnx.numpy_helper.from_array(weight, "w")])
    opsets = [onnx.helper.make_opsetid("", 20)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return OnnxGraph(path, "fp32")


def _flowed(sample: np.ndarray) -> Seen:
    return Seen(sample.min(axis=0), sample.max(axis=0), sample.astype(np.float32))


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("size", [7, 40, 96, 160])
def test_a_weight_may_have_any_number_of_channels(tmp_path: Path, rounding: Rounding, size: int):
    generator = np.random.default_rng(size)
    weight = generator.normal(size=(size, 24)).astype(np.float32)
    seen = {"x0": _flowed(generator.normal(size=(64, size)))}
    graph = _products(tmp_path / "x.onnx", weight)
    made = weight_only(graph, tmp_path / "int4.onnx", bits=4, rounding=rounding, seen=seen)
    [found] = _unpacked(read_proto(made.path)).values()
    assert np.linalg.norm(found - weight) < 0.16 * np.linalg.norm(weight)


@pytest.mark.parametrize("rounding", ["k_quant", "gptq"])
def test_weights_of_one_sign_are_not_lost(tmp_path: Path, rounding: Rounding):
    weight = np.random.default_rng(1).uniform(1, 1.05, size=(64, 24)).astype(np.float32)
    weight[32:, 3] = 0.03  # a block that holds one number
    weight[:, 4] = 0.0
    seen = {"x0": _flowed(np.random.default_rng(2).normal(size=(64, 64)))}
    made = weight_only(
        _products(tmp_path / "x.onnx", weight), tmp_path / "y.onnx", bits=4, rounding=rounding, seen=seen
    )
    [found] = _unpacked(read_proto(made.path)).values()
    assert np.linalg.norm(found - weight, axis=0).max() < 0.06 * np.linalg.norm(weight[:, 0])


def test_a_weight_that_layers_share_is_rounded_for_all_that_read_it(tmp_path: Path):
    generator = np.random.default_rng(5)
    weight = generator.normal(size=(64, 32)).astype(np.float32)
    samples = [generator.normal(size=(512, 12)) @ generator.normal(size=(12, 64)) for _ in range(2)]
    seen = {f"x{i}": _flowed(sample) for i, sample in enumerate(samples)}
    graph = _products(tmp_path / "x.onnx", weight, readers=2)
    lost = {}
    for rounding in ("k_quant", "gptq"):
        made = weight_only(graph, tmp_path / "y.onnx", bits=4, rounding=rounding, seen=seen)
        found = list(_unpacked(read_proto(made.path)).values())
        assert np.array_equal(*found)
        lost[rounding] = [np.linalg.norm(sample @ (found[0] - weight)) for sample in samples]
    assert all(np.array(lost["gptq"]) < 0.7 * np.array(lost["k_quant"]))


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
    with pytest.raises(ExportError, match=r"rounding gptq: nothing is known of .*, which .* reads"):
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
