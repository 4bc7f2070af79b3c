"""onnxruntime: runs an ONNX graph on a CPU or, with its CUDA provider, on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from compress.bundle import Form
from compress.errors import ExportError

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, Shaped

    from compress.bundle import Bundle, OnnxGraph

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class Onnxruntime:
    """Stock onnxruntime with its own best settings, no custom library."""

    form: ClassVar[Form] = Form.ONNX

    def obstacle(self, device: str) -> str | None:
        try:
            import onnxruntime
        except ImportError:
            return "onnxruntime is not installed; `pip install -c constraints.txt -e '.[cpu]'` (or `[gpu]`) brings it"
        if PROVIDERS[device] not in onnxruntime.get_available_providers():
            return f"this onnxruntime has no {PROVIDERS[device]}"
        # Having a provider says what the wheel was built with, not that it starts here.
        return _cuda_obstacle() if device == "cuda" else None

    def open(self, bundle: Bundle, *, device: str, threads: int) -> OnnxSession:
        return open_session(bundle.graph, device=device, threads=threads, outputs=bundle.task.decided_on)


class OnnxSession:
    """An open onnxruntime session. On a GPU, `bind` keeps inputs and outputs there."""

    def __init__(self, graph: OnnxGraph, session: Any, device: str, outputs: Sequence[str]) -> None:
        self._graph = graph
        self._session = session
        self._device = device
        self._names = [node.name for node in session.get_inputs()]
        named = [node.name for node in session.get_outputs()]
        # A file of another exporter may call its outputs as it likes; the first then holds what is decided on.
        self._outputs = list(outputs) if outputs and set(outputs) <= set(named) else named[:1]

    @property
    def weight_bytes(self) -> int:
        return sum(file.stat().st_size for file in self._graph.files)

    def outputs(
        self, inputs: Mapping[str, Shaped[np.ndarray, "row ..."]], options: Any = None
    ) -> Float[np.ndarray, "row ..."]:
        """What is decided on; `options` are onnxruntime's own of a run."""
        import numpy as np

        parts = list(self.named_outputs(inputs, options).values())
        return np.asarray(parts[0] if len(parts) == 1 else np.stack(parts, axis=-1), dtype=np.float32)

    def named_outputs(
        self, inputs: Mapping[str, Shaped[np.ndarray, "row ..."]], options: Any = None
    ) -> dict[str, Shaped[np.ndarray, "row ..."]]:
        """What is decided on, each output by its name and as the graph gives it."""
        fed = {name: inputs[name] for name in self._names}
        return dict(zip(self._outputs, self._session.run(self._outputs, fed, options), strict=True))

    def bind(self, inputs: Mapping[str, Shaped[np.ndarray, "row ..."]]) -> Callable[[], object]:
        if self._device == "cpu":
            fed = {name: inputs[name] for name in self._names}
            return lambda: self._session.run(self._outputs, fed)
        from onnxruntime import OrtValue

        binding = self._session.io_binding()
        for name in self._names:
            binding.bind_ortvalue_input(name, OrtValue.ortvalue_from_numpy(inputs[name], self._device, 0))
        for name in self._outputs:
            binding.bind_output(name, self._device)
        return lambda: self._session.run_with_iobinding(binding)

    def placed(self, inputs: Mapping[str, Shaped[np.ndarray, "row ..."]], options: Any) -> Any:
        """Inputs, and room for the outputs, bound to addresses on the device that stay theirs.

        Args:
            options: of the run that tells how large the outputs are.
        """
        from onnxruntime import OrtValue

        fed = {name: inputs[name] for name in self._names}
        room = self._session.run(self._outputs, fed, options)
        binding = self._session.io_binding()
        for name, array in fed.items():
            binding.bind_ortvalue_input(name, OrtValue.ortvalue_from_numpy(array, self._device, 0))
        for name, array in zip(self._outputs, room, strict=True):
            binding.bind_ortvalue_output(name, OrtValue.ortvalue_from_numpy(array, self._device, 0))
        return binding

    def run_placed(self, binding: Any, options: Any) -> None:
        """Run on what `placed` gave."""
        self._session.run_with_iobinding(binding, options)

    def close(self) -> None:
        self._session = None


def open_session(
    graph: OnnxGraph,
    *,
    device: str,
    threads: int | None,
    outputs: Sequence[str] = (),
    settings: Mapping[str, str] | None = None,
) -> OnnxSession:
    """Open a graph on a device, and nowhere else.

    Args:
        threads: None leaves their number to onnxruntime.
        outputs: what is decided on, several stacked on a new last axis; the graph's first output where left out.
        settings: the provider's own.

    Raises:
        ExportError: onnxruntime refuses the file, or can't start the device; the message holds its reason.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; warnings here are about nodes that it leaves on the CPU by design
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        session = _start(graph.path, device, options, settings)
    except ExportError as fault:
        advice = "; `compress doctor` says whether onnxruntime can use this GPU" if device == "cuda" else ""
        raise ExportError(f"{graph.path}: onnxruntime can't load it: {fault}{advice}") from fault
    return OnnxSession(graph, session, device, outputs)


def sums_are_whole() -> bool:
    """Whether this CPU's kernels add products of the largest unsigned and signed 8-bit integers without clipping."""
    import numpy as np
    import onnx
    import onnxruntime

    depth = 64
    graph = onnx.parser.parse_model(f"""
        <ir_version: 10, opset_import: ["" : 20]>
        largest (uint8[1, {depth}] a, int8[{depth}, 32] b) => (int32[1, 32] y) {{ y = MatMulInteger (a, b) }}""")
    session = _start(graph.SerializeToString(), "cpu", onnxruntime.SessionOptions())
    fed = {"a": np.full((1, depth), 255, np.uint8), "b": np.full((depth, 32), 127, np.int8)}
    [found] = session.run(None, fed)
    return bool((found == depth * 255 * 127).all())


@cache
def _cuda_obstacle() -> str | None:
    """Why no session starts on CUDA: one of a single node is tried, once a process."""
    import onnxruntime
    import torch  # noqa: F401  its wheel brings CUDA and cuDNN; once loaded, onnxruntime finds them
    from onnx import TensorProto, helper

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("before", "after")]
    graph = helper.make_graph([helper.make_node("Relu", ["before"], ["after"])], "one", ends[:1], ends[1:])
    # A version of format and operators that every supported onnxruntime reads, whatever the onnx package is.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    try:
        _start(model.SerializeToString(), "cuda", onnxruntime.SessionOptions())
    except ExportError as fault:
        return str(fault)
    return None


def _start(model: Path | bytes, device: str, options: Any, settings: Mapping[str, str] | None = None) -> Any:
    """onnxruntime's session. Left to itself it falls back to the CPU, with a word on standard output at most, and the
    figures then carry a false label."""
    import onnxruntime

    provider = PROVIDERS[device]
    try:
        # The fallback that this turns off also sets in during a run.
        chosen = [(provider, dict(settings)) if settings else provider]
        session = onnxruntime.InferenceSession(model, options, providers=chosen, enable_fallback=0)
    except Exception as fault:  # onnxruntime's exceptions have no public common base
        raise ExportError((str(fault).strip() or type(fault).__name__).splitlines()[0]) from fault
    started = session.get_providers()[0]
    if started != provider:
        raise ExportError(f"it fell back to {started}, wanted {provider}; are CUDA and cuDNN as it was built for?")
    return session
