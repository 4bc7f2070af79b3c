"""Weights stored in bfloat16, widened to float32 where a file is loaded: half the bytes, computed with as before."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from compress.bundle import OnnxGraph
from compress.errors import ExportError
from compress.graph.build import save_proto

if TYPE_CHECKING:
    from compress.bundle import Bundle

FEWEST = 1024
"""Numbers of a tensor that is stored so: smaller ones are norms, angles and masks, which weigh nothing."""


def bfloat16(graph: OnnxGraph, path: Path) -> OnnxGraph:
    """The graph with its matrices and tables in bfloat16, each read through one Cast, which runtimes do at loading.

    A model that was trained in bfloat16 so keeps each of its bits. Arithmetic stays in float32: onnxruntime's CPU
    kernels know no bfloat16, and those for GPUs only some of it.

    Raises:
        ExportError: the graph's weights are in another precision already.
    """
    import onnx
    from onnx import helper, numpy_helper

    if graph.precision != "fp32":
        raise ExportError(f"{graph.path.name}: its weights are {graph.precision} already; bfloat16 is made of fp32")
    proto = onnx.load(graph.path)
    widened = []
    for tensor in proto.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and _is_stored_so(tensor.dims):
            name = tensor.name
            stored = numpy_helper.to_array(tensor).astype(helper.tensor_dtype_to_np_dtype(onnx.TensorProto.BFLOAT16))
            tensor.CopyFrom(numpy_helper.from_array(stored, f"{name}/bfloat16"))
            widened.append(helper.make_node("Cast", [tensor.name], [name], f"{name}/widen", to=onnx.TensorProto.FLOAT))
    nodes = [*widened, *proto.graph.node]  # what is read stands before who reads it
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    save_proto(proto, path)
    return OnnxGraph(path, "bf16")


def rounded(bundle: Bundle) -> Bundle:
    """The torch model with the weights that `bfloat16` leaves: what its graph has to say exactly."""
    import torch

    model = copy.deepcopy(bundle.module)
    with torch.no_grad():
        for weight in model.parameters():
            if _is_stored_so(weight.shape):
                weight.copy_(weight.to(torch.bfloat16))
    return bundle.with_model(model)


def _is_stored_so(shape: Sequence[int]) -> bool:
    return len(shape) > 1 and math.prod(shape) >= FEWEST
