"""onnxruntime with CUDA graphs, by a stand-in for its session: what is asked of it, in what order."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest

from compress.bundle import OnnxGraph
from compress.runtime import runtime_of
from compress.runtimes.onnxruntime import OnnxSession
from compress.runtimes.onnxruntime_cuda_graph import CudaGraphSession

INPUTS = {"ids": np.arange(6, dtype=np.int64).reshape(2, 3), "unknown": np.zeros(1)}


class Node:
    def __init__(self, name: str) -> None:
        self.name = name


class StandIn:
    """Doubles its input, and remembers the number of the graph of every run."""

    def __init__(self) -> None:
        self.runs: list[tuple[str, str]] = []
        self.bindings: list[StandIn.Binding] = []

    class Binding:
        def __init__(self) -> None:
            self.inputs: dict[str, Any] = {}
            self.outputs: dict[str, Any] = {}

        def bind_ortvalue_input(self, name: str, value: Any) -> None:
            self.inputs[name] = value

        def bind_ortvalue_output(self, name: str, value: Any) -> None:
            self.outputs[name] = value

    def get_inputs(self) -> list[Node]:
        return [Node("ids")]

    def get_outputs(self) -> list[Node]:
        return [Node("logits")]

    def run(self, names: list[str], fed: dict[str, Any], options: Any) -> list[np.ndarray]:
        assert (names, list(fed)) == (["logits"], ["ids"])
        self.runs.append(("run", options.get_run_config_entry("gpu_graph_id")))
        return [fed["ids"].astype(np.float32) * 2]

    def io_binding(self) -> Binding:
        self.bindings.append(self.Binding())
        return self.bindings[-1]

    def run_with_iobinding(self, binding: Binding, options: Any) -> None:
        self.runs.append(("bound", options.get_run_config_entry("gpu_graph_id")))


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    class Value:
        @staticmethod
        def ortvalue_from_numpy(array: np.ndarray, *place: Any) -> tuple[np.ndarray, Any]:
            assert place == ("cuda", 0)
            return array, place

    monkeypatch.setattr(onnxruntime, "OrtValue", Value)
    return StandIn()


@pytest.fixture
def session(stand_in: StandIn, tmp_path: Any) -> CudaGraphSession:
    graph = OnnxGraph(tmp_path / "model.onnx")
    return CudaGraphSession(OnnxSession(graph, stand_in, "cuda", ["logits"]))


def test_inputs_of_any_shape_run_without_a_graph(session: CudaGraphSession, stand_in: StandIn):
    assert np.array_equal(session.outputs(INPUTS), INPUTS["ids"] * 2)
    assert stand_in.runs == [("run", "-1")]


def test_every_binding_has_a_graph_of_its_own_and_room_for_its_outputs(session: CudaGraphSession, stand_in: StandIn):
    first, second = session.bind(INPUTS), session.bind({"ids": np.ones((1, 5), dtype=np.int64)})
    assert stand_in.runs == [("run", "-1")] * 2  # to learn how large the outputs are
    stand_in.runs.clear()
    for call in (first, second, first, first):
        call()
    assert stand_in.runs == [("bound", "1"), ("bound", "2"), ("bound", "1"), ("bound", "1")]
    shapes = [
        {name: value[0].shape for name, value in bound.items()}
        for binding in stand_in.bindings
        for bound in (binding.inputs, binding.outputs)
    ]
    assert shapes == [{"ids": (2, 3)}, {"logits": (2, 3)}, {"ids": (1, 5)}, {"logits": (1, 5)}]


def test_there_is_none_on_a_cpu():
    assert runtime_of("onnxruntime-cuda-graph").obstacle("cpu") == "CUDA graphs need a GPU"
