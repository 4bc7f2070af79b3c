"""The shape of every tensor of an ONNX graph, for given input shapes: onnxruntime's own inference, nothing is run.

onnxruntime knows the shapes of its own operators (com.microsoft) as well as of the standard ones, which no other
inference does. It first folds what the input shapes decide, so that tensors whose shape is computed have one too.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.errors import ExportError
from compress.graph.inspect import read_proto

if TYPE_CHECKING:
    import onnx

Sizes = tuple[int, ...]

_CONSTANT_BYTES = 4096
"""Constants up to this size stay, as they may say what a shape is. Larger ones are only named: that takes no memory."""
_ITEM_BYTES: dict[str, float] = {
    **dict.fromkeys(("int4", "uint4"), 0.5),
    **dict.fromkeys(("bool", "int8", "uint8"), 1),
    **dict.fromkeys(("int16", "uint16", "float16", "bfloat16"), 2),
    **dict.fromkeys(("int32", "uint32", "float"), 4),
    **dict.fromkeys(("int64", "uint64", "double"), 8),
}


@dataclass(frozen=True)
class Tensor:
    """A tensor's shape and the name of its numbers' type."""

    shape: Sizes
    kind: str

    @property
    def bytes(self) -> int:
        return math.ceil(math.prod(self.shape) * _ITEM_BYTES[self.kind])


@dataclass(frozen=True)
class ShapedGraph:
    """A graph's nodes in the order in which they run, and its tensors by name."""

    nodes: tuple[onnx.NodeProto, ...]
    tensors: Mapping[str, Tensor]
    """Inputs, constants, and whatever a node gives."""
    constants: frozenset[str]
    """Weights, and what is computed from nothing else."""
    outputs: frozenset[str]

    def shape(self, name: str) -> Sizes:
        return self.tensors[name].shape


def shaped_graph(path: Path, inputs: Mapping[str, Sizes]) -> ShapedGraph:
    """The graph with all its shapes, where its inputs have the given ones.

    Raises:
        ExportError: no readable graph, an input that `inputs` does not have, or onnxruntime can't tell a shape, as for
            operators that it has on no CPU.
    """
    proto = read_proto(path)
    weights = _name_weights(proto, path.parent)
    _fix(path, proto, inputs, weights)
    try:
        folded = _folded(proto)
        found = {one.name: Tensor(tuple(one.shape), one.type[7:-1]) for one in _all_outputs(folded)}  # tensor(float)
    except Exception as fault:  # onnxruntime's kinds of error share no class below this one
        raise ExportError(f"{path}: onnxruntime can't tell its shapes: {_first_line(fault)}") from fault
    for name, tensor in found.items():
        if tensor.kind not in _ITEM_BYTES or not all(isinstance(length, int) for length in tensor.shape):
            raise ExportError(f"{path}: {name} is {tensor.kind} {list(tensor.shape)}: its size can't be told")
    named = {one.name: Tensor(tuple(one.dims), _kind(one.data_type)) for one in folded.graph.initializer}
    constants = named.keys() | weights.keys()
    for node in folded.graph.node:
        if all(name in constants for name in node.input if name):
            constants |= set(node.output)
    return ShapedGraph(
        tuple(folded.graph.node),
        {**{name: Tensor(shape, "int64") for name, shape in inputs.items()}, **weights, **named, **found},
        frozenset(constants),
        frozenset(one.name for one in proto.graph.output),
    )


def _name_weights(proto: onnx.ModelProto, folder: Path) -> dict[str, Tensor]:
    """Make inputs of all constants but the small ones, in place; returns them."""
    from onnx import TensorProto, helper
    from onnx.external_data_helper import load_external_data_for_tensor

    weights: dict[str, Tensor] = {}
    constants = []
    for one in proto.graph.initializer:
        tensor = Tensor(tuple(one.dims), _kind(one.data_type))
        if tensor.kind in _ITEM_BYTES and tensor.bytes > _CONSTANT_BYTES:
            weights[one.name] = tensor
            continue
        if one.data_location == TensorProto.EXTERNAL:
            load_external_data_for_tensor(one, str(folder))
            one.data_location = TensorProto.DEFAULT
            del one.external_data[:]
        constants.append(one)
    listed = {info.name for info in proto.graph.input}  # as files of old do
    types = {one.name: one.data_type for one in proto.graph.initializer}
    proto.graph.input.extend(
        helper.make_tensor_value_info(name, types[name], tensor.shape)
        for name, tensor in weights.items()
        if name not in listed
    )
    kept = [type(one).FromString(one.SerializeToString()) for one in constants]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)
    return weights


def _fix(path: Path, proto: onnx.ModelProto, inputs: Mapping[str, Sizes], weights: Mapping[str, Tensor]) -> None:
    """Give the graph's inputs their shapes, and forget all other shapes that it states."""
    constants = {one.name for one in proto.graph.initializer}
    for info in proto.graph.input:
        if info.name in weights or info.name in constants:
            continue
        if info.name not in inputs:
            raise ExportError(f"{path}: its input {info.name!r} is none of {', '.join(inputs)}, which are known")
        shape = info.type.tensor_type.shape
        del shape.dim[:]
        for length in inputs[info.name]:
            shape.dim.add().dim_value = length
    del proto.graph.value_info[:]
    for info in proto.graph.output:
        info.ClearField("type")


def _folded(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The graph as onnxruntime leaves it once it has computed what is constant."""
    import onnx
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "folded.onnx"
        _session(proto, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC, file)
        return onnx.load(file)


def _all_outputs(proto: onnx.ModelProto) -> list[Any]:
    """What onnxruntime says of the output of every node: each is made an output of the graph."""
    import onnx
    import onnxruntime

    given = {info.name for info in proto.graph.output}
    names = [name for node in proto.graph.node for name in node.output if name and name not in given]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    outputs: list[Any] = _session(proto, onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL).get_outputs()
    return outputs


def _session(proto: onnx.ModelProto, level: Any, file: Path | None = None) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = 4  # what it says of a graph of whose shapes we forgot some is of no use
    options.intra_op_num_threads = 1
    if file is not None:
        options.optimized_model_filepath = str(file)
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _kind(data_type: int) -> str:
    from onnx import TensorProto

    return str(TensorProto.DataType.Name(data_type)).lower()


def _first_line(fault: Exception) -> str:
    return (str(fault).strip() or type(fault).__name__).splitlines()[0]
