"""JSON files of somebody else's: what they hold, and which files of their folder they may name."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

from compress.errors import ModelError


def json_object(file: Path, hint: str = "was the folder copied whole?") -> dict[str, Any]:
    """The JSON object that a file of somebody else's holds.

    Raises:
        ModelError: no such file, not UTF-8, not JSON, nested too deep, a number too long, or no object.
    """
    document = _json(file, hint)
    if not isinstance(document, dict):
        raise ModelError(f"{file}: holds a {type(document).__name__}, wanted a JSON object")
    return document


def json_list(file: Path, hint: str = "was the folder copied whole?") -> list[dict[str, Any]]:
    """The list of JSON objects that a file of somebody else's holds.

    Raises:
        ModelError: as `json_object`; or no list, or an entry of it that is no object.
    """
    document = _json(file, hint)
    if not isinstance(document, list):
        raise ModelError(f"{file}: holds a {type(document).__name__}, wanted a list of JSON objects")
    for place, entry in enumerate(document):
        if not isinstance(entry, dict):
            raise ModelError(f"{file}: entry {place} is a {type(entry).__name__}, wanted a JSON object")
    return document


def within(folder: Path, name: str) -> Path:
    """What a document of somebody else's means by `name`: a file or folder in `folder`, which need not be there.

    Raises:
        ValueError: the name leads out of the folder, by itself or through a link.
    """
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or "\0" in name:
        raise ValueError("wanted a path inside the same folder")
    try:
        place = folder.resolve().joinpath(*path.parts)
        plain = place.resolve() == place
    except (OSError, RuntimeError):  # links that lead to each other
        plain = False
    if not plain:
        raise ValueError("a link; wanted what it leads to, copied there")
    return place


def _json(file: Path, hint: str) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ModelError(f"{file}: no such file; {hint}") from None
    except (OSError, ValueError, RecursionError) as fault:
        raise ModelError(f"{file}: not readable as JSON: {fault}") from None
