"""Tables of whatever a stage or the machine recorded: cards, lists of rows. Nothing is known of their keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reports.number import Reading, plain
from reports.table import Cell, Table, table_of


def table_of_record(caption: str, record: Any) -> Table | None:
    """A list of mappings as rows, a mapping of mappings as rows, a mapping as facts; None for what is empty."""
    if not record:
        return None
    if isinstance(record, Mapping):
        inner = [value for value in record.values() if isinstance(value, Mapping)]
        return _crossed(caption, record) if len(inner) == len(record) > 1 else facts(caption, record)
    if isinstance(record, Sequence) and not isinstance(record, str):
        if all(isinstance(row, Mapping) for row in record):
            names = list(dict.fromkeys(str(name) for row in record for name in row))
            keyed = [{str(name): value for name, value in row.items()} for row in record]
            return table_of(
                caption, names, [[_first(i, cell_of(row.get(n))) for i, n in enumerate(names)] for row in keyed]
            )
        return table_of(caption, ["value"], [[str(cell_of(value))] for value in record])
    return table_of(caption, ["value"], [[str(cell_of(record))]])


def facts(caption: str, record: Mapping[str, Any]) -> Table | None:
    """A mapping as a table of two columns; inner mappings are written out as `name: value` pairs."""
    rows = [(str(name), str(cell_of(value))) for name, value in record.items()]
    return table_of(caption, ["name", "value"], rows) if rows else None


def cell_of(value: Any) -> Cell:
    """A recorded value in a cell: numbers are readings, the rest is text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return Reading(plain(value))
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {cell_of(inner)}" for name, inner in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(str(cell_of(inner)) for inner in value)
    return str(value)


def flat(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested mappings with dotted names.

    >>> list(flat({"a": {"b": 1}, "c": 2}))
    [('a.b', 1), ('c', 2)]
    """
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _crossed(caption: str, record: Mapping[str, Mapping[str, Any]]) -> Table:
    """A mapping of mappings: outer names are rows, the leaves' dotted names are columns."""
    leaves = {str(name): dict(flat(inner)) for name, inner in record.items()}
    columns = list(dict.fromkeys(column for row in leaves.values() for column in row))
    return table_of(
        caption, ["name", *columns], [[name, *(cell_of(row.get(c)) for c in columns)] for name, row in leaves.items()]
    )


def _first(place: int, cell: Cell) -> Cell:
    return str(cell) if place == 0 else cell  # a row's heading is a name, even where it is a number
