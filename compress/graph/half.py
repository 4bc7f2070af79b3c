"""Half precision: weights stored in float16, and computed with in it wherever numbers stay within its range."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compress.bundle import OnnxGraph
from compress.errors import ExportError
from compress.graph.build import save_proto
from compress.graph.inspect import read_proto
from compress.graph.taps import Tapped

if TYPE_CHECKING:
    import onnx

    from compress.inputs import Inputs

ROOM = 4.0
"""How many times larger than what was seen a number may be and still has to fit."""
_LARGEST = float(np.finfo(np.float16).max)


def float16(graph: OnnxGraph, path: Path, samples: Iterable[Inputs]) -> tuple[OnnxGraph, tuple[str, ...]]:
    """The graph in float16, inputs and outputs as they were, and the names of the nodes that stay in float32: those
    that gave, or were given, a number beyond a quarter of float16's largest on the samples.

    Args:
        samples: inputs such as the graph will be given.

    Raises:
        ExportError: the graph's weights are in another precision already.
    """
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    if graph.precision != "fp32":
        raise ExportError(f"{graph.path.name}: its weights are {graph.precision} already; float16 is made of fp32")
    kept = too_large(graph, samples)
    proto = convert_float_to_float16(
        onnx.load(graph.path),
        keep_io_types=True,
        # The exporter's shapes are all there; the converter's own inference contradicts them.
        disable_shape_infer=True,
        node_block_list=list(kept),
    )
    _join(proto)
    save_proto(proto, path)
    return OnnxGraph(path, "fp16"), kept


def too_large(graph: OnnxGraph, samples: Iterable[Inputs]) -> tuple[str, ...]:
    """Names of the nodes that give, or are given, numbers that float16 has no room for; infinities are masks."""
    tapped, largest = Tapped(graph), dict[str, float]()
    for inputs in samples:
        for name, value in tapped.run(inputs).items():
            if value.dtype == np.float32 and value.size:
                seen = np.abs(value[np.isfinite(value)]).max(initial=0.0)
                largest[name] = max(largest.get(name, 0.0), float(seen))
    beyond = {name for name, value in largest.items() if value * ROOM > _LARGEST and not _is_mask(value)}
    return tuple(node.name for node in read_proto(graph.path).graph.node if beyond & {*node.input, *node.output})


def _join(proto: onnx.ModelProto) -> None:
    """Let float32 nodes hand numbers to each other as they are: the converter casts what each of them gives to float16
    and back, and there is no room for it in between."""
    import onnx

    graph = proto.graph
    casts = {
        node.output[0]: (node.input[0], next(each.i for each in node.attribute if each.name == "to"))
        for node in graph.node
        if node.op_type == "Cast"
    }
    there_and_back = {}
    for name, (source, kind) in casts.items():
        before = casts.get(source)
        if kind == onnx.TensorProto.FLOAT and before is not None and before[1] == onnx.TensorProto.FLOAT16:
            there_and_back[name] = before[0]
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = there_and_back.get(name, name)
    for kind in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16):  # first what came back, then what went there for it
        read = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
        for name, (_, to) in casts.items():
            if to == kind and name not in read:
                graph.node.remove(next(node for node in graph.node if name in node.output))


def _is_mask(value: float) -> bool:
    """The least float32 is what is added to scores of padding: it may become the least float16."""
    return value >= float(np.finfo(np.float32).max) / 2
