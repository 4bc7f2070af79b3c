"""Quantize an ONNX graph with onnxruntime's own tools, so that its fast integer kernels are what runs."""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path

from compress.bundle import OnnxGraph
from compress.errors import ExportError


def dynamic_int8(
    graph: OnnxGraph,
    path: Path,
    *,
    reduce_range: bool = False,
    keep: Collection[str] = (),
    only: Collection[str] | None = None,
) -> OnnxGraph:
    """Int8 weights, one scale an output channel; activations are quantized at run time, one scale a tensor.

    The embedding table goes to int8 too: it is most of a small model, and costs almost no accuracy.

    Args:
        reduce_range: weights in 7 bits. An x86 CPU without VNNI adds two products of 8 bits in 16, where they may have
            no room and are clipped; products of 7 bits have.
        keep: names of nodes that stay in float.
        only: names of the nodes that are quantized; all that can be where it is left out.

    Raises:
        ExportError: the graph holds weights that are quantized already.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    if graph.precision != "fp32":
        raise ExportError(f"{graph.path.name}: its weights are {graph.precision} already; quantize starts from fp32")
    proto = onnx.load(graph.path)
    # The exporter's own shapes contradict what the quantizer's shape inference finds, which then gives up.
    del proto.graph.value_info[:]
    path.parent.mkdir(parents=True, exist_ok=True)
    logging.getLogger().addFilter(_without_advice)
    try:
        quantize_dynamic(
            proto,
            path,
            # Signed: unsigned weights ran 1.5 to 1.7 times slower. Only these operators: Attention would become an
            # invalid QAttention.
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul", "Gemm", "Gather"],
            per_channel=True,
            reduce_range=reduce_range,
            nodes_to_exclude=list(keep),
            nodes_to_quantize=None if only is None else list(only),
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )
    finally:
        logging.getLogger().removeFilter(_without_advice)
    return OnnxGraph(path, "int8")


def _without_advice(record: logging.LogRecord) -> bool:
    """Drop onnxruntime's advice to preprocess the model: its shape inference is what the exporter's graph breaks."""
    return "pre-processing" not in record.getMessage()
