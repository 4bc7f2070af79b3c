"""What all parts of the bench are given, and how they say where they are."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """What was asked for.

    Attributes:
        data: the model's folder and the two tables, as `--set` takes them.
        validation: the table that latency runs are judged on.
        work: where runs and sweeps are kept; what is finished there is not made again.
        sweeps: another folder in which finished sweeps are looked for first.
        seeds: of sweeps and of training.
        rounds: of timing, in the sittings that latency figures come from.
        small: tiny models and one of each, to try the bench itself out.
        command: the command line that asks for the same.
    """

    data: dict[str, str]
    validation: str
    work: Path
    sweeps: Path | None
    seeds: tuple[int, ...]
    rounds: int
    small: bool
    command: str

    @property
    def settings(self) -> list[str]:
        """The data as options of a command."""
        return [word for path, place in self.data.items() for word in ("--set", f"{path}={place}")]


def tell(message: str) -> None:
    """A line for who waits."""
    print(message, file=sys.stderr, flush=True)
