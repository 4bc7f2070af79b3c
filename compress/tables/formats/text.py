"""Plain text: one text a line, and nothing else."""

from __future__ import annotations

from pathlib import Path

from compress.errors import DataError
from compress.tables.columns import Columns, Wanted
from compress.tables.formats.decoding import decoded, lines


def read(path: Path, wanted: Wanted, *, encoding: str) -> Columns:
    """Every line, empty ones too.

    Raises:
        DataError: see `decoded`; or another column is wanted.
    """
    if wanted.modality != "text":
        raise DataError(f"{path}: a text file holds texts, but the task reads pictures")
    labelled = wanted.label is not None and wanted.target is not None
    if wanted.columns not in (None, {"text": 0}) or labelled:
        raise DataError(f"{path}: a text file has one text a line, no other column and no label; is it a tsv file?")
    texts = lines(decoded(path, encoding))
    return Columns(str(path), {"text": texts}, range(1, len(texts) + 1))
