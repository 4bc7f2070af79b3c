"""A small run in a process of its own that ends itself with SIGKILL at a chosen moment."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import pytest
from small_run import ROOT, Small, run_small

MOMENTS: dict[str, tuple[str, str, int]] = {
    "in the middle of an epoch": ("accelerate", "Accelerator.backward", 40),
    "while a checkpoint is written": ("compress.training.checkpoint", "_flush", 3),
    "while the student is trained": ("accelerate", "Accelerator.backward", 25),
    "while a model is saved": ("compress.folder", "_write_json", 2),
    "right before a draft is moved into place": ("compress.store.store", "Claim._put", 1),
    "while a graph is written": ("compress.graph.build", "_write", 1),
    "right after an entry was moved into place": ("compress.runner", "trim", 1),
    "while baselines are measured": ("compress.commands.run", "measure", 1),
    "while the model is written": ("compress.release", "save", 3),
    "before run.json is in place": ("compress.commands.run", "write_run", 1),
}
"""Module, what is called there, and at which call the process dies, in the order in which a run comes to them."""


def run_in_a_process(small: Small, moment: str | None = None) -> int | None:
    """Run the small recipe, to the moment or to its end; gives the exit code of the process, -9 when killed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["killed_run"])  # so that each process is there at once, its libraries loaded
    process = context.Process(target=_run, args=(small.home, moment))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, (ROOT, ROOT / "tests"))))  # where the preloading looks
        process.start()
    process.join(timeout=300)
    return process.exitcode


def _run(home: Path, moment: str | None) -> None:
    with pytest.MonkeyPatch.context() as patch, (home / "log").open("a", encoding="utf-8") as log, redirect_stderr(log):
        if moment is not None:
            _die_at(patch, *MOMENTS[moment])
        run_small(Small(home))


def _die_at(patch: pytest.MonkeyPatch, module: str, name: str, call: int) -> None:
    owner: Any = importlib.import_module(module)
    *path, attribute = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    original: Callable[..., Any] = getattr(owner, attribute)
    calls: list[int] = []

    def watched(*args: Any, **more: Any) -> Any:
        calls.append(1)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **more)

    patch.setattr(owner, attribute, watched)
