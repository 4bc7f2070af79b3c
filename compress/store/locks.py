"""One process at a time: lock files, and who holds them.

The kernel drops a lock when its process ends, however it ends, so a lock that is held belongs to something that runs.
The file `<lock>.holder` beside it says what, for messages; nothing is decided by it.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from compress.errors import StoreError

POLL_S = 0.2
"""Between two looks at a lock that is waited for."""
PATIENCE_S = 1.0
"""How long a lock may be held before its holder has said who it is."""


@dataclass(frozen=True)
class Holder:
    """A process that holds a lock."""

    pid: int
    started: float
    """When the process began, in seconds since the epoch: numbers of processes are given again."""
    since: str
    """When it took the lock: date and time with the zone."""
    machine: str

    @classmethod
    def here(cls) -> Holder:
        """This process, from now on."""
        import psutil

        started = psutil.Process().create_time()
        return cls(os.getpid(), started, datetime.now().astimezone().isoformat(" ", "seconds"), _machine())

    def lives(self) -> bool | None:
        """Whether the process still runs; None where that can't be known, because it is another machine's."""
        import psutil

        if self.machine != _machine():
            return None
        try:
            process = psutil.Process(self.pid)
            return abs(process.create_time() - self.started) < 1 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return True

    def __str__(self) -> str:
        alive = {True: "it is alive", False: "it is gone, but a child of it holds on", None: "on another machine"}
        return f"process {self.pid} since {self.since} ({alive[self.lives()]})"


@contextmanager
def held(lock: Path, what: str, *, waiting: Callable[[str], None] | None = None) -> Iterator[bool]:
    """Hold a lock file while the block runs. Gives whether it had to be waited for.

    Args:
        what: what the lock stands for, as messages name it.
        waiting: told again and again who is waited for; left out: nobody waits.

    Raises:
        StoreError: another process holds it and nobody waits; or the file can't be written.
    """
    guard = FileLock(lock)
    waited = False
    while not _taken(guard, lock):
        if waiting is None:
            raise StoreError(f"{what}: held by {_named(lock)}; wait for it, or choose another folder")
        waiting(_named(lock))
        waited = True
        time.sleep(POLL_S)
    try:
        _sign(lock)
        yield waited
    finally:
        _holder_file(lock).unlink(missing_ok=True)
        guard.release()


@contextmanager
def held_if_free(lock: Path) -> Iterator[bool]:
    """Hold a lock while the block runs, when nobody else does and it can be; gives whether it is held."""
    guard = FileLock(lock)
    try:
        taken = _taken(guard, lock)
    except StoreError:
        taken = False
    if not taken:
        yield False
        return
    try:
        yield True
    finally:
        guard.release()


def holder(lock: Path) -> Holder | None:
    """Who said last that it holds the lock; None when nobody did."""
    try:
        return Holder(**json.loads(_holder_file(lock).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _taken(guard: FileLock, lock: Path) -> bool:
    try:
        guard.acquire(timeout=0)
    except Timeout:
        return False
    except OSError as fault:
        raise StoreError(f"{lock}: can't be locked: {fault.strerror}; choose a folder that can be written") from fault
    return True


def _named(lock: Path) -> str:
    """The holder in words. One that just took the lock has not said its name yet; one that died left its own behind."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = holder(lock)
        if (found is not None and found.lives() is not False) or time.monotonic() > deadline:
            return str(found) if found is not None else "another process"
        time.sleep(POLL_S / 4)


def _sign(lock: Path) -> None:
    """Say who holds the lock, where there is room to say it: the lock itself holds without."""
    file = _holder_file(lock)
    draft = file.with_name(file.name + ".draft")
    with suppress(OSError):
        draft.write_text(json.dumps(asdict(Holder.here())), encoding="utf-8")
        os.replace(draft, file)


def _holder_file(lock: Path) -> Path:
    return lock.with_name(lock.name + ".holder")


def _machine() -> str:
    """Tells machines that share a folder apart, without naming them."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:12]
