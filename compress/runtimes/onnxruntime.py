"""onnxruntime: runs an ONNX graph on a CPU or, with its CUDA provider, on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from compress.errors import ExportError
from compress.stage import Form

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, Int

    from compress.bundle import Bundle, OnnxGraph

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class Onnxruntime:
    """Stock onnxruntime with its own best settings, no custom library."""

    form: ClassVar[Form] = Form.ONNX

    def obstacle(self, device: str) -> str | None:
        try:
            import onnxruntime
        except ImportError:
            return "onnxruntime is not installed; `pip install 'compress-transformers[cpu]'` (or `[gpu]`) brings it"
        if PROVIDERS[device] not in onnxruntime.get_available_providers():
            return f"this onnxruntime has no {PROVIDERS[device]}"
        return None

    def open(self, bundle: Bundle, *, device: str, threads: int) -> OnnxSession:
        return open_session(bundle.graph, device=device, threads=threads)


class OnnxSession:
    """An open onnxruntime session. On a GPU, `bind` keeps inputs and outputs there."""

    def __init__(self, graph: OnnxGraph, session: Any, device: str) -> None:
        self._graph = graph
        self._session = session
        self._device = device
        self._names = [node.name for node in session.get_inputs()]
        self._output = session.get_outputs()[0].name

    @property
    def weight_bytes(self) -> int:
        return sum(file.stat().st_size for file in self._graph.files)

    def outputs(self, inputs: Mapping[str, Int[np.ndarray, "batch tokens"]]) -> Float[np.ndarray, "batch ..."]:
        import numpy as np

        [scores] = self._session.run([self._output], {name: inputs[name] for name in self._names})
        return np.asarray(scores, dtype=np.float32)

    def bind(self, inputs: Mapping[str, Int[np.ndarray, "batch tokens"]]) -> Callable[[], object]:
        if self._device == "cpu":
            fed = {name: inputs[name] for name in self._names}
            return lambda: self._session.run([self._output], fed)
        from onnxruntime import OrtValue

        binding = self._session.io_binding()
        for name in self._names:
            binding.bind_ortvalue_input(name, OrtValue.ortvalue_from_numpy(inputs[name], self._device, 0))
        binding.bind_output(self._output, self._device)
        return lambda: self._session.run_with_iobinding(binding)

    def close(self) -> None:
        self._session = None


def open_session(graph: OnnxGraph, *, device: str, threads: int | None) -> OnnxSession:
    """Open a graph; `threads` None leaves their number to onnxruntime.

    Raises:
        ExportError: onnxruntime refuses the file; the message holds its reason.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; warnings here are about nodes that it leaves on the CPU by design
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(graph.path, options, providers=[PROVIDERS[device]])
    except Exception as fault:  # onnxruntime's exceptions have no public common base
        raise ExportError(f"{graph.path}: onnxruntime can't load it: {str(fault).splitlines()[0]}") from fault
    return OnnxSession(graph, session, device)
