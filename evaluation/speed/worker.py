"""A target in a process of its own: `Worker` here, and what it asks for there.

The processes are started afresh, not forked: torch's threads do not survive a fork, and what a process holds in memory
is then its own. One that runs an ONNX graph never loads torch.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.anatomy import Anatomy
from compress.bundle import Bundle, Form, OnnxGraph
from compress.errors import ModelError
from compress.runtime import Session, runtime_of
from compress.runtimes.timing import Limits
from compress.task import Task
from evaluation.speed import peak
from evaluation.speed.energy import meter_of
from evaluation.speed.seat import Seat, Texts

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float

    from compress.inputs import Inputs

OPENINGS = 3
OPENING_SECONDS = 5.0
"""After so long no further opening is timed."""
HELD_CALLS = 3
"""Calls at a shape after which memory does not grow any more."""
METERED_SECONDS = 1.0
"""How long a target runs while energy is counted: the counters are read a thousand times a second at most."""

ANSWER_SECONDS = 900.0
"""Longer than any runtime takes to compile a model; a process that says nothing till then hangs."""

_TIME_TO_LEAVE_S = 10.0


@dataclass(frozen=True)
class Parcel:
    """All that another process needs to open a target: plain values, and where the weights lie on disk."""

    runtime: str
    device: str
    threads: int
    form: Form
    weights: Path
    """An ONNX file, or a folder with `model.safetensors`."""
    config: Mapping[str, Any]
    anatomy: Anatomy
    task: Task
    labels: tuple[str, ...]
    processor: Any = None
    """Left out where no text is read there."""

    def open(self) -> Session:
        """Read the weights and open the model."""
        model = OnnxGraph(self.weights) if self.form is Form.ONNX else self._rebuilt()
        bundle = Bundle(model, dict(self.config), self.anatomy, self.processor, self.task, self.labels)
        return runtime_of(self.runtime).open(bundle, device=self.device, threads=self.threads)

    def _rebuilt(self) -> Any:
        import torch
        from transformers import AutoConfig
        from transformers.initialization import no_init_weights

        from compress.family import family_of
        from compress.surgery import shape_like
        from compress.weights import read_weights

        torch.set_num_threads(self.threads)
        with no_init_weights():  # they are about to be read: drawing them first is none of a model's load time
            stock = self.task.build(AutoConfig.for_model(**self.config))
        model = shape_like(stock, family_of(self.config["model_type"]), self.anatomy)
        read_weights(model, self.weights)
        return model.eval()


class Worker:
    """A process that holds one target. It ends with this one, however this one ends.

    Its methods that the other process answers raise `ModelError` where it can't, or where it is gone.
    """

    def __init__(self, name: str, parcel: Parcel, limits: Limits) -> None:
        context = multiprocessing.get_context("spawn")
        self._name = name
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, parcel, limits), daemon=True)
        try:
            self._process.start()
        except Exception as fault:  # what can't be pickled raises what it likes
            raise ModelError(f"{name}: can't be handed to a process of its own: {fault}") from fault
        theirs.close()  # so that the other process's death is the end of the pipe

    def open(self, inputs: Inputs) -> list[float]:
        """Open the target several times; milliseconds of each, from its files to its answer to `inputs`."""
        return self._ask("open", inputs)

    def held(self, inputs: Inputs) -> Held:
        """The most memory that the process holds while the open target runs on `inputs`."""
        return self._ask("held", inputs)

    def take(self, inputs: Inputs) -> None:
        self._ask("take", inputs)

    def read(self, texts: Texts) -> None:
        self._ask("read", texts)

    def read_in_blocks_of(self, count: int) -> None:
        self._ask("read_in_blocks_of", count)

    def warm_up(self) -> float:
        return self._ask("warm_up")

    def block(self) -> Float[np.ndarray, "call ..."]:
        return self._ask("block")

    def close(self) -> None:
        self._pipe.close()  # the other process reads its end, and leaves
        self._process.join(_TIME_TO_LEAVE_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _ask(self, what: str, *arguments: Any) -> Any:
        try:
            self._pipe.send((what, arguments))
            if not self._pipe.poll(ANSWER_SECONDS):
                self._process.kill()
                raise ModelError(f"{self._name}: no answer within {ANSWER_SECONDS:.0f} s when asked to {what}")
            fault, answer = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join(_TIME_TO_LEAVE_S)
            raise ModelError(
                f"{self._name}: its process ended with code {self._process.exitcode} while asked to {what}; "
                "was it killed for its memory?"
            ) from None
        if fault:
            raise ModelError(f"{self._name}: in a process of its own: {fault}")
        return answer


@dataclass(frozen=True)
class Held:
    """The most memory held while a shape was run, in bytes; None where it can't be told."""

    host: int
    gpu: int | None
    reset: bool
    """Whether `host` is of that shape alone; else it is of all that the process had done till then."""
    joules: float | None = None
    """Energy of one call."""
    calls: int = 0
    """Calls that the energy was counted over."""
    metered: str = ""
    """What the energy is of, in words."""


def serve(pipe: Connection, parcel: Parcel, limits: Limits) -> None:
    """What the other process does: answer until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the asking process ends this one
    target = _Target(parcel, limits)
    while True:
        try:
            what, arguments = pipe.recv()
        except EOFError:
            return
        try:
            answer = ("", getattr(target, what)(*arguments))
        except Exception as fault:  # whatever a runtime may raise; who asked is told, and decides
            answer = (f"{type(fault).__name__}: {(str(fault).strip() or 'no message').splitlines()[0]}", None)
        pipe.send(answer)


class _Target:
    """The target in its process. Each public method is one that a `Worker` asks for."""

    def __init__(self, parcel: Parcel, limits: Limits) -> None:
        self._parcel = parcel
        self._limits = limits
        self._session: Session | None = None
        self._taken: Seat | None = None
        self._gpu = peak.GpuMemory() if parcel.device == "cuda" else None

    def open(self, inputs: Inputs) -> list[float]:
        """The first opening imports what it needs, and is not counted unless it is the only one."""
        times: list[float] = []
        started = time.perf_counter()
        while len(times) <= OPENINGS and not (times and time.perf_counter() - started > OPENING_SECONDS):
            if self._session is not None:
                self._session.close()
            start = time.perf_counter()
            self._session = self._parcel.open()
            self._session.outputs(inputs)
            times.append(1000 * (time.perf_counter() - start))
        return times[1:] or times

    def held(self, inputs: Inputs) -> Held:
        session = self._opened()
        reset = peak.forget()
        call = session.bind(inputs)
        for _ in range(HELD_CALLS):
            call()
        gpu = self._gpu.bytes() if self._gpu else None
        return Held(peak.host_bytes(), gpu, reset, *self._metered(call))

    def take(self, inputs: Inputs) -> None:
        self._seat().take(inputs)

    def read(self, texts: Texts) -> None:
        self._seat().read(texts)

    def read_in_blocks_of(self, count: int) -> None:
        self._seat().read_in_blocks_of(count)

    def warm_up(self) -> float:
        return self._seat().warm_up()

    def block(self) -> Float[np.ndarray, "call ..."]:
        return self._seat().block()

    def _metered(self, call: Callable[[], object]) -> tuple[float | None, int, str]:
        meter = meter_of(self._parcel.device)
        if isinstance(meter, str):
            return None, 0, meter
        if self._gpu:
            self._gpu.wait()  # what was queued before is not of these calls
        calls, start, before = 0, time.perf_counter(), meter.joules()
        while time.perf_counter() - start < METERED_SECONDS:
            call()
            calls += 1
        if self._gpu:
            self._gpu.wait()  # for calls that are only queued
        return (meter.joules() - before) / calls, calls, meter.of

    def _seat(self) -> Seat:
        if self._taken is None:
            self._taken = Seat(self._opened(), self._parcel.processor, self._parcel.device, self._limits)
        return self._taken

    def _opened(self) -> Session:
        if self._session is None:
            self._session = self._parcel.open()
        return self._session
