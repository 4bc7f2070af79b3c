"""FLOPs of an ONNX graph: its matrix products, convolutions and attention, counted node by node.

A multiply-accumulate counts as 2, and nothing else counts, as in torch's `FlopCounterMode` and in `Anatomy.flops`.
Products of integers count like those of floats; attention that is masked counts in full, since it is computed in full.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.errors import ExportError
from compress.graph.einsum import einsum_macs
from compress.graph.shapes import ShapedGraph

if TYPE_CHECKING:
    import onnx

Count = Callable[[ShapedGraph, "onnx.NodeProto"], int]


def graph_flops(graph: ShapedGraph, path: Path) -> int:
    """FLOPs of one run of the graph.

    Raises:
        ExportError: the graph has branches or loops, whose products depend on what it is given.
    """
    from onnx import AttributeProto

    macs = 0
    for node in graph.nodes:
        if any(one.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for one in node.attribute):
            raise ExportError(f"{path}: {node.op_type} {node.name!r} has a graph inside: its FLOPs can't be counted")
        count = _COUNTS.get((node.domain, node.op_type)) or _COUNTS.get(("any", node.op_type))
        if count and not graph.constants.issuperset(node.output):
            macs += count(graph, node)
    return 2 * macs


def _product(graph: ShapedGraph, node: onnx.NodeProto) -> int:
    """Every number of the output is a sum over the last axis of what is multiplied, or the one before it, turned."""
    turned = _setting(node, "transA", 0)
    return math.prod(graph.shape(node.output[0])) * graph.shape(node.input[0])[-2 if turned else -1]


def _convolution(graph: ShapedGraph, node: onnx.NodeProto) -> int:
    """Every number of the output is a sum over one filter; the filters are the weight's first axis."""
    weight = graph.shape(node.input[3 if node.op_type == "QLinearConv" else 1])
    return math.prod(graph.shape(node.output[0])) * math.prod(weight[1:])


def _einsum(graph: ShapedGraph, node: onnx.NodeProto) -> int:
    return einsum_macs(_setting(node, "equation", b"").decode(), [graph.shape(name) for name in node.input])


def _attention(graph: ShapedGraph, node: onnx.NodeProto) -> int:
    """The standard operator: (batch, heads, tokens, size), or (batch, tokens, heads x size) with the heads' number."""
    query, key, value = (graph.shape(name) for name in node.input[:3])
    past = graph.shape(node.input[4])[-2] if len(node.input) > 4 and node.input[4] else 0
    if len(query) == 4:
        return query[0] * query[1] * query[2] * (key[2] + past) * (query[3] + value[3])
    wide = value[2] // _setting(node, "kv_num_heads", 1) * _setting(node, "q_num_heads", 1)
    return query[0] * query[1] * (key[1] + past) * (query[2] + wide)


def _packed_attention(graph: ShapedGraph, node: onnx.NodeProto) -> int:
    """com.microsoft's Attention and QAttention, which make query, key and value of their input themselves."""
    (batch, tokens, width), made = graph.shape(node.input[0]), graph.shape(node.input[1])[1]
    query, _, value = _setting(node, "qkv_hidden_sizes", [made // 3] * 3)
    place = 8 if node.op_type == "QAttention" else 4
    past = graph.shape(node.input[place])[-2] if len(node.input) > place and node.input[place] else 0
    return batch * tokens * (width * made + (tokens + past) * (query + value))


def _multi_head_attention(graph: ShapedGraph, node: onnx.NodeProto) -> int:
    """com.microsoft's MultiHeadAttention: apart, key and value packed in one, or all three packed in one."""
    query, output = graph.shape(node.input[0]), graph.shape(node.output[0])
    batch, tokens = query[:2]
    if len(query) == 5:  # (batch, tokens, heads, 3, size)
        return batch * tokens * tokens * 2 * query[2] * query[4]
    key = graph.shape(node.input[1])
    others = key[2] if len(key) == 4 else key[1]  # (batch, heads, tokens, size), else the tokens come second
    past = graph.shape(node.input[6])[-2] if len(node.input) > 6 and node.input[6] else 0
    return batch * tokens * (others + past) * (query[2] + output[2])


def _grouped_attention(graph: ShapedGraph, node: onnx.NodeProto) -> int:
    """com.microsoft's GroupQueryAttention: every token of the query meets all that the cache then holds."""
    batch, tokens, width = graph.shape(node.output[0])
    held = graph.shape(node.output[1])[2] if len(node.output) > 1 and node.output[1] else tokens
    return batch * tokens * held * 2 * width


def _blocks_product(graph: ShapedGraph, node: onnx.NodeProto) -> int:
    return math.prod(graph.shape(node.output[0])) * int(_setting(node, "K", 0))


def _setting(node: onnx.NodeProto, name: str, default: Any) -> Any:
    from onnx import helper

    return next((helper.get_attribute_value(one) for one in node.attribute if one.name == name), default)


_PRODUCTS = (
    *("MatMul", "MatMulInteger", "MatMulInteger16", "QLinearMatMul", "FusedMatMul", "MatMulIntegerToFloat"),
    *("DynamicQuantizeMatMul", "Gemm", "FusedGemm", "QGemm", "GemmFastGelu"),
)
_CONVOLUTIONS = ("Conv", "ConvInteger", "QLinearConv", "FusedConv", "NhwcConv")
_MICROSOFT = "com.microsoft"
_COUNTS: dict[tuple[str, str], Count] = {
    **{("any", name): _product for name in _PRODUCTS},
    **{("any", name): _convolution for name in _CONVOLUTIONS},
    ("any", "Einsum"): _einsum,
    ("", "Attention"): _attention,
    (_MICROSOFT, "Attention"): _packed_attention,
    (_MICROSOFT, "QAttention"): _packed_attention,
    (_MICROSOFT, "MultiHeadAttention"): _multi_head_attention,
    (_MICROSOFT, "GroupQueryAttention"): _grouped_attention,
    (_MICROSOFT, "MatMulNBits"): _blocks_product,
}
