"""Parquet files. Class names that the hub's data set library has left in one are read too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compress.errors import DataError
from compress.tables.columns import Columns, Wanted


def read(path: Path, wanted: Wanted) -> Columns:
    """The wanted columns; the others are not read.

    Raises:
        DataError: not a whole Parquet file, or a column that is wanted is not there.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            names = wanted.names(path, schema.names)
            read = file.read(columns=sorted(set(names.values())))
            values = {role: read.column(name).to_pylist() for role, name in names.items()}
    # Beside its own errors, the library lets those of conversions through: text that is no UTF-8, dates out of range.
    except (pyarrow.ArrowException, OSError, ValueError, LookupError, OverflowError, NotImplementedError) as fault:
        reason = (str(fault).splitlines() or [type(fault).__name__])[0]
        raise DataError(f"{path}: not a readable parquet file ({reason[:200]})") from None
    class_names = _class_names(schema.metadata, names["label"]) if "label" in names else None
    return Columns(str(path), values, range(1, read.num_rows + 1), class_names, unit="row", folder=path.parent)


def _class_names(metadata: Mapping[bytes, bytes] | None, column: str) -> tuple[str, ...] | None:
    """The names in the note that the data set library writes; None where there is none, or it is not understood."""
    try:
        feature: Any = json.loads((metadata or {})[b"huggingface"])["info"]["features"][column]
        while "names" not in feature:
            feature = feature[0] if isinstance(feature, list) else feature["feature"]
        found = feature["names"]
    except (LookupError, TypeError, ValueError, RecursionError):
        return None
    readable = isinstance(found, list) and found and all(isinstance(name, str) for name in found)
    return tuple(found) if readable and len(set(found)) == len(found) else None
