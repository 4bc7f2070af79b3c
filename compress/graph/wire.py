"""Write a graph to a file one weight after the other.

The format's own library holds all weights as a message, and that again as bytes, twice: three times the file. But a
message is its fields one after the other, each with its length before it (Protocol Buffers, "Encoding"), so that a
weight can be written by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx
    import onnx_ir

_GRAPH, _INITIALIZER = 7, 5
"""The numbers of these fields, in ModelProto and in GraphProto."""
_OF_LENGTH = 2
"""The kind of a field whose length stands before it."""


def write_file(model: onnx_ir.Model, path: Path) -> None:
    """The model as ONNX, weights and all: at most 2 GB, as all messages. What the library says of weights a second
    time, their types and shapes beside themselves, is left out."""
    import onnx_ir

    weights = dict(model.graph.initializers)
    model.graph.initializers.clear()
    try:
        proto = onnx_ir.to_proto(model)
    finally:
        model.graph.initializers.update(weights)
    graph = proto.graph.SerializeToString(deterministic=True)
    proto.ClearField("graph")
    sizes = [tensor.ByteSize() for tensor in _tensors(weights)]
    whole = len(graph) + sum(len(_head(_INITIALIZER, size)) + size for size in sizes)
    with path.open("wb") as file:
        file.write(proto.SerializeToString(deterministic=True))
        file.write(_head(_GRAPH, whole))
        file.write(graph)
        for tensor, size in zip(_tensors(weights), sizes, strict=True):
            file.write(_head(_INITIALIZER, size))
            file.write(tensor.SerializeToString(deterministic=True))


def _tensors(weights: dict[str, onnx_ir.Value]) -> Iterator[onnx.TensorProto]:
    """Each as a message, made when it is asked for."""
    import onnx_ir

    for name, value in weights.items():
        assert value.const_value is not None, "an initializer has a value"
        tensor = onnx_ir.to_proto(value.const_value)
        tensor.name = name
        yield tensor


def _head(field: int, size: int) -> bytes:
    """What stands before a field of so many bytes."""
    return _varint(field << 3 | _OF_LENGTH) + _varint(size)


def _varint(number: int) -> bytes:
    """Seven bits in each byte, the lowest first; the eighth says that more follow."""
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])
