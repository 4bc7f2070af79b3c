"""onnxruntime on a GPU with CUDA graphs: a call replays what was recorded once, and launches no kernels one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar

from compress.bundle import Form
from compress.runtimes.onnxruntime import Onnxruntime, OnnxSession, open_session

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, Shaped

    from compress.bundle import Bundle

NO_GRAPH = -1
"""What onnxruntime takes for a run that neither records nor replays."""


class OnnxruntimeCudaGraph:
    """onnxruntime on CUDA with IO binding and a CUDA graph for every shape that is bound."""

    form: ClassVar[Form] = Form.ONNX

    def obstacle(self, device: str) -> str | None:
        return "CUDA graphs need a GPU" if device != "cuda" else Onnxruntime().obstacle(device)

    def open(self, bundle: Bundle, *, device: str, threads: int) -> CudaGraphSession:
        settings = {"enable_cuda_graph": "1"}
        outputs = bundle.task.decided_on
        return CudaGraphSession(
            open_session(bundle.graph, device=device, threads=threads, outputs=outputs, settings=settings)
        )


class CudaGraphSession:
    """An open session. Inputs of many shapes run without a graph; those that are bound have one of their own."""

    def __init__(self, session: OnnxSession) -> None:
        self._session = session
        self._numbers = count(1)

    @property
    def weight_bytes(self) -> int:
        return self._session.weight_bytes

    def outputs(self, inputs: Mapping[str, Shaped[np.ndarray, "row ..."]]) -> Float[np.ndarray, "row ..."]:
        return self._session.outputs(inputs, _of_graph(NO_GRAPH))

    def bind(self, inputs: Mapping[str, Shaped[np.ndarray, "row ..."]]) -> Callable[[], object]:
        """The call's first runs record the graph, so it is fit to be timed once it was warmed up."""
        placed = self._session.placed(inputs, _of_graph(NO_GRAPH))
        options = _of_graph(next(self._numbers))
        return lambda: self._session.run_placed(placed, options)

    def close(self) -> None:
        self._session.close()


def _of_graph(number: int) -> Any:
    """A run's options: the graph that it records or replays."""
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(number))
    return options
