"""One sitting: each file in a process of its own, which answer the same inputs and are timed in turns."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from bench.onnx.making import PEERS, Material, write_inputs
from compress.batching import Batch, batches, in_order
from compress.deploy import Shape
from compress.inputs import timing_inputs
from compress.runtimes.timing import take_turns

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = (0.5, 20)
"""Seconds of a block, and its calls at most."""
BATCH = 32
TWIN = " (again)"


@dataclass(frozen=True, eq=False)
class Sat:
    """What the sitting gave.

    Attributes:
        scores: by target, (examples, labels); `torch` among them.
        times: by shape and target, milliseconds of each call, one array a round.
    """

    scores: Mapping[str, np.ndarray]
    times: Mapping[Shape, Mapping[str, Sequence[np.ndarray]]]


class Seat:
    """A process that has one file open."""

    def __init__(self, process: subprocess.Popen[str], warm: Path | None = None) -> None:
        self._process = process
        self._warm = warm

    def at(self, inputs: Path) -> Self:
        """The same process, to be timed on these inputs."""
        return type(self)(self._process, inputs)

    def answers(self, inputs: Path) -> list[np.ndarray]:
        return [np.array(one, dtype=np.float64) for one in self._ask({"answer": str(inputs)})]

    def warm_up(self) -> float:
        return float(self._ask({"warm": str(self._warm)}))

    def block(self) -> np.ndarray:
        return np.array(self._ask({"block": BLOCK}))

    def _ask(self, what: dict[str, Any]) -> Any:
        assert self._process.stdin is not None, "opened with a pipe"
        assert self._process.stdout is not None, "likewise"
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        if not (line := self._process.stdout.readline()):
            raise RuntimeError(f"a seat ended with exit code {self._process.wait()}: {self._process.args}")
        return json.loads(line)


@contextmanager
def seated(python: Path, runtime: str, file: Path, threads: int) -> Iterator[Seat]:
    """A process with the file open, ended with the block."""
    command = [str(python), str(PEERS / "seat.py"), runtime, str(file), str(threads)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Seat(process)
        finally:
            process.kill()


def sit(
    material: Material,
    opened: Mapping[str, tuple[Path, str, Path]],
    shapes: Sequence[Shape],
    work: Path,
    *,
    threads: int,
    rounds: int,
    twins: Sequence[str],
) -> Sat:
    """Answers of every file to all test rows, and its times at every shape.

    Args:
        opened: by target, whose Python opens it, in which runtime, and the file.
        twins: targets that are opened and timed once more.
    """
    rows = _encoded(material)
    answered = write_inputs([batch.inputs for batch in rows], work / "test.npz")
    index = [batch.index for batch in rows]
    names = [*opened, *(name + TWIN for name in twins)]
    times: dict[Shape, dict[str, list[np.ndarray]]] = {}
    with ExitStack() as stack:
        seats = {name: stack.enter_context(seated(*opened[name.removesuffix(TWIN)], threads)) for name in names}
        scores = {name: in_order(seats[name].answers(answered), index) for name in opened}
        scores["torch"] = in_order(_of_torch(material, rows), index)
        for shape in shapes:
            inputs = write_inputs([timing_inputs(material.bundle, material.test, shape)], work / f"{shape}.npz")
            players = {name: seat.at(inputs) for name, seat in seats.items()}
            times[shape] = take_turns(players, seed=13, rounds=rounds)
    return Sat(scores, times)


def _encoded(material: Material) -> list[Batch]:
    bundle = material.bundle
    encoded = bundle.task.encode(material.test, bundle.processor, max_tokens=bundle.max_tokens, seed=0)
    return list(batches(encoded, BATCH))


def _of_torch(material: Material, rows: Sequence[Batch]) -> list[np.ndarray]:
    import torch

    bundle, found = material.bundle, []
    with torch.inference_mode():
        for batch in rows:
            fed = {name: torch.from_numpy(value) for name, value in batch.inputs.items()}
            found.append(bundle.task.scores(bundle.module(**fed), fed).numpy().astype(np.float64))
    return found
