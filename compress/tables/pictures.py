"""Pictures of a table: where the bytes of each are, and a digest of what they are. None is opened as a picture here.

A table comes from elsewhere, so a path in it may lead to files of its own folder alone: not up, not to an absolute
place, not through a link that goes out.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from compress.errors import DataError
from compress.tables.columns import Columns, shown

Picture = Path | bytes


def pictures_of(read: Columns) -> tuple[list[Picture | None], np.ndarray]:
    """Each row's picture as its file or its bytes, and bool (rows,): False where it is missing.

    A value is a path relative to the table, bytes, or what the data set library writes: an object of bytes and path.

    Raises:
        DataError: a value that is no picture, an empty one, a file that is not there or lies outside of the folder.
    """
    pictures = [_picture(read, row, value) for row, value in enumerate(read.values["image"])]
    return pictures, np.array([picture is not None for picture in pictures], dtype=bool)


def digest_of(picture: Picture) -> str:
    """`sha256:...` over a picture's bytes.

    Raises:
        DataError: its file can't be read.
    """
    if isinstance(picture, bytes):
        return f"sha256:{hashlib.sha256(picture).hexdigest()}"
    try:
        with picture.open("rb") as opened:
            return f"sha256:{hashlib.file_digest(opened, 'sha256').hexdigest()}"
    except OSError as fault:
        raise DataError(f"{picture}: can't be read ({fault.strerror})") from None


def _picture(read: Columns, row: int, value: Any) -> Picture | None:
    if isinstance(value, dict) and value.keys() <= {"bytes", "path"}:
        value = value.get("bytes") if value.get("bytes") is not None else value.get("path")
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str):
        value = _inside(read, row, value)
    if not isinstance(value, bytes | Path):
        raise DataError(f"{read.where(row)}: image is {shown(value)}, wanted a path or a picture's bytes")
    if not _size_bytes(read, row, value):
        raise DataError(f"{read.where(row)}: image is empty, wanted a picture")
    return value


def _size_bytes(read: Columns, row: int, picture: Picture) -> int:
    if isinstance(picture, bytes):
        return len(picture)
    try:
        return picture.stat().st_size
    except OSError as fault:
        raise DataError(f"{read.where(row)}: image {picture} can't be read ({fault.strerror})") from None


def _inside(read: Columns, row: int, name: str) -> Path:
    """The file that a relative path means."""
    given = f"{read.where(row)}: image is {shown(name)}"
    if read.folder is None:
        raise DataError(f"{given}, a path, wanted the picture itself: a data set of the hub has no folder here")
    path = PurePosixPath(name)
    if path.is_absolute() or PureWindowsPath(name).anchor or ".." in path.parts or "\\" in name or "\0" in name:
        raise DataError(f"{given}, wanted a path that is relative to the table's folder and stays in it")
    try:
        file = (read.folder / path).resolve(strict=True)
        outside = not file.is_relative_to(read.folder.resolve())
    except FileNotFoundError:
        raise DataError(f"{given}, which is not there; paths are relative to the table's folder") from None
    except (OSError, RuntimeError) as fault:  # too long a name, a ring of links
        reason = fault.strerror if isinstance(fault, OSError) else "its links go in a ring"
        raise DataError(f"{given}, which can't be read ({reason})") from None
    if outside:
        raise DataError(f"{given}, a link out of the table's folder; links are followed within it alone")
    if not file.is_file():
        raise DataError(f"{given}, which is no plain file")
    return read.folder / path
