"""CSV and TSV: one row a line, cells between separators, with quotes or without."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from compress.errors import DataError
from compress.tables.columns import Columns, Wanted
from compress.tables.formats.decoding import decoded, lines


def read(path: Path, wanted: Wanted, *, encoding: str, delimiter: str, header: bool, quoting: bool) -> Columns:
    """The wanted columns, every value as text. Empty lines are passed over.

    Args:
        header: the first row names the columns.
        quoting: a cell may stand in double quotes, and then hold separators and line ends; a quote in it is doubled.

    Raises:
        DataError: see `decoded`; or rows of different widths, a quote left open, a wanted column that is not there.
    """
    text = decoded(path, encoding)
    rows = _quoted_rows(path, text, delimiter) if quoting else _plain_rows(text, delimiter)
    first = next(rows, None)
    if first is None:
        raise DataError(f"{path}: the file is empty")
    width = len(first[1])
    positions = wanted.positions(path, first[1] if header else [], width)
    values: dict[str, list[Any]] = {role: [] for role in positions}
    numbers: list[int] = []
    for line, row in rows if header else chain([first], rows):
        if len(row) != width:
            hint = "is the separator in a text, or `quoting` wrong?"
            raise DataError(f"{path}: line {line} has {len(row)} columns, wanted {width} as in line {first[0]}; {hint}")
        numbers.append(line)
        for role, position in positions.items():
            values[role].append(row[position])
    return Columns(str(path), values, numbers, folder=path.parent)


def _plain_rows(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    return ((line, row.split(delimiter)) for line, row in enumerate(lines(text), start=1) if row)


def _quoted_rows(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for row in reader:
            if row:
                yield line, row
            line = reader.line_num + 1
    except csv.Error as fault:
        hint = "is a quote left open? `quoting: false` takes quotes as text"
        raise DataError(f"{path}: line {line}: {fault}; {hint}") from None
