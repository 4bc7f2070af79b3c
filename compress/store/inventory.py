"""What the cache holds, since when and how much of it; and getting rid of what nobody uses."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from compress.errors import StoreError
from compress.store.locks import held_if_free, holder
from compress.store.refusals import writing
from compress.store.store import MANIFEST, WORK, Store, clear_drafts, described
from compress.store.uses import gate, in_use

LIMIT = "COMPRESS_CACHE_LIMIT"
"""The environment variable that limits the stage store: `20GB`."""

Kind = Literal["stage", "unfinished", "source"]

DAY_S = 86400.0
SCRATCH_DAYS = 30
"""How long the work of an interrupted stage waits for someone to go on with it."""
PART_DAYS = 1
"""After how long a download is left over for sure: pip itself is ended far earlier."""

_UNITS = {"": 1, "B": 1} | {f"{prefix}B": 1000**power for power, prefix in enumerate("KMGT", start=1)}
_UNITS |= {f"{prefix}IB": 1024**power for power, prefix in enumerate("KMGT", start=1)}


@dataclass(frozen=True)
class Entry:
    """Something in the cache: a finished stage, the work of one that was interrupted, or a fetched source."""

    kind: Kind
    path: Path
    name: str
    """The stage as `01-distill`; of a source, the file or folder that it holds."""
    recipe: str
    """The recipe that made it; empty where it is not known."""
    size_bytes: int
    made: float
    """Seconds since the epoch, as `used`."""
    used: float
    user: str
    """The process that uses it now; empty where none does."""


def bytes_of(text: str) -> int:
    """A size in bytes: `20GB` is 20 * 1000**3, `20GiB` is 20 * 1024**3.

    >>> bytes_of("1.5 GB"), bytes_of("2KiB"), bytes_of("7")
    (1500000000, 2048, 7)

    Raises:
        StoreError: it is no size.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", text.strip())
    if not found or found[2].upper() not in _UNITS:
        raise StoreError(f"{text!r} is no size; wanted a number and a unit, as 500MB or 20GB")
    return int(float(found[1]) * _UNITS[found[2].upper()])


def limit_bytes() -> int | None:
    """The limit that the environment sets for the stage store; None where it sets none.

    Raises:
        StoreError: what it sets is no size.
    """
    text = os.environ.get(LIMIT)
    try:
        return bytes_of(text) if text else None
    except StoreError as fault:
        raise StoreError(f"{LIMIT}: {fault}") from None


def stages(store: Store) -> list[Entry]:
    """Finished stages, and the work of interrupted ones, least recently used first."""
    users = {key: noted.user for noted in in_use(store.root / "uses") for key in noted.keys}
    found = []
    for folder in sorted((store.root / "stages").glob("*/*")):
        if folder.is_dir():
            try:
                found.append(_stage(folder, users))
            except FileNotFoundError:  # moved into place, or cleared, just now
                continue
    return sorted(found, key=lambda entry: entry.used)


def sources(store: Store) -> list[Entry]:
    """Fetched sources, oldest first. While any recipe runs, all of them are in use."""
    user = next((noted.user for noted in in_use(store.root / "uses")), "")
    found = []
    for folder in sorted((store.root / "sources").glob("*")):
        names = sorted(file.name for file in (folder / "content").glob("*"))
        when = folder.stat().st_mtime
        found.append(Entry("source", folder, ", ".join(names), "", _size(folder), when, when, user))
    return sorted(found, key=lambda entry: entry.used)


def remove(store: Store, entries: Iterable[Entry]) -> tuple[list[Entry], list[Entry]]:
    """Remove entries that nobody uses. Gives what went, and what is in use and stayed.

    Raises:
        StoreError: no permission.
    """
    gone, kept = list[Entry](), list[Entry]()
    for entry in entries:
        with writing(entry.path, "the cache"), _unused(store, entry) as unused:
            if unused:
                (entry.path / MANIFEST).unlink(missing_ok=True)  # first: an entry that is half gone is none
                shutil.rmtree(entry.path)
            (gone if unused else kept).append(entry)
    return gone, kept


def trim(store: Store, limit: int | None = None) -> list[Entry]:
    """Remove the stages that were not used for longest, until the store is within its limit; gives what went.

    Args:
        limit: in bytes; left out: the environment's, or none.
    """
    limit = limit_bytes() if limit is None else limit
    if limit is None:
        return []
    there = stages(store)
    size = sum(entry.size_bytes for entry in there)
    gone: list[Entry] = []
    for entry in there:
        if size <= limit:
            break
        removed, _ = remove(store, [entry])
        size -= sum(one.size_bytes for one in removed)
        gone += removed
    return gone


def sweep(store: Store) -> None:
    """Remove what dead processes left half made. Work that an interrupted stage can go on with stays for some weeks."""
    in_use(store.root / "uses")  # which forgets what the dead used
    for name in sorted((store.root / "stages").glob("*/*.lock.holder")):
        with held_if_free(name.with_suffix("")) as dead:
            if dead:
                name.unlink(missing_ok=True)
    for work in sorted((store.root / "stages").glob(f"*/{WORK}*")):
        with held_if_free(_lock(work)) as dead:
            if dead:
                clear_drafts(work)
                scratch = work / "scratch"
                if not scratch.exists() or not any(scratch.iterdir()) or _age_days(scratch) > SCRATCH_DAYS:
                    shutil.rmtree(work, ignore_errors=True)
    for part in sorted((store.root / "sources").glob(".part-*")):
        if _age_days(part) > PART_DAYS:
            shutil.rmtree(part, ignore_errors=True)


def _stage(folder: Path, users: dict[str, str]) -> Entry:
    key = _key(folder)
    if folder.name.startswith(WORK):
        kind: Kind = "unfinished"
        about, made = _noted(folder / "about.json"), _last_change(folder)
        used = made
    else:
        kind = "stage"
        about, used = described(folder), folder.stat().st_mtime
        made = (folder / MANIFEST).stat().st_mtime if (folder / MANIFEST).exists() else used
    maker = holder(_lock(folder))
    user = users.get(key) or (str(maker) if maker is not None and maker.lives() is not False else "")
    name, recipe = str(about.get("stage", "")), str(about.get("recipe", ""))
    return Entry(kind, folder, name, recipe, _size(folder), made, used, user)


@contextmanager
def _unused(store: Store, entry: Entry) -> Iterator[bool]:
    """Whether an entry may go; while the block runs, nobody can begin to use it."""
    uses = store.root / "uses"
    uses.mkdir(parents=True, exist_ok=True)
    with gate(uses):
        noted = in_use(uses)
        if entry.kind == "source":
            yield not noted
        elif any(_key(entry.path) in one.keys for one in noted):
            yield False
        else:
            with held_if_free(_lock(entry.path)) as free:
                yield free


def _key(folder: Path) -> str:
    """The key of an entry, or of the work on it, by the folder's name."""
    return "sha256:" + folder.name.removeprefix(WORK)


def _lock(folder: Path) -> Path:
    """What is held by the process that makes an entry."""
    return folder.with_name(folder.name.removeprefix(WORK) + ".lock")


def _noted(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _last_change(folder: Path) -> float:
    return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))


def _age_days(path: Path) -> float:
    return (time.time() - _last_change(path)) / DAY_S
