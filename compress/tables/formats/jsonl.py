"""JSON lines: one object of named columns a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from compress.errors import DataError
from compress.tables.columns import Columns, Wanted, shown
from compress.tables.formats.decoding import decoded, lines


def read(path: Path, wanted: Wanted, *, encoding: str) -> Columns:
    """The wanted columns. A row that has no label at all has a null one: many writers leave out what is null.

    Raises:
        DataError: see `decoded`; or a line that is no JSON object, or lacks a column that is wanted.
    """
    rows: list[dict[str, Any]] = []
    numbers: list[int] = []
    for line, content in enumerate(lines(decoded(path, encoding)), start=1):
        if content and not content.isspace():
            rows.append(_object(path, line, content))
            numbers.append(line)
    if not rows:
        raise DataError(f"{path}: the file is empty")
    names = wanted.names(path, list(dict.fromkeys(name for row in rows for name in row)))
    for line, row in zip(numbers, rows, strict=True):
        if missing := [name for role, name in names.items() if name not in row and role != "label"]:
            raise DataError(f"{path}: line {line} has no {missing[0]}, wanted it in every line")
    values = {role: [row.get(name) for row in rows] for role, name in names.items()}
    return Columns(str(path), values, numbers, folder=path.parent)


def _object(path: Path, line: int, content: str) -> dict[str, Any]:
    try:
        row = json.loads(content)
    except json.JSONDecodeError as fault:
        raise DataError(f"{path}: line {line} is not JSON ({fault.msg}, column {fault.colno})") from None
    except RecursionError:
        raise DataError(f"{path}: line {line} is nested too deeply, wanted an object of named columns") from None
    except ValueError:  # Python refuses to read a number of thousands of digits: it would take quadratic time
        raise DataError(f"{path}: line {line} holds a number of too many digits") from None
    if not isinstance(row, dict):
        raise DataError(f"{path}: line {line} holds {shown(row)}, wanted an object of named columns")
    return row
