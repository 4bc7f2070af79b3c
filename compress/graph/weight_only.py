"""Weight-only quantization: weights of products in blocks of 4- or 8-bit integers, unpacked as they are multiplied, by
the quantizers that come with onnxruntime. What flows between products stays in float.

That pays where weights are read for few tokens, as in decoders and at batch 1, and where size is what counts.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from compress.bundle import OnnxGraph
from compress.errors import ExportError
from compress.graph import gptq
from compress.graph.build import save_proto
from compress.graph.static import TableBits, with_integer_tables

if TYPE_CHECKING:
    import onnx

    from compress.graph.calibration import Seen

Bits = Literal[4, 8]
Rounding = Literal["rtn", "k_quant", "hqq", "gptq"]
BLOCK = 32
"""Weights of one output that share a scale."""
_INT8_PRODUCTS = 4
"""onnxruntime's accuracy level at which it multiplies blocks as integers, rounding what flows in to 8 bits."""


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
        rounding: to the nearest; k_quant, which looks for the scale and zero of a block that lose least (as llama.cpp
            does); hqq (Badri and Shaji 2023, "Half-Quadratic Quantization"), whose zeros are no integers; or gptq
            (Frantar et al. 2022), which on the grids of k_quant makes up in later weights for what rounding earlier
            ones lost on inputs that were seen. Of 8 bits all lose next to nothing, and are rounded to the nearest.
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
    made = _rounded(proto, bits, "k_quant" if rounding == "gptq" else rounding, left)
    if bits == 4 and rounding == "gptq":
        _make_up(made, proto, seen or {})
    save_proto(with_integer_tables(made, tables, keep=left), path)
    return OnnxGraph(path, f"int{bits}")


def _rounded(proto: onnx.ModelProto, bits: Bits, rounding: Rounding, left: set[str]) -> onnx.ModelProto:
    """A copy, rounded by onnxruntime's quantizers."""
    from onnxruntime.quantization import matmul_nbits_quantizer as library

    config: Any = None
    if bits == 4 and rounding == "hqq":
        config = library.HQQWeightOnlyQuantConfig(block_size=BLOCK, bits=bits)
    elif bits == 4 and rounding == "k_quant":
        config = library.KQuantWeightOnlyQuantConfig()
    with _quiet():
        quantizer = library.MatMulNBitsQuantizer(
            copy.deepcopy(proto),  # it works in place
            bits=bits,
            block_size=BLOCK,
            accuracy_level=_INT8_PRODUCTS,
            nodes_to_exclude=sorted(left),
            algo_config=config,
        )
        quantizer.process()
    made: onnx.ModelProto = quantizer.model.model
    return made


def _make_up(made: onnx.ModelProto, proto: onnx.ModelProto, seen: Mapping[str, Seen]) -> None:
    """Round the weights of blocks anew, on the grids that they have, by what flows into them."""
    from onnx import numpy_helper

    weights = {tensor.name: tensor for tensor in proto.graph.initializer}
    exact = {
        node.output[0]: weights[node.input[1]]
        for node in proto.graph.node
        if node.op_type == "MatMul" and node.input[1] in weights
    }
    packed = {tensor.name: tensor for tensor in made.graph.initializer}
    for node in made.graph.node:
        if node.op_type != "MatMulNBits":
            continue
        if node.input[0] not in seen:
            raise ExportError(f"quantize: rounding gptq: nothing is known of {node.input[0]}, which {node.name} reads")
        weight = numpy_helper.to_array(exact[node.output[0]])
        held, scale, zero = (numpy_helper.to_array(packed[name]) for name in node.input[1:4])
        outputs, blocks, _ = held.shape
        grids = (
            _spread(scale.reshape(outputs, blocks), len(weight)),
            _spread(_nibbles(zero.reshape(outputs, -1))[:, :blocks], len(weight)),
        )
        found = gptq.integers(weight, *grids, seen[node.input[0]].sample, levels=16)
        filled = np.zeros((outputs, blocks * BLOCK), dtype=np.uint8)
        filled[:, : len(weight)] = found.T
        pairs = filled[:, ::2] | filled[:, 1::2] << 4
        packed[node.input[1]].raw_data = pairs.tobytes()


def _spread(of_blocks: np.ndarray, channels: int) -> np.ndarray:
    """(channel, output), of what is (output, block)."""
    return np.repeat(of_blocks, BLOCK, axis=1)[:, :channels].T.astype(np.float32)


def _nibbles(packed: np.ndarray) -> np.ndarray:
    """Two numbers of four bits from each byte, the lower bits first."""
    return np.stack([packed & 15, packed >> 4], axis=-1).reshape(len(packed), -1)


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
    read = {name for node in spelled for name in node.input}
    kept = [tensor for tensor in proto.graph.initializer if tensor.name in read]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)


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
