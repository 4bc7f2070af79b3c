"""Run a graph as it is written and look at what flows inside it."""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from compress.graph.build import save_proto

if TYPE_CHECKING:
    import numpy as np

    from compress.bundle import OnnxGraph
    from compress.inputs import Inputs


class Tapped:
    """A graph that also tells what its nodes give, on a CPU.

    Args:
        tensors: names of what is told; all that any node gives where it is left out.
    """

    def __init__(self, graph: OnnxGraph, tensors: Collection[str] | None = None) -> None:
        import onnx
        import onnxruntime

        proto = onnx.load(graph.path)
        named = {output.name for output in proto.graph.output}
        given = [name for node in proto.graph.node for name in node.output if name and name not in named]
        wanted = given if tensors is None else [name for name in given if name in set(tensors)]
        proto.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in wanted)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # As it is written: what optimizing fuses is not there to be looked at.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        with tempfile.TemporaryDirectory() as folder:
            file = save_proto(proto, Path(folder, "tapped.onnx"))
            self._session = onnxruntime.InferenceSession(
                file, options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
        of_graph = [name for name in named if tensors is None or name in set(tensors)]
        self._names = [*of_graph, *wanted]

    def run(self, inputs: Inputs) -> dict[str, np.ndarray]:
        """What was asked for, by name."""
        fed = {node.name: inputs[node.name] for node in self._session.get_inputs()}
        return dict(zip(self._names, self._session.run(self._names, fed), strict=True))
