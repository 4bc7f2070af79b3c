"""The anatomy of the model that a config describes, found out by a process of its own that loads as little as it can.

transformers' model classes take over three seconds to import, most of it for compilers, solvers and parallel file
formats that an empty model never touches. The helper process stands empty modules in their place, which would spoil any
process that goes on to work with models. It starts loading while its caller still reads the data.
"""

from __future__ import annotations

import importlib.abc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # nothing else is imported up here, so that the helper can start first of all
    from compress.anatomy import Anatomy

LEFT_OUT = (
    *("scipy", "accelerate", "torch._dynamo", "torch._inductor", "torch.export", "torch._export"),
    *("torch.distributed.fsdp", "torch.distributed.checkpoint", "torch.distributed.tensor"),
)
"""What transformers imports beside its models, and building one without weights does not call."""
_PROGRAM = "import gc; gc.disable(); from compress.outline import answer; answer()"
"""Collecting would look through all modules again and again while they load, and find nothing to free."""
_TIMED_S = 0.05


@dataclass(frozen=True)
class Outline:
    """What a plan needs to know of a model and of this machine."""

    anatomy: Anatomy
    flops_per_second: float
    """The speed of a large float32 matrix product here."""


Ask = Callable[[Mapping[str, Any], str, int], Outline]
"""From a config, a task's name and a number of threads."""


@contextmanager
def outlining() -> Iterator[Ask]:
    """What gives an outline. What it needs for that loads while the block runs.

    Raises:
        ModelError: from the function: an unknown family, or transformers can't build the model.
    """
    if "transformers.modeling_utils" in sys.modules:  # all is loaded here already: a helper would only cost time
        yield outline
        return
    helper = _start()

    def ask(config: Mapping[str, Any], task: str, threads: int) -> Outline:
        said = _asked(helper, {"config": dict(config), "task": task, "threads": threads})
        # The config may be at fault, or a version of a library that needs what is left out. The long way tells.
        return outline(config, task, threads) if said is None else said

    try:
        yield ask
    finally:
        helper.kill()
        helper.communicate()


def outline(config: Mapping[str, Any], task: str, threads: int) -> Outline:
    """The outline, found out in this process."""
    from compress.dissection import anatomy_of
    from compress.family import family_of
    from compress.folder import stock_model
    from compress.task import task_of

    family = family_of(config.get("model_type", "missing"))
    model = stock_model(dict(config), task_of(task))
    model.tie_weights()  # transformers does so where it draws weights, which the helper leaves out
    return Outline(anatomy_of(model, family), _flops_per_second(threads))


def answer() -> None:
    """The helper process: load, then answer one question from standard input on standard output."""
    sys.meta_path.insert(0, _Empty())
    import torch  # noqa: F401  these two are what takes long
    import transformers.modeling_utils  # noqa: F401
    from transformers.initialization import no_init_weights

    asked = json.loads(sys.stdin.readline())
    with no_init_weights():
        found = outline(asked["config"], asked["task"], asked["threads"])
    print(json.dumps({"anatomy": found.anatomy.as_json(), "rate": found.flops_per_second}), flush=True)
    os._exit(0)  # there is nothing to clean up, and tearing down torch takes a while


def _start() -> subprocess.Popen[str]:
    searched = os.pathsep.join(path or os.getcwd() for path in sys.path)
    return subprocess.Popen(
        [sys.executable, "-B", "-c", _PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": searched},
    )


def _asked(helper: subprocess.Popen[str], question: dict[str, Any]) -> Outline | None:
    """The helper's answer; None where it failed."""
    from compress.anatomy import Anatomy

    assert helper.stdin is not None, "opened as a pipe"
    assert helper.stdout is not None, "opened as a pipe"
    try:
        helper.stdin.write(json.dumps(question) + "\n")
        helper.stdin.flush()
        said = json.loads(helper.stdout.readlines()[-1])
    except (OSError, ValueError, IndexError):
        return None
    return Outline(Anatomy.from_json(said["anatomy"]), said["rate"])


class _Empty(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds empty modules under the names that are left out."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if any(name == left or name.startswith(f"{left}.") for left in LEFT_OUT):
            return ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Anything(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        return


class _Anything(ModuleType):
    """A module in which every name is a class."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = list[str]()  # a package, so that what is below it is looked for here too

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        made = type(name, (_Nothing,), {"__module__": self.__name__})
        setattr(self, name, made)
        return made


class _Nothing:
    """Can be made of anything, and as a decorator, with settings or without, leaves what it decorates as it is."""

    def __new__(cls, decorated: Any = None, *_given: object, **_more: object) -> Any:
        return decorated if callable(decorated) else super().__new__(cls)

    def __init__(self, *_given: object, **_more: object) -> None:
        pass

    def __call__(self, decorated: Any = None, *_given: object, **_more: object) -> Any:
        return decorated


def _flops_per_second(threads: int) -> float:
    """The speed of a large float32 matrix product here, over some calls."""
    import torch

    torch.set_num_threads(threads)
    side = 768
    left, right = torch.rand(side, side), torch.rand(side, side)
    left @ right  # the first call starts the threads
    started, done = time.perf_counter(), 0
    while time.perf_counter() - started < _TIMED_S:
        left @ right
        done += 1
    return done * 2 * side**3 / (time.perf_counter() - started)
