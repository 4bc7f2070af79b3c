"""A cell: a process of its own that runs one command line after the other and is watched while it does.

What is watched: the exit code, what is printed, an exception that gets out, the time, how far memory grows, every file
that Python opens to write, and files in a folder that nothing may open. A command that kills its process, or does not
end, costs a new process and nothing more.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.faults.quick import hasten

OUTSIDE = "outside"
"""A folder beside the trial's own; its files hold what a reader would be happy with, and nothing may open them."""
OVERDUE_S = 30.0
MOST_BYTES = 8 << 30
"""Memory that a cell may ask for: a trial that wants more fails by itself, and the machine goes on."""

Plant = Callable[[], object]
"""Breaks the program inside the cell, to see that the bench notices."""


@dataclass(frozen=True)
class Trial:
    """One fault: files to put in place of good ones, and the command line that meets them.

    Attributes:
        kind: the row of the published table.
        what: what was done to the good file; with the seed, enough to do it again.
        words: the command line.
        files: content by path below the trial's folder; None takes the file away.
        links: symbolic links by path; what they point to.
        hopeless: no reader could make sense of it, so that exit code 0 is wrong.
    """

    kind: str
    what: str
    words: tuple[str, ...]
    files: Mapping[str, bytes | None] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    hopeless: bool = True


@dataclass(frozen=True)
class Answer:
    """What became of a trial. `code` is None where no exit code came: something escaped, hung, or died."""

    code: int | None
    message: str
    seconds: float = 0.0
    printed: str = ""
    written: tuple[str, ...] = ()
    opened: tuple[str, ...] = ()
    growth_bytes: int = 0
    escaped: str = ""


class Cell:
    """Runs trials, each in a fresh copy of the folder `good`."""

    def __init__(self, good: Path, warm: Sequence[Sequence[str]] = (), plant: Plant | None = None) -> None:
        """`warm`: command lines that are run once, unwatched, so that imports are behind us when trials are timed."""
        self._good, self._warm, self._plant = good, warm, plant
        self._scratch = tempfile.TemporaryDirectory(prefix="faults-")
        self._pool = self._made()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self._end()
        self._scratch.cleanup()

    def run(self, trial: Trial) -> Answer:
        """The answer, whatever it takes."""
        try:
            return self._pool.submit(_tried, trial).result(timeout=10 * OVERDUE_S)
        except BrokenProcessPool:
            answer = Answer(None, "", escaped="the process died")
        except TimeoutError:
            answer = Answer(None, "", OVERDUE_S, escaped="it hung in native code")
        self._end()
        self._pool = self._made()
        return answer

    def _made(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")  # a fork would inherit locks of torch's threads
        given = (self._good, Path(self._scratch.name), self._warm, self._plant)
        return ProcessPoolExecutor(1, mp_context=context, initializer=_enter, initargs=given)

    def _end(self) -> None:
        for process in list((self._pool._processes or {}).values()):  # shutdown waits for a call that hangs
            process.kill()
        self._pool.shutdown(wait=True, cancel_futures=True)


class _Overdue(BaseException):
    """Raised by the timer; no `except Exception` may swallow it."""


@dataclass
class _Watch:
    """What the audit hook has seen. A hook can't be taken off again, so there is one, which looks here."""

    on: bool = False
    free: Path = Path()
    walled: Path = Path()
    written: list[str] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)

    def see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on or event not in (*_CHANGES, "open"):
            return
        path = arguments[0]
        if not isinstance(path, str | bytes | os.PathLike):
            return  # a file descriptor that was opened before
        if event != "open" and arguments[-1] != -1:
            return  # relative to a folder that is open; what it leaves is seen in the tree
        place = os.path.abspath(os.fsdecode(path))
        changes = event != "open" or bool(arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))
        if changes and not place.startswith((str(self.free), "/dev/")):
            self.written.append(f"{event} {place}")
        if place.startswith(str(self.walled)):
            self.opened.append(place)


_CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.truncate")
_watch = _Watch()
_good = _arena = Path()


def _enter(good: Path, scratch: Path, warm: Sequence[Sequence[str]], plant: Plant | None) -> None:
    """Set the process up: folders, environment, warm-up, watch."""
    global _good, _arena  # a pool's process has no other place for what its tasks share
    sys.dont_write_bytecode = True
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_BYTES, MOST_BYTES))
    _good, _arena = good, Path(tempfile.mkdtemp(dir=scratch))
    for name in ("user", "tmp/torch", OUTSIDE):
        (_arena / name).mkdir(parents=True)
    os.environ |= {"HOME": str(_arena / "user"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    os.environ["COMPRESS_CACHE"] = str(_arena / "cache")
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(_arena / "tmp" / "torch")  # torch makes one as soon as it compiles
    tempfile.tempdir = str(_arena / "tmp")
    hasten()
    if plant is not None:
        plant()
    for words in warm:
        _tried(Trial("warm-up", "nothing", tuple(words)))
    _watch.free, _watch.walled = _arena / "tmp", _arena / OUTSIDE
    sys.addaudithook(_watch.see)


def _tried(trial: Trial) -> Answer:
    """Put the trial's files in place, run its command line, and look at what is left."""
    home = _arena / "home"
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(_good, home)
    _put(home, trial)
    os.chdir(home)
    before = _tree(_arena)
    answer = _run(trial.words)
    left = sorted(str(path) for path in _tree(_arena).items() ^ before.items())
    return replace(answer, written=(*answer.written, *left))


def _put(home: Path, trial: Trial) -> None:
    for name, content in trial.files.items():
        place = home / name
        place.unlink(missing_ok=True)
        if content is not None:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
    for name, target in trial.links.items():
        (home / name).unlink(missing_ok=True)
        (home / name).symlink_to(target)


def _run(words: Sequence[str]) -> Answer:
    from compress import cli

    sys.argv = ["compress", *words]
    out, err = io.StringIO(), io.StringIO()
    code, escaped = None, ""
    memory, started = _peak_bytes(), time.perf_counter()
    with _watching(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            with _alarm():
                cli.main()
        except SystemExit as leave:
            code = leave.code if isinstance(leave.code, int) else 1
        except _Overdue:
            escaped = f"not done after {OVERDUE_S:.0f} s"
        except BaseException as fault:
            escaped = "".join(traceback.format_exception_only(fault)).strip() + " " + _innermost(fault)
    seconds = time.perf_counter() - started
    return Answer(
        code,
        err.getvalue(),
        seconds,
        out.getvalue(),
        tuple(_watch.written),
        tuple(_watch.opened),
        _peak_bytes() - memory,
        escaped,
    )


def _innermost(fault: BaseException) -> str:
    frames = traceback.extract_tb(fault.__traceback__)
    ours = [frame for frame in frames if "site-packages" not in frame.filename] or frames
    return f"({Path(ours[-1].filename).name}, line {ours[-1].lineno})" if frames else ""


@contextlib.contextmanager
def _watching() -> Iterator[None]:
    _watch.written.clear()
    _watch.opened.clear()
    _watch.on = True
    try:
        yield
    finally:
        _watch.on = False


@contextlib.contextmanager
def _alarm() -> Iterator[None]:
    def ring(*_: object) -> None:
        raise _Overdue

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, OVERDUE_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of everything below a folder."""
    found = {}
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            status = os.lstat(os.path.join(place, name))
            kept = (status.st_size, status.st_mtime_ns) if name in files else (0, 0)
            found[os.path.join(place, name)] = kept
    return found


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
