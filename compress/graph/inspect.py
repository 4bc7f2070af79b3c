"""Look into an ONNX graph: which operators it has, how many heads each attention node works on, what is quantized."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from compress.errors import ExportError

if TYPE_CHECKING:
    import onnx

# com.microsoft operators that are attention too, and the attribute that holds their head count.
CONTRIB_ATTENTION = {"Attention": "num_heads", "MultiHeadAttention": "num_heads", "GroupQueryAttention": "num_heads"}

_OF_INTEGERS = ("MatMulInteger", "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "QAttention", "MatMulNBits")


@dataclass(frozen=True)
class AttentionNode:
    """One fused attention; `heads` is None where the graph does not tell."""

    name: str
    heads: int | None


@dataclass(frozen=True)
class Products:
    """Matrix products with a constant weight, and lookups in constant tables: those in float and those quantized."""

    float_products: tuple[str, ...]
    quantized_products: tuple[str, ...]
    float_tables: tuple[str, ...]
    quantized_tables: tuple[str, ...]


def read_proto(path: Path) -> onnx.ModelProto:
    """The graph without its external data.

    Raises:
        ExportError: the file is not there, cut short, or no ONNX.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        proto = onnx.load(path, load_external_data=False)
    except (OSError, DecodeError) as fault:
        raise ExportError(f"{path}: not a readable ONNX file: {fault}") from None
    if not proto.graph.node:
        raise ExportError(f"{path}: an ONNX file with no nodes; was it cut short?")
    return proto


def operators(proto: onnx.ModelProto) -> Counter[str]:
    """How often each operator stands in the graph."""
    return Counter(node.op_type for node in proto.graph.node)


def attention_nodes(proto: onnx.ModelProto) -> list[AttentionNode]:
    """Every fused attention node, in the order of the graph.

    The standard operator on 4-D inputs has its head count in the shape of its query alone; com.microsoft's have an
    attribute.
    """
    shapes = {info.name: info.type.tensor_type.shape.dim for info in proto.graph.value_info}
    found: list[AttentionNode] = []
    for node in proto.graph.node:
        if node.op_type not in CONTRIB_ATTENTION:
            continue
        attributes = {attribute.name: attribute.i for attribute in node.attribute}
        heads = attributes.get(CONTRIB_ATTENTION[node.op_type], attributes.get("q_num_heads"))
        query = shapes.get(node.input[0], ())
        if heads is None and len(query) == 4 and query[1].HasField("dim_value"):
            heads = query[1].dim_value
        found.append(AttentionNode(node.name, heads))
    return found


def products(proto: onnx.ModelProto) -> Products:
    """The graph's products and lookups, sorted by whether they are computed in float or of integers. A product of the
    QDQ form is of integers where both of its inputs are read through DequantizeLinear."""
    integers = {tensor.name for tensor in proto.graph.initializer if tensor.data_type in _integer_types()}
    floats = {tensor.name for tensor in proto.graph.initializer if tensor.data_type in _float_types()}
    columns = [tensor.name for tensor in proto.graph.initializer if len(tensor.dims) == 2 and tensor.dims[1] == 1]
    looked_up = {node.input[1] for node in proto.graph.node if node.op_type == "Gather" and node.input[0] in integers}
    of_rows = [[scale, rows] for scale in columns for rows in looked_up]  # the scales of an integer table's rows
    read = {node.output[0]: node.input[0] for node in proto.graph.node if node.op_type == "DequantizeLinear"}
    kinds: dict[str, list[str]] = {"float_products": [], "quantized_products": []}
    kinds |= {"float_tables": [], "quantized_tables": []}
    for node in proto.graph.node:
        if node.op_type in ("MatMul", "Gemm") and (node.input[1] in floats or read.get(node.input[1]) in integers):
            kind = "quantized" if node.input[0] in read and node.input[1] in read else "float"
            kinds[f"{kind}_products"].append(node.name)
        elif node.op_type in _OF_INTEGERS:
            kinds["quantized_products"].append(node.name)
        elif node.op_type == "Gather" and node.input[0] in floats and node.input[:2] not in of_rows:
            kinds["float_tables"].append(node.name)
        elif node.op_type in ("Gather", "GatherBlockQuantized") and node.input[0] in integers:
            kinds["quantized_tables"].append(node.name)
    return Products(**{kind: tuple(names) for kind, names in kinds.items()})


def _integer_types() -> tuple[int, ...]:
    """What weights are quantized to; tables of int64 hold positions and shapes."""
    from onnx import TensorProto

    return (TensorProto.INT8, TensorProto.UINT8, TensorProto.INT4, TensorProto.UINT4)


def _float_types() -> tuple[int, ...]:
    from onnx import TensorProto

    return (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)
