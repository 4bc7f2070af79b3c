"""Weight-only quantization: weights of products in blocks of 4- or 8-bit integers, unpacked as they are multiplied.
What flows between products stays in float; kernels round it to 8 bits as they read it, but where `hqq` made the blocks.

That pays where weights are read for few tokens, as in decoders and at batch 1, and where size is what counts.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from compress.bundle import OnnxGraph
from compress.errors import ExportError
from compress.graph import blocks, gptq
from compress.graph.blocks import BLOCK, INT8_PRODUCTS
from compress.graph.build import save_proto
from compress.graph.static import MICROSOFT, TableBits, with_integer_tables

if TYPE_CHECKING:
    import onnx

    from compress.graph.calibration import Seen

Bits = Literal[4, 8]
Rounding = Literal["rtn", "k_quant", "hqq", "gptq"]


def weight_only(
    graph: OnnxGraph,
    path: Path,
    *,
    bits: Bits,
    rounding: Rounding = "rtn",
    tables: TableBits = 8,
    seen: Mapping[str, Seen] | None = None,
    keep: Collection[str] = (),
    only: Collection[str] | None = None,
) -> OnnxGraph:
    """Products as com.microsoft's MatMulNBits, and tables in integers.

    Args:
        rounding: to the nearest (rtn); k_quant, which looks for the scale and zero of a block that lose least, as
            llama.cpp does; hqq (Badri and Shaji 2023, "Half-Quadratic Quantization"), whose zeros are no integers; or
            gptq (Frantar et al. 2022), which on the grids of k_quant makes up in later weights for what rounding
            earlier ones lost on inputs that were seen. 8 bits lose next to nothing, and are rounded to the nearest.
        tables: bits of a number of a large embedding table.
        seen: what flowed into each product, by the name of the tensor; gptq reads it.
        keep: names of nodes that stay in float.
        only: names of the nodes that are quantized; all that can be where it is left out.

    Raises:
        ExportError: the graph holds weights that are quantized already, or nothing was seen of what gptq reads.
    """
    import onnx

    if graph.precision != "fp32":
        raise ExportError(f"{graph.path.name}: its weights are {graph.precision} already; quantize starts from fp32")
    proto = onnx.load(graph.path)
    _spell_products(proto)
    named = {node.name for node in proto.graph.node}
    left = set(keep) | (named - set(only) if only is not None else set())
    if bits == 8 or rounding in ("rtn", "hqq"):
        made = _of_library(proto, bits, rounding, left)
    else:
        made = _in_blocks(proto, left, (seen or {}) if rounding == "gptq" else None)
    save_proto(with_integer_tables(made, tables, keep=left), path)
    return OnnxGraph(path, f"int{bits}")


def _of_library(proto: onnx.ModelProto, bits: Bits, rounding: Rounding, left: set[str]) -> onnx.ModelProto:
    """Rounded by onnxruntime's quantizers."""
    from onnxruntime.quantization import matmul_nbits_quantizer as library

    hqq = library.HQQWeightOnlyQuantConfig(block_size=BLOCK, bits=bits) if bits == 4 and rounding == "hqq" else None
    with _quiet():
        quantizer = library.MatMulNBitsQuantizer(
            proto,
            bits=bits,
            block_size=BLOCK,
            accuracy_level=INT8_PRODUCTS,
            nodes_to_exclude=sorted(left),
            algo_config=hqq,
        )
        quantizer.process()
    made: onnx.ModelProto = quantizer.model.model
    return made


def _in_blocks(proto: onnx.ModelProto, left: set[str], seen: Mapping[str, Seen] | None) -> onnx.ModelProto:
    """Rounded on `grids`: each weight once, whatever the number of products that read it, as layers may share theirs.

    Args:
        seen: what flowed into each product, where rounding goes by it.
    """
    from onnx import helper, numpy_helper

    weights = {tensor.name: tensor for tensor in proto.graph.initializer}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in proto.graph.node:
        if node.op_type == "MatMul" and node.name not in left and _is_matrix(weights.get(node.input[1])):
            readers.setdefault(node.input[1], []).append(node)
    for name, nodes in readers.items():
        weight = numpy_helper.to_array(weights[name]).astype(np.float32)
        scale, zero = blocks.grids(weight)
        steps, zeros = (blocks.spread(one, len(weight)) for one in (scale, zero))
        if seen is None:
            integers = np.clip(np.rint(weight / steps) + zeros, 0, blocks.LEVELS - 1).astype(np.uint8)
        else:
            integers = gptq.integers(weight, steps, zeros, _inputs(nodes, seen), levels=blocks.LEVELS)
        held = blocks.tensors(name, integers, scale, zero)
        proto.graph.initializer.extend(held)
        for node in nodes:
            node.CopyFrom(blocks.product(node, [tensor.name for tensor in held], *weight.shape))
    _without_unread(proto)
    if MICROSOFT not in {one.domain for one in proto.opset_import}:
        proto.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    return proto


def _inputs(nodes: Sequence[onnx.NodeProto], seen: Mapping[str, Seen]) -> np.ndarray:
    """Rows that were multiplied with a weight, of all products that read it."""
    for node in nodes:
        if node.input[0] not in seen:
            raise ExportError(f"quantize: rounding gptq: nothing is known of {node.input[0]}, which {node.name} reads")
    return np.concatenate([seen[node.input[0]].sample for node in nodes])


def _is_matrix(tensor: onnx.TensorProto | None) -> bool:
    from onnx import TensorProto

    return tensor is not None and len(tensor.dims) == 2 and tensor.data_type == TensorProto.FLOAT


def _without_unread(proto: onnx.ModelProto) -> None:
    """Drop weights that no node reads any more."""
    read = {name for node in proto.graph.node for name in node.input} | {one.name for one in proto.graph.output}
    kept = [tensor for tensor in proto.graph.initializer if tensor.name in read]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)


def _spell_products(proto: onnx.ModelProto) -> None:
    """Write Gemm as a product and a sum: the quantizers know products alone."""
    from onnx import helper, numpy_helper

    weights = {tensor.name: tensor for tensor in proto.graph.initializer}
    spelled: list[onnx.NodeProto] = []
    for node in proto.graph.node:
        options = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        scaled = options.get("alpha", 1.0) != 1.0 or options.get("beta", 1.0) != 1.0
        if node.op_type != "Gemm" or scaled or options.get("transA") or node.input[1] not in weights:
            spelled.append(node)
            continue
        name = node.input[1]
        if options.get("transB"):
            name = f"{node.input[1]}/turned"
            turned = np.ascontiguousarray(numpy_helper.to_array(weights[node.input[1]]).T)
            if name not in weights:
                weights[name] = numpy_helper.from_array(turned, name)
                proto.graph.initializer.append(weights[name])
        biased = len(node.input) > 2 and bool(node.input[2])
        product = f"{node.output[0]}/product" if biased else node.output[0]
        spelled.append(helper.make_node("MatMul", [node.input[0], name], [product], name=node.name))
        if biased:
            spelled.append(
                helper.make_node("Add", [product, node.input[2]], list(node.output), name=f"{node.name}/Add")
            )
    del proto.graph.node[:]
    proto.graph.node.extend(spelled)
    _without_unread(proto)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the quantizers tell, a line for each product, off the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            yield
    finally:
        logging.disable(before)
