"""`compress cache`: what the cache holds, and making room in it."""

from __future__ import annotations

import re
import time
from dataclasses import asdict, dataclass
from typing import Any

from compress.errors import StoreError
from compress.store.inventory import DAY_S, LIMIT, Entry, bytes_of, limit_bytes, remove, sources, stages
from compress.store.store import Store, cache_root

_SECONDS = {"m": 60.0, "h": 3600.0, "d": DAY_S, "w": 7 * DAY_S}


@dataclass(frozen=True)
class Cleared:
    """What `clear` did."""

    gone: list[Entry]
    kept: list[Entry]
    """In use."""


def listing() -> dict[str, Any]:
    """Everything in the cache, as JSON values: entries, totals in bytes by kind, folder and limit."""
    store = Store(cache_root())
    limit = limit_bytes()
    entries = [*stages(store), *sources(store)]
    totals = {kind: sum(entry.size_bytes for entry in entries if entry.kind == kind) for kind in _KINDS}
    rows = [
        {**asdict(entry), "key": _key(entry), "path": entry.path.relative_to(store.root).as_posix()}
        for entry in entries
    ]
    return {"folder": str(store.root), "limit_bytes": limit, "total_bytes": totals, "entries": rows}


def to_text(found: dict[str, Any]) -> str:
    """The listing as a table, least recently used first within each kind."""
    rows = [
        (
            row["kind"],
            row["key"],
            row["name"] or "?",
            row["recipe"] or "-",
            size_text(row["size_bytes"]),
            _age(row["made"]),
            _age(row["used"]),
            f"in use: {row['user']}" if row["user"] else "",
        )
        for kind in _KINDS
        for row in found["entries"]
        if row["kind"] == kind
    ]
    heads = ("kind", "key", "name", "recipe", "size", "made", "used", "")
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (heads, *rows)]
    totals = ", ".join(f"{_KINDS[kind]} {size_text(size)}" for kind, size in found["total_bytes"].items())
    limit = found["limit_bytes"]
    lines.append(f"{found['folder']}: {totals}" + (f"; {LIMIT} {size_text(limit)}" if limit is not None else ""))
    return "\n".join(line.rstrip() for line in lines)


def _key(entry: Entry) -> str:
    """Enough of a stage's key, or of a source's, to tell two of one name apart."""
    return entry.path.name.removeprefix(".").partition(":")[2][:8] or entry.path.name.lstrip(".")[:8]


_KINDS = {"stage": "stages", "unfinished": "unfinished stages", "source": "sources"}


def clear(older_than: str | None, keep: str | None, *, with_sources: bool) -> Cleared:
    """Remove what is in the cache and not in use: all stages, unless the options say less.

    Args:
        older_than: only what was last used longer ago than this, as `30d`.
        keep: least recently used first, until what is left is no larger than this, as `5GB`.
        with_sources: fetched sources as well.

    Raises:
        StoreError: an option that is no size or no age; or no permission.
    """
    store = Store(cache_root())
    wanted = [*stages(store), *(sources(store) if with_sources else [])]
    if older_than is not None:
        before = time.time() - seconds_of(older_than)
        wanted = [entry for entry in wanted if entry.used < before]
    if keep is None:
        return Cleared(*remove(store, wanted))
    largest = bytes_of(keep)
    done = Cleared([], [])
    left = sum(entry.size_bytes for entry in (*stages(store), *(sources(store) if with_sources else [])))
    for entry in sorted(wanted, key=lambda one: one.used):
        if left <= largest:
            break
        gone, kept = remove(store, [entry])
        left -= sum(one.size_bytes for one in gone)
        done = Cleared(done.gone + gone, done.kept + kept)
    return done


def cleared_text(done: Cleared) -> str:
    """What went, and what did not and why."""
    freed = sum(entry.size_bytes for entry in done.gone)
    counts = [f"{_KINDS[kind]} {sum(entry.kind == kind for entry in done.gone)}" for kind in _KINDS]
    lines = [f"kept, in use by {entry.user or 'a process'}: {entry.kind} {entry.name or '?'}" for entry in done.kept]
    return "\n".join([*lines, f"freed {size_text(freed)}: {', '.join(counts)}"])


def seconds_of(text: str) -> float:
    """An age in seconds: minutes, hours, days or weeks.

    >>> seconds_of("30d"), seconds_of("12h")
    (2592000.0, 43200.0)

    Raises:
        StoreError: it is no age.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([mhdw])", text.strip().lower())
    if not found:
        raise StoreError(f"{text!r} is no age; wanted a number and a unit of m, h, d or w, as 12h or 30d")
    return float(found[1]) * _SECONDS[found[2]]


def size_text(size: int) -> str:
    """A size for people to read, in powers of 1000.

    >>> size_text(999), size_text(1_250_000)
    ('999 B', '1.2 MB')
    """
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def _age(when: float) -> str:
    """How long ago, in its largest unit."""
    seconds = max(0.0, time.time() - when)
    for unit, length in (("d", DAY_S), ("h", 3600.0), ("m", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.0f}{unit} ago"
    return "just now"
