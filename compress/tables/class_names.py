"""Names of classes: which there are, in what order, and which of them a value means.

Classes are kept by name. Names come from the settings, else from the file, else from the values themselves: sorted, as
numbers if all of them are. Names that another table has settled are imposed on all of these.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from compress.catalog import closest
from compress.errors import DataError
from compress.tables.columns import Columns, shown

Names = tuple[str, ...]


@dataclass(frozen=True)
class Vocabulary:
    """The names of a column's classes, and the index that each way to write a class stands for."""

    names: Names
    indices: dict[str, int]

    @classmethod
    def of(cls, values: Iterable[Any], own: Names | None, settled: Names | None) -> Vocabulary:
        """The classes of a column.

        Args:
            values: all that stands in the column.
            own: names that the settings or the file give, in order of index; values may then be indices too.
            settled: names that another table has settled, in order of index.
        """
        plain = (_class_name(value) for value in values if not isinstance(value, list | dict | bytes))
        names = own or settled or _sorted_names(name for name in plain if name)
        indices = {name: index for index, name in enumerate(names)}
        if own:  # a name comes before an index: names may be numerals
            indices = {str(index): index for index in range(len(names))} | indices
        return cls(names, indices)

    def index(self, read: Columns, row: int, value: Any) -> int:
        """The index of the class that a value of this row means.

        Raises:
            DataError: the value is no class.
        """
        name = _class_name(value)
        if name not in self.indices or isinstance(value, list | dict | bytes):
            known = ", ".join(self.names[:10]) + (", ..." if len(self.names) > 10 else "")
            raise DataError(
                f"{read.where(row)}: label is {shown(value)}, wanted one of {known or 'some'}{self._hint(value)}"
            )
        return self.indices[name]

    def _hint(self, value: Any) -> str:
        if isinstance(value, list | dict | bytes):
            return "; a class is one text or one number, is it the right column for this task?"
        name = _class_name(value)
        if name.startswith("[") and name.endswith("]"):
            return "; a list that is written as text is not read, join its names with the separator"
        return closest(name[:100], self.names) or "; give `names`, if these are indices or a class that others lack"


def in_order(read: Columns, labels: np.ndarray, names: Names, settled: Names | None) -> tuple[np.ndarray, Names]:
    """Indices into the settled names, made of those into a table's own; and the names that they index now.

    Raises:
        DataError: this table has a class that the settled names lack.
    """
    if settled is None or settled == names:
        return labels, names
    return places(read, names, settled)[labels], settled


def places(read: Columns, names: Names, settled: Names) -> np.ndarray:
    """Where each name stands among the settled ones: int64 (names,).

    Raises:
        DataError: this table has a class that the settled names lack.
    """
    missing = [name for name in names if name not in settled]
    if missing:
        raise DataError(
            f"{read.place}: has the class {missing[0]}, but the table that is trained on has {', '.join(settled[:10])}"
        )
    return np.array([settled.index(name) for name in names], dtype=np.int64)


def _class_name(value: Any) -> str:
    """A label as text: JSON and Parquet have integers, booleans and whole floats where a TSV file has text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None else str(value).strip()


def _sorted_names(values: Iterable[str]) -> Names:
    """The distinct values, sorted as numbers if they all are numbers."""
    distinct = sorted(set(values))
    try:
        numbers = {name: float(name) for name in distinct}
    except ValueError:
        return tuple(distinct)
    return tuple(sorted(distinct, key=numbers.__getitem__) if all(map(math.isfinite, numbers.values())) else distinct)
