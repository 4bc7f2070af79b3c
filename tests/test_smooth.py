"""Laws of smoothing: the graph says the same, what flows is what was foretold, and integers lose less."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from tiny import tiny_bundle, tiny_split

from compress.bundle import Bundle, OnnxGraph
from compress.errors import ExportError
from compress.graph.build import build_graph
from compress.graph.calibration import Seen, calibration_inputs, observe
from compress.graph.divisible import Columns, Divisible, Source
from compress.graph.sensitivity import judge_of
from compress.graph.smooth import smooth
from compress.graph.static import product_inputs, static_int8
from compress.graph.verify import parity
from compress.stages.quantize import Quantize

WIDE = 100.0


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Bundle]:
    """A model one of whose value channels in each layer holds numbers a hundred times larger, and its graph."""
    source = tiny_bundle(seed=6)
    with torch.no_grad():
        for layer in source.module.bert.encoder.layer:
            layer.attention.self.value.weight[0] *= WIDE
            layer.attention.self.value.bias[0] *= WIDE
            layer.attention.output.dense.weight[:, 0] /= WIDE
    graph = build_graph(source, tmp_path_factory.mktemp("wide") / "model.onnx", attention="fused")
    return source, replace(source, model=graph)


def _seen(bundle: Bundle) -> dict[str, Seen]:
    inputs = calibration_inputs(bundle, tiny_split("calibration", 32, seed=1))
    return observe(bundle.graph, set(product_inputs(bundle.graph).values()), inputs, seed=3)


def _widths(one: Seen) -> np.ndarray:
    return np.maximum(np.abs(one.lowest), np.abs(one.highest))


def test_wide_values_cost_nothing_once_they_are_smooth(made: tuple[Bundle, Bundle], tmp_path: Path):
    source, before = made
    seen = _seen(before)
    after, calm = smooth(before.graph, tmp_path / "smooth.onnx", seen, strength=0.5)
    assert parity(source, after, seed=3).passed
    changed = [name for name in seen if not np.array_equal(_widths(seen[name]), _widths(calm[name]))]
    assert len(changed) == len(source.module.bert.encoder.layer)
    for name in changed:
        wide, even = (_widths(one[name]).max() / np.median(_widths(one[name])) for one in (seen, calm))
        assert even < wide / 4
    flowed = _seen(replace(before, model=after))
    assert all(np.allclose(_widths(flowed[name]), _widths(calm[name]), rtol=1e-3) for name in seen)
    judge = judge_of(before, before.graph, tiny_split("dev", 48, seed=5))
    settings = {"split_outliers": False, "reduce_range": True}
    rough = judge(static_int8(before.graph, tmp_path / "rough.onnx", seen, **settings))
    assert judge(static_int8(after, tmp_path / "calm.onnx", calm, **settings)) < 0.8 * rough


def test_what_is_moved_into_the_weights_grows_with_the_strength(made: tuple[Bundle, Bundle], tmp_path: Path):
    _, before = made
    seen = _seen(before)
    spreads = []
    for strength in (0.2, 0.5, 0.9):
        _, calm = smooth(before.graph, tmp_path / "smooth.onnx", seen, strength=strength)
        changed = [name for name in seen if not np.array_equal(_widths(seen[name]), _widths(calm[name]))]
        spreads.append(np.mean([_widths(calm[name]).max() / np.median(_widths(calm[name])) for name in changed]))
    assert spreads == sorted(spreads, reverse=True)


def _divisible(nodes: str) -> Divisible:
    text = f"""
        <ir_version: 10, opset_import: ["" : 23]>
        g (float[b, t, 4] x) => (float[b, t, 4] y)
        <float[4] one = {{1, 1, 1, 1}}, float[4, 4] w = {{{", ".join(["1"] * 16)}}}, float[b, t, 4] a> {{ {nodes} }}"""
    return Divisible(onnx.parser.parse_model(text))


@pytest.mark.parametrize(
    ("nodes", "found"),
    [
        ("t = LayerNormalization <axis = -1> (x, one)  y = MatMul (t, w)", Source((Columns("one", 0, 4),))),
        ("t = Mul (x, one)  y = MatMul (t, w)", Source((Columns("one", 0, 4),))),
        ("a = MatMul (x, w)  t = Relu (a)  y = Neg (t)", Source((Columns("w", 0, 4),))),
        ("a = MatMul (x, w)  t = Add (one, a)  y = Neg (t)", Source((Columns("w", 0, 4), Columns("one", 0, 4)))),
        ("a = MatMul (x, w)  b = Sigmoid (x)  t = Mul (b, a)  y = Neg (t)", Source((Columns("w", 0, 4),))),
        (
            "a = MatMul (x, w)  b, t = Split <axis = 2, num_outputs = 2> (a)  y = Concat <axis = 2> (b, t)",
            Source((Columns("w", 2, 2),)),
        ),
        ("p = Softmax (x)  a = MatMul (x, w)  t = MatMul (p, a)  y = Neg (t)", Source((Columns("w", 0, 4),))),
        ("p = Softmax (x)  a = MatMul (x, w)  t = MatMul (a, p)  y = Neg (t)", None),
        ("a = MatMul (x, w)  t = Gelu (a)  y = Neg (t)", None),
        ("a = MatMul (x, w)  t = Transpose <perm = [1, 0, 2]> (a)  y = Neg (t)", Source((Columns("w", 0, 4),))),
        ("a = MatMul (x, w)  t = Transpose <perm = [0, 2, 1]> (a)  y = Neg (t)", None),  # tokens become channels
        ("a = MatMul (x, w)  b, t = Split <axis = 1, num_outputs = 2> (a)  y = Concat <axis = 1> (b, t)", None),
        ("a = MatMul (x, one)  t = Relu (a)  y = Neg (t)", None),  # its last axis is what is summed over
        ("a = MatMul (x, w)  t = Relu (a)  y = Add (t, a)", None),  # what another reads
        ("t = Mul (x, one)  y = Mul (t, one)", None),  # a constant that another reads
        ("a = MatMul (x, w)  t = Add (a, x)  y = Neg (t)", None),  # the residual
        ("y = Mul (x, one)  t = Relu (y)", None),  # what the graph gives
        ("a = Gemm <transB = 1> (x, w)  t = Relu (a)  y = Neg (t)", None),
    ],
)
def test_a_tensor_is_divided_only_where_nothing_else_is(nodes: str, found: Source | None):
    assert _divisible(nodes).source_of("t") == found


def test_what_reads_a_tensor_has_to_be_products_alone():
    assert _divisible("t = Mul (x, one)  y = MatMul (t, w)").weights_of("t") == {"w": False}
    assert _divisible("t = Mul (x, one)  y = Gemm <transB = 1> (t, w)").weights_of("t") == {"w": True}
    assert _divisible("t = Mul (x, one)  a = MatMul (t, w)  y = Add (a, t)").weights_of("t") is None
    assert _divisible("t = Mul (x, one)  a = MatMul (t, w)  y = MatMul (a, w)").weights_of("t") is None


def test_a_channel_in_which_nothing_was_seen_is_not_blown_up(made: tuple[Bundle, Bundle], tmp_path: Path):
    _, before = made
    seen = _seen(before)
    dead = {
        name: replace(
            one,
            lowest=np.where(np.arange(len(one.lowest)) == 1, 0, one.lowest),
            highest=np.where(np.arange(len(one.lowest)) == 1, 1e-12, one.highest),
        )
        for name, one in seen.items()
    }
    _, calm = smooth(before.graph, tmp_path / "smooth.onnx", dead, strength=0.5)
    changed = [name for name in seen if not np.array_equal(_widths(dead[name]), _widths(calm[name]))]
    for name in changed:  # what is divided by little becomes as much larger
        assert (calm[name].highest / dead[name].highest)[1] < 100


def test_a_graph_that_is_run_by_a_node_reads_as_well():
    inner = onnx.helper.make_graph([onnx.helper.make_node("Neg", ["t"], ["n"])], "inner", [], [])
    divisible = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["" : 23]>
        g (float[b, 4] x, bool c) => (float[b, 1] y) <float[4] one = {1, 1, 1, 1}, float[4, 1] w = {1, 1, 1, 1}>
        { t = Mul (x, one)  y = MatMul (t, w) }""")
    assert Divisible(divisible).weights_of("t") == {"w": False}
    divisible.graph.node.append(onnx.helper.make_node("If", ["c"], ["z"], then_branch=inner, else_branch=inner))
    assert Divisible(divisible).weights_of("t") is None


def test_where_nothing_can_be_smoothed_it_is_told(tmp_path: Path):
    text = """
        <ir_version: 10, opset_import: ["" : 23]>
        g (float[b, 2] x) => (float[b, 2] y) <float[2, 2] w = {1, 1, 1, 1}> { t = Gelu (x)  y = MatMul (t, w) }"""
    onnx.save(onnx.parser.parse_model(text), tmp_path / "x.onnx")
    seen = {"t": Seen(np.zeros(2), np.ones(2), np.zeros((1, 2)))}
    with pytest.raises(ExportError, match="no tensor can be smoothed"):
        smooth(OnnxGraph(tmp_path / "x.onnx", "fp32"), tmp_path / "s.onnx", seen, strength=0.5)


def test_the_stage_smooths_before_it_rounds(made: tuple[Bundle, Bundle], make_context):
    _, before = made
    settings = {"method": "static_int8", "outliers": "leave", "reduce_range": True}
    plain, calm = (Quantize(**settings, smooth=share) for share in (None, 0.5))
    judge, gates = judge_of(before, before.graph, tiny_split("dev", 48, seed=5)), dict[str, bool]()
    context = make_context(check=lambda **gate: gates.update({gate["name"]: gate["passed"]}))
    assert judge(calm.apply(before, context).graph) < judge(plain.apply(before, make_context()).graph)
    assert gates["unchanged"], "smoothing alone moves nothing"
    with pytest.raises(ValueError, match="smooth: is of static_int8 and fastest, and the method is dynamic_int8"):
        Quantize(smooth=0.5)
    with pytest.raises(ValueError, match="less than 1"):
        Quantize(method="static_int8", smooth=1.0)
