"""Values inside of values, as JSON and YAML have them: the path to each, and what stands there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Path = tuple[str | int, ...]
"""Keys and positions, from the outside in."""


def paths(values: Any, at: Path = ()) -> Iterator[Path]:
    """The path of every value below `values`, owners before what they hold."""
    entries = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for key, value in entries:
        yield (*at, key)
        yield from paths(value, (*at, key))


def value_at(values: Any, path: Path) -> Any:
    """What stands at a path; `values` itself at the empty one."""
    for key in path:
        values = values[key]
    return values


def dotted(path: Path) -> str:
    """The path as a person reads it."""
    return ".".join(map(str, path))
