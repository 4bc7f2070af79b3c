"""Show how far long work is: a bar with the time left on a terminal, plain lines with time stamps elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

PLAIN_EVERY_S = 10.0


class Tell(Protocol):
    """Told how far one piece of work is."""

    def __call__(self, work: str, fraction: float, message: str) -> None: ...


@contextmanager
def shown() -> Iterator[Tell]:
    """A function to report progress to while the block runs. Everything goes to standard error."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    columns = (SpinnerColumn(), TextColumn("{task.description:<18}"), BarColumn(), TimeElapsedColumn())
    with Progress(
        *columns, TimeRemainingColumn(), TextColumn("{task.fields[note]}"), console=Console(stderr=True)
    ) as bars:
        tasks = {}

        def tell(work: str, fraction: float, message: str) -> None:
            if work not in tasks:
                tasks[work] = bars.add_task(work, total=1.0, note="")
            bars.update(tasks[work], completed=fraction, note=message)

        yield tell


class _Lines:
    """A line when a piece of work begins and ends, and now and then in between."""

    def __init__(self) -> None:
        self._work = ""
        self._last = 0.0

    def __call__(self, work: str, fraction: float, message: str) -> None:
        now = time.monotonic()
        if work == self._work and fraction < 1.0 and now - self._last < PLAIN_EVERY_S:
            return
        self._work, self._last = work, now
        print(f"{datetime.now():%H:%M:%S} {work} {fraction:4.0%} {message}".rstrip(), file=sys.stderr, flush=True)
