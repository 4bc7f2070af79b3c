"""A graph's FLOPs are those of the products that its operators stand for; its memory is that of what lives at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.utils.flop_counter import FlopCounterMode

from compress.errors import ExportError
from compress.graph.activations import activation_bytes
from compress.graph.flops import graph_flops
from compress.graph.shapes import shaped_graph

FLOAT, INT8, UINT8 = TensorProto.FLOAT, TensorProto.INT8, TensorProto.UINT8
B, T, D, H = 2, 6, 32, 4
"""Batch, tokens, hidden size, heads."""
MICROSOFT = "com.microsoft"
Given = dict[str, tuple[int, tuple[int, ...]]]


def graph(folder: Path, nodes: Sequence[onnx.NodeProto], given: Given, **constants: Any) -> Path:
    """A file with these nodes; the outputs of the last are the graph's, all other inputs have any size."""
    inputs = [helper.make_tensor_value_info(name, kind, [None] * len(shape)) for name, (kind, shape) in given.items()]
    outputs = [onnx.ValueInfoProto(name=name) for name in nodes[-1].output if name]
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    made = helper.make_graph(list(nodes), "tested", inputs, outputs, weights)
    opsets = [helper.make_opsetid("", 23), helper.make_opsetid(MICROSOFT, 1)]
    path = folder / "model.onnx"
    onnx.save(helper.make_model(made, opset_imports=opsets, ir_version=10), path)
    return path


def flops(path: Path, given: Given) -> int:
    return graph_flops(shaped_graph(path, {name: shape for name, (_, shape) in given.items()}), path)


def zeros(kind: type, *shape: int) -> np.ndarray:
    return np.zeros(shape, kind)


HEADS = (B, H, T, D // H)
FLAT = (B, T, D)
BYTE, POINT = np.uint8(0), np.float32(1)
ATTENTION = 2 * B * T * T * 2 * D
"""Of q k^T, and of its product with v."""

OPERATORS: dict[str, tuple[str, str, dict[str, Any], Given, dict[str, Any], int]] = {
    # domain, inputs in order, settings, what is given, constants, FLOPs
    "MatMul": ("", "x w", {}, {"x": (FLOAT, FLAT)}, {"w": zeros(np.float32, D, 7)}, 2 * B * T * D * 7),
    "Gemm": ("", "x w", {"transA": 1}, {"x": (FLOAT, (D, T))}, {"w": zeros(np.float32, D, 7)}, 2 * T * D * 7),
    "MatMulInteger": ("", "x w", {}, {"x": (UINT8, FLAT)}, {"w": zeros(np.int8, D, 7)}, 2 * B * T * D * 7),
    "QLinearMatMul": (
        "",
        "x s z w s z s z",
        {},
        {"x": (UINT8, FLAT)},
        {"w": zeros(np.uint8, D, 7), "s": POINT, "z": BYTE},
        2 * B * T * D * 7,
    ),
    "FusedMatMul": (
        MICROSOFT,
        "x y",
        {"transB": 1, "alpha": 0.5},
        {"x": (FLOAT, HEADS), "y": (FLOAT, HEADS)},
        {},
        ATTENTION // 2,
    ),
    "DynamicQuantizeMatMul": (
        MICROSOFT,
        "x w s",
        {},
        {"x": (FLOAT, FLAT)},
        {"w": zeros(np.int8, D, 7), "s": POINT},
        2 * B * T * D * 7,
    ),
    "MatMulIntegerToFloat": (
        MICROSOFT,
        "x w s s",
        {},
        {"x": (UINT8, FLAT)},
        {"w": zeros(np.int8, D, 7), "s": POINT},
        2 * B * T * D * 7,
    ),
    "MatMulNBits": (
        MICROSOFT,
        "x w s",
        {"K": D, "N": 8, "bits": 4, "block_size": 16},
        {"x": (FLOAT, FLAT)},
        {"w": zeros(np.uint8, 8, 2, 8), "s": zeros(np.float32, 16)},
        2 * B * T * D * 8,
    ),
    "Conv": (
        "",
        "x w",
        {"strides": [4, 4]},
        {"x": (FLOAT, (B, 3, 8, 8))},
        {"w": zeros(np.float32, D, 3, 4, 4)},
        2 * B * 2 * 2 * D * 3 * 4 * 4,
    ),
    "Einsum": ("", "x w", {"equation": "btd,de->bte"}, {"x": (FLOAT, FLAT)}, {"w": zeros(np.float32, D, 7)}, 5376),
    "MultiHeadAttention": (
        MICROSOFT,
        "q k v",
        {"num_heads": H},
        dict.fromkeys("qkv", (FLOAT, FLAT)),
        {},
        ATTENTION,
    ),
    "QAttention": (
        MICROSOFT,
        "x w b s s",
        {"num_heads": H},
        {"x": (UINT8, FLAT)},
        {"w": zeros(np.int8, D, 3 * D), "b": zeros(np.float32, 3 * D), "s": POINT},
        ATTENTION + 2 * B * T * D * 3 * D,
    ),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_counts_as_the_products_that_it_stands_for(name: str, tmp_path: Path):
    domain, inputs, settings, given, constants, wanted = OPERATORS[name]
    node = helper.make_node(name, inputs.split(), ["out"], domain=domain, **settings)
    assert flops(graph(tmp_path, [node], given, **constants), given) == wanted


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ij,jk->ik", [(2, 3), (3, 5)]),
        ("ij , jk", [(2, 3), (3, 5)]),  # the output is what stands once
        ("...td,de->...te", [(2, 3, 4), (4, 5)]),
        ("b...d,de", [(2, 3, 6, 4), (4, 5)]),
        ("bhqd,bhkd->bhqk", [(2, 4, 6, 8), (2, 4, 6, 8)]),
        ("iij,jk->ik", [(3, 3, 4), (4, 5)]),
        ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)]),
        ("ij,jk->i", [(2, 3), (3, 5)]),
        ("ij,ij->", [(2, 3), (2, 3)]),
        ("ij,ik->i", [(2, 3), (2, 5)]),
        ("i,j->ij", [(2,), (3,)]),
        ("ij,ij->ij", [(2, 3), (2, 3)]),
        ("ii->i", [(3, 3)]),
        ("ij->ji", [(2, 3)]),
    ],
)
def test_any_einsum_counts_as_torch_counts_it(equation: str, shapes: list[tuple[int, ...]], tmp_path: Path):
    given: Given = {f"x{place}": (FLOAT, shape) for place, shape in enumerate(shapes)}
    node = helper.make_node("Einsum", list(given), ["out"], equation=equation)
    with FlopCounterMode(display=False) as counter:
        torch.einsum(equation, *[torch.ones(shape) for shape in shapes])
    assert flops(graph(tmp_path, [node], given), given) == counter.get_total_flops()


def test_attention_counts_alike_however_its_heads_are_written(tmp_path: Path):
    apart = dict.fromkeys("qkv", (FLOAT, HEADS))
    together = dict.fromkeys("qkv", (FLOAT, FLAT))
    whole = helper.make_node("Attention", list("qkv"), ["out"])
    counted = helper.make_node("Attention", list("qkv"), ["out"], q_num_heads=H, kv_num_heads=H)
    assert flops(graph(tmp_path, [whole], apart), apart) == ATTENTION
    assert flops(graph(tmp_path, [counted], together), together) == ATTENTION


def test_grouped_heads_cost_as_much_as_the_queries_that_share_them(tmp_path: Path):
    narrow = (B, T, D // 2)
    given = {"q": (FLOAT, FLAT), "k": (FLOAT, narrow), "v": (FLOAT, narrow)}
    standard = helper.make_node("Attention", list("qkv"), ["out"], q_num_heads=H, kv_num_heads=H // 2)
    assert flops(graph(tmp_path, [standard], given), given) == ATTENTION
    lengths = {"len": np.full(B, T - 1, np.int32), "total": np.asarray(T, np.int32)}
    inputs = ["q", "k", "v", "", "", "len", "total"]
    grouped = helper.make_node(
        "GroupQueryAttention", inputs, ["out"], domain=MICROSOFT, num_heads=H, kv_num_heads=H // 2
    )
    assert flops(graph(tmp_path, [grouped], given, **lengths), given) == ATTENTION


def test_packed_attention_makes_its_own_queries_keys_and_values(tmp_path: Path):
    given = {"x": (FLOAT, FLAT)}
    constants = {"w": zeros(np.float32, D, 3 * D), "b": zeros(np.float32, 3 * D)}
    node = helper.make_node("Attention", ["x", "w", "b"], ["out"], domain=MICROSOFT, num_heads=H)
    assert flops(graph(tmp_path, [node], given, **constants), given) == ATTENTION + 2 * B * T * D * 3 * D
    narrow = helper.make_node(
        "Attention", ["x", "w", "b"], ["out"], domain=MICROSOFT, num_heads=H, qkv_hidden_sizes=[16, 16, 32]
    )
    constants = {"w": zeros(np.float32, D, 64), "b": zeros(np.float32, 64)}
    assert flops(graph(tmp_path, [narrow], given, **constants), given) == 2 * B * T * (D * 64 + T * 48)


def test_what_is_computed_from_weights_alone_is_free(tmp_path: Path):
    weights = {"v": zeros(np.float32, 64, 64), "w": zeros(np.float32, 64, 64)}
    made = helper.make_node("MatMul", ["v", "w"], ["once"])
    used = helper.make_node("MatMul", ["x", "once"], ["out"])
    given: Given = {"x": (FLOAT, (3, 64))}
    path = graph(tmp_path, [made, used], given, **weights)
    assert flops(path, given) == 2 * 3 * 64 * 64
    assert activation_bytes(shaped_graph(path, {"x": (3, 64)})) == 3 * 64 * 4


def test_a_chain_holds_a_node_s_input_and_its_output_and_views_hold_nothing(tmp_path: Path):
    size = 4 * 5 * 6
    chain = [
        helper.make_node("Tanh", ["x"], ["a"]),
        helper.make_node("Reshape", ["a", "flat"], ["b"]),
        helper.make_node("Sigmoid", ["b"], ["c"]),
        helper.make_node("Exp", ["c"], ["d"]),
    ]
    path = graph(tmp_path, chain, {"x": (FLOAT, (5, 6))}, flat=np.array([-1]))
    assert activation_bytes(shaped_graph(path, {"x": (5, 6)})) == 2 * size


def test_what_is_read_late_lives_long(tmp_path: Path):
    size = 4 * 5 * 6
    nodes = [
        helper.make_node("Tanh", ["x"], ["early"]),
        helper.make_node("Sigmoid", ["early"], ["a"]),
        helper.make_node("Exp", ["a"], ["b"]),
        helper.make_node("Add", ["b", "early"], ["out"]),
    ]
    path = graph(tmp_path, nodes, {"x": (FLOAT, (5, 6))})
    assert activation_bytes(shaped_graph(path, {"x": (5, 6)})) == 3 * size


def test_a_graph_whose_shapes_nobody_can_tell_is_refused_with_the_reason(tmp_path: Path):
    node = helper.make_node("NoSuch", ["x"], ["out"], domain=MICROSOFT)
    path = graph(tmp_path, [node], {"x": (FLOAT, (2, 3))})
    with pytest.raises(ExportError, match="NoSuch"):
        shaped_graph(path, {"x": (2, 3)})
    sums = helper.make_node("NonZero", ["x"], ["out"])
    path = graph(tmp_path, [sums], {"x": (FLOAT, (2, 3))})
    with pytest.raises(ExportError, match="can't be told"):
        shaped_graph(path, {"x": (2, 3)})
    with pytest.raises(ExportError, match="its input 'x' is none of y"):
        shaped_graph(path, {"y": (2, 3)})


def test_a_branch_is_not_guessed_at(tmp_path: Path):
    def branch(name: str) -> onnx.GraphProto:
        out = helper.make_tensor_value_info("made", FLOAT, None)
        return helper.make_graph([helper.make_node(name, ["x"], ["made"])], name, [], [out])

    nodes = [
        helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
        helper.make_node("Cast", ["most"], ["yes"], to=TensorProto.BOOL),
        helper.make_node("If", ["yes"], ["out"], then_branch=branch("Tanh"), else_branch=branch("Exp")),
    ]
    given: Given = {"x": (FLOAT, (2, 3))}
    with pytest.raises(ExportError, match="has a graph inside"):
        flops(graph(tmp_path, nodes, given), given)
