"""The command line with as little timing and as many checkpoints as can be, for runs that are killed or shared.

In the environment, `FAULTS_WITHIN` names folders (parted by `:`) whose changes are counted: files that are opened to be
written, moved or removed, safetensors saved, and folders made. `FAULTS_KILL_AT=N:MS` makes the process kill itself
(signal 9) MS milliseconds after the N-th; so a kill is aimed into a write, and hits the same one each time. Where the
N-th saves safetensors, a checkpoint say, half of the file is written first.
`FAULTS_COUNT=FILE` has it write there, at its end, how many there were.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

WRITES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir")


def main() -> None:
    """Run the command line."""
    _watch_writes()
    hasten()
    checkpoint_always()
    from compress import cli

    cli.main()


def hasten() -> None:
    """Have this process time with few calls and no pauses, and start no others for footprints."""
    from compress.runtimes.timing import Limits
    from evaluation import suite
    from evaluation.speed import speed

    speed.LIMITS = Limits(block_seconds=0.0, block_calls=1, pause_seconds=0.0, warmup_calls=1, fewest_calls=1)
    speed.SECONDS_A_ROUND = 0.0  # no more rounds than an interval needs
    suite.footprints = lambda *_: ([], [])


def checkpoint_always() -> None:
    """Have trainings in this process write a checkpoint after every step, so that a kill comes between two of them."""
    from compress.training import checkpoint

    checkpoint.EVERY_S, checkpoint.SHARE = 0.0, float("inf")


def _watch_writes() -> None:
    within, count_file, kill_at = (os.environ.get(f"FAULTS_{name}", "") for name in ("WITHIN", "COUNT", "KILL_AT"))
    if not within:
        return
    number, _, delay_ms = (kill_at or "-1:0").partition(":")
    writes = _Writes(tuple(within.split(os.pathsep)), int(number), float(delay_ms) / 1000)
    sys.addaudithook(writes.see)
    writes.see_tensors()
    if count_file:
        atexit.register(lambda: Path(count_file).write_text(str(writes.seen), encoding="utf-8"))


class _Writes:
    """Counts changes in some folders, and kills this process at one of them."""

    def __init__(self, folders: tuple[str, ...], number: int, delay_s: float) -> None:
        self.seen = 0
        self._folders, self._number, self._delay_s = folders, number, delay_s

    def see(self, event: str, arguments: tuple[Any, ...]) -> None:
        """The audit hook."""
        opens = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if (event in WRITES or opens) and self._aimed(arguments[0]):
            _die_in(self._delay_s)

    def see_tensors(self) -> None:
        """Count what safetensors saves, too: it writes in native code, where no audit hook looks."""
        import safetensors.torch

        save_file = safetensors.torch.save_file

        def save(tensors: dict[str, Any], filename: str | os.PathLike[str], **settings: Any) -> None:
            if self._aimed(filename):
                content = safetensors.torch.save(tensors, **settings)
                Path(filename).write_bytes(content[: len(content) // 2])
                _die_in(0)
            save_file(tensors, filename, **settings)

        safetensors.torch.save_file = save

    def _aimed(self, path: object) -> bool:
        """Count a change of the path, if it is one of ours; whether the kill is aimed at it."""
        if not isinstance(path, str | bytes | os.PathLike):
            return False  # a file descriptor that was opened before
        if not os.path.abspath(os.fsdecode(path)).startswith(self._folders):
            return False
        self.seen += 1
        return self.seen == self._number


def _die_in(seconds: float) -> None:
    """Kill this process, at once or while it goes on writing."""
    if seconds <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
    threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()


if __name__ == "__main__":
    main()
