"""The local engine of sweeps: each variant's stages into the shared store, one after the other or several at once.

Nothing but the store is left behind. A stage that several variants share is made once: who comes second finds it, or
waits for it.
"""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from compress.errors import CompressError
from compress.recipe import Recipe, stage_name
from compress.runner import Executed, Runner
from compress.sources import Lock, Sources
from compress.store.store import Store, cache_root
from compress.sweep import Variant

Tell = Callable[[str, float, str], None]

_TIME_TO_LEAVE_S = 10.0


@dataclass(frozen=True)
class Ending:
    """How a variant's work ended: with every stage done, or with a fault of its own."""

    variant: str
    stages: int = 0
    reused: int = 0
    fault: str = ""


def execute(recipe: Recipe, file: Path, store: Store, device: str, tell: Tell) -> Executed:
    """Every stage of a recipe done, or found done, in the store; `file` is what the recipe's paths are relative to.

    Raises:
        CompressError: as `Runner.execute`.
    """
    sources = Sources(cache_root(), file.parent, Lock.read(Lock.beside(file)))
    return Runner(recipe, sources, store, device, progress=tell).execute()


def make_all(
    variants: Sequence[Variant], file: Path, store: Store, device: str, jobs: int, tell: Tell
) -> Mapping[str, Ending]:
    """Each variant's stages, `jobs` variants at a time; how each one ended, by name.

    With one job the work is done in this process. When this process is interrupted, its children stop as well;
    finished stages stay in the store.

    Raises:
        CompressError: a source can't be had, which no variant could do without.
        OSError: the machine refuses: no space, no permission.
    """
    first = variants[0].recipe
    sources = Sources(cache_root(), file.parent, Lock.read(Lock.beside(file)))
    for source in first.sources.values():  # before several processes ask for the same ones
        sources.fetch(source)
    if jobs > 1:
        return _in_processes(variants, file, device, jobs, tell)
    return {variant.name: _make(variant, file, store, device, tell) for variant in variants}


def _make(variant: Variant, file: Path, store: Store, device: str, tell: Tell) -> Ending:
    try:
        executed = execute(variant.recipe, file, store, device, _within(variant, tell))
    except CompressError as fault:
        tell(variant.name, 1.0, "failed")
        return Ending(variant.name, fault=str(fault))
    outcomes = executed.outcomes
    return Ending(variant.name, len(outcomes), sum(outcome.reused for outcome in outcomes))


def _within(variant: Variant, tell: Tell) -> Tell:
    """Progress of one variant: what a runner tells of each stage, as a part of the whole."""
    recipe = variant.recipe
    prepared = [stage_name(place, stage, prepare=True) for place, stage in enumerate(recipe.prepare, start=1)]
    works = ["sources", *prepared, *(stage_name(place, stage) for place, stage in enumerate(recipe.stages, start=1))]

    def told(work: str, fraction: float, message: str) -> None:
        done = works.index(work) if work in works else 0
        tell(variant.name, (done + fraction) / len(works), f"{work} {message}".rstrip())

    return told


def _in_processes(variants: Sequence[Variant], file: Path, device: str, jobs: int, tell: Tell) -> Mapping[str, Ending]:
    """Each variant in a process of its own: a crash takes no other variant with it."""
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    waiting, endings = deque(variants), dict[str, Ending]()
    running: dict[Connection, tuple[Variant, BaseProcess]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                variant = waiting.popleft()
                ours, theirs = context.Pipe(duplex=False)
                process: BaseProcess = context.Process(
                    target=_child, args=(variant, file, device, theirs), name=variant.name
                )
                process.start()
                theirs.close()  # so that the child's death is the end of the pipe
                running[ours] = variant, process
            for pipe in wait(list(running)):
                assert isinstance(pipe, Connection), "nothing else was given"
                ending = _next(pipe, *running[pipe], tell)
                if ending is not None:
                    endings[ending.variant] = ending
                    _, finished = running.pop(pipe)
                    finished.join()
    finally:
        _stop([process for _, process in running.values()])
    return {variant.name: endings[variant.name] for variant in variants}


def _next(pipe: Connection, variant: Variant, process: BaseProcess, tell: Tell) -> Ending | None:
    """Take one message from a child; its ending, when that is what it is."""
    try:
        message = pipe.recv()
    except EOFError:
        process.join()
        code = process.exitcode or 0
        how = f"was ended by signal {-code}" if code < 0 else f"left with exit code {code}"
        return Ending(variant.name, fault=f"its process {how}, and said nothing; was the machine out of memory?")
    if isinstance(message, BaseException):
        raise message
    if isinstance(message, Ending):
        return message
    tell(*message)
    return None


def _child(variant: Variant, file: Path, device: str, pipe: Connection) -> None:
    """The work of a child process: progress and the ending go through the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # leave as if interrupted: drafts are cleared
    try:
        with Store(cache_root()).in_use() as store:
            pipe.send(_make(variant, file, store, device, lambda *told: pipe.send(told)))
    except KeyboardInterrupt:
        return
    except OSError as fault:
        pipe.send(fault)
    except Exception:
        pipe.send(RuntimeError(f"variant {variant.name}:\n{traceback.format_exc()}"))


def _stop(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(_TIME_TO_LEAVE_S)
        if process.is_alive():
            process.kill()
            process.join()
