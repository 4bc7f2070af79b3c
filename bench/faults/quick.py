"""The command line with as little timing as can be, for runs that are killed, resumed or shared.

In the environment, `FAULTS_WITHIN` names folders (parted by `:`) whose changes are counted: files that are opened to be
written, moved or removed, and folders made. `FAULTS_KILL_AT=N:MS` makes the process kill itself (signal 9) MS
milliseconds after the N-th; so a kill is aimed into a write, and hits the same one each time.
`FAULTS_COUNT=FILE` has it write there, at its end, how many there were.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

WRITES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir")


def main() -> None:
    """Run the command line."""
    _watch_writes()
    hasten()
    from compress import cli

    cli.main()


def hasten() -> None:
    """Have this process time with few calls and no pauses."""
    from compress.runtimes.timing import time_interleaved
    from evaluation import suite

    suite.time_interleaved = partial(time_interleaved, block_calls=3, pause_seconds=0.0)


def _watch_writes() -> None:
    within, count_file, kill_at = (os.environ.get(f"FAULTS_{name}", "") for name in ("WITHIN", "COUNT", "KILL_AT"))
    if not within:
        return
    folders = tuple(within.split(os.pathsep))
    number, _, delay_ms = (kill_at or "-1:0").partition(":")
    seen = 0

    def see(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if not (event in WRITES or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))):
            return
        path = arguments[0]
        if not isinstance(path, str | bytes | os.PathLike) or not os.path.abspath(os.fsdecode(path)).startswith(
            folders
        ):
            return
        seen += 1
        if seen == int(number):
            _die_in(float(delay_ms) / 1000)

    sys.addaudithook(see)
    if count_file:
        atexit.register(lambda: Path(count_file).write_text(str(seen), encoding="utf-8"))


def _die_in(seconds: float) -> None:
    """Kill this process, at once or while it goes on writing."""
    if seconds <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
    threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()


if __name__ == "__main__":
    main()
