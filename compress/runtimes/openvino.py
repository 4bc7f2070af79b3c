"""OpenVINO: runs an ONNX graph with Intel's kernels on a CPU, in float32."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from compress.bundle import Form
from compress.errors import ExportError

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, Shaped

    from compress.bundle import Bundle, OnnxGraph


class Openvino:
    """OpenVINO on our ONNX file, tuned for latency; its default on newer CPUs is bfloat16, which is turned off."""

    form: ClassVar[Form] = Form.ONNX

    def obstacle(self, device: str) -> str | None:
        try:
            import openvino  # noqa: F401
        except ImportError:
            return "openvino is not installed; `pip install -c constraints.txt -e '.[openvino]'` brings it"
        return None if device == "cpu" else "openvino is run on a CPU only here"

    def open(self, bundle: Bundle, *, device: str, threads: int) -> OpenvinoSession:
        import openvino

        core = openvino.Core()
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
        }
        try:
            compiled = core.compile_model(core.read_model(bundle.graph.path), "CPU", settings)
        except Exception as fault:  # what OpenVINO raises is a RuntimeError, and what its frontends raise is not
            reason = (str(fault).strip() or type(fault).__name__).splitlines()[-1].strip()
            raise ExportError(f"{bundle.graph.path}: OpenVINO can't load it: {reason}") from fault
        return OpenvinoSession(bundle.graph, compiled, bundle.task.decided_on)


class OpenvinoSession:
    """A compiled model and the one request that runs it."""

    def __init__(self, graph: OnnxGraph, compiled: Any, outputs: Sequence[str]) -> None:
        self._graph = graph
        self._compiled = compiled
        self._request = compiled.create_infer_request()
        self._names = [port.get_any_name() for port in compiled.inputs]
        named = {name for port in compiled.outputs for name in port.get_names()}
        # A file of another exporter may call its outputs as it likes; the first then holds what is decided on.
        self._outputs = list(outputs) if outputs and set(outputs) <= named else [compiled.outputs[0]]

    @property
    def weight_bytes(self) -> int:
        return sum(file.stat().st_size for file in self._graph.files)

    def outputs(self, inputs: Mapping[str, Shaped[np.ndarray, "row ..."]]) -> Float[np.ndarray, "row ..."]:
        import numpy as np

        # A request that once shared an array can't take a copy of another shape: it is given all of them to share.
        found = self._request.infer({name: inputs[name] for name in self._names}, share_inputs=True)
        parts = [np.array(found[name], dtype=np.float32) for name in self._outputs]  # its own memory is used again
        return parts[0] if len(parts) == 1 else np.stack(parts, axis=-1)

    def bind(self, inputs: Mapping[str, Shaped[np.ndarray, "row ..."]]) -> Callable[[], object]:
        fed = {name: inputs[name] for name in self._names}
        return lambda: self._request.infer(fed, share_inputs=True, share_outputs=True)

    def close(self) -> None:
        self._request = self._compiled = None
