"""Which stored stages running processes rely on, so that nobody clears them away underneath.

Every run notes the keys it uses in a file of its own, beside a lock that it holds to its end. What lies beside a lock
that nobody holds is left over from a run that died.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from compress.store.locks import held, held_if_free, holder


@dataclass(frozen=True)
class Use:
    """One run's notes on what it uses."""

    notes: Path

    def note(self, key: str) -> None:
        """Add a key. From here on, until the run ends, its entry stays."""
        with gate(self.notes.parent), self.notes.open("a", encoding="utf-8") as file:
            file.write(key + "\n")


@dataclass(frozen=True)
class Noted:
    """What a running process uses: keys that it noted, which may be none yet."""

    user: str
    keys: frozenset[str]


@contextmanager
def using(folder: Path) -> Iterator[Use]:
    """A new use, which ends with the block.

    Raises:
        OSError: the folder can't be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    notes = folder / f"{uuid.uuid4().hex}.keys"
    with held(notes.with_suffix(".lock"), "a use of the store"):
        notes.touch()
        try:
            yield Use(notes)
        finally:
            _forget(notes)


def in_use(folder: Path) -> list[Noted]:
    """What each running process uses. Notes of dead ones are removed."""
    found = []
    for notes in sorted(folder.glob("*.keys")):
        lock = notes.with_suffix(".lock")
        with held_if_free(lock) as left_over:
            if left_over:
                _forget(notes)
            elif notes.exists():
                found.append(Noted(str(holder(lock) or "another process"), frozenset(notes.read_text().split())))
    return found


@contextmanager
def gate(folder: Path) -> Iterator[None]:
    """Keeps noting a use and clearing what is not used from happening at once."""
    with FileLock(folder / "gate.lock"):
        yield


def _forget(notes: Path) -> None:
    for file in (notes, notes.with_suffix(".lock"), notes.with_suffix(".lock.holder")):
        file.unlink(missing_ok=True)
