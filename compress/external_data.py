"""The weights that an ONNX file keeps in other files: which those are, and that they lie in its own folder.

An ONNX file of somebody else's could name any file of this machine, whose content would then come out in a result.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.documents import within
from compress.errors import ExportError

if TYPE_CHECKING:
    import onnx


def external_files(file: Path) -> tuple[Path, ...]:
    """The files beside an ONNX file, or below it, that its weights are kept in, in alphabetical order.

    Raises:
        ExportError: no readable ONNX file, or as `check_external_data`.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        proto = onnx.load(file, load_external_data=False)
    except (OSError, DecodeError) as fault:
        raise ExportError(f"{file}: not a readable ONNX file: {fault}") from None
    return check_external_data(file, proto)


def check_external_data(file: Path, proto: onnx.ModelProto) -> tuple[Path, ...]:
    """See that the weights which an ONNX file keeps elsewhere lie in its folder; nothing of them is opened.

    Args:
        file: the ONNX file.
        proto: what it holds, read without its external data.

    Returns:
        The files that hold them, in alphabetical order.

    Raises:
        ExportError: a name that leads out of the folder, by itself or through a link; no plain file; or a part of it
            that it does not have.
    """
    found = set()
    for name, place in _external(proto):
        location = place.get("location", "")
        try:
            data = within(file.parent, location)
        except ValueError as fault:
            raise ExportError(f"{file}: {name} is kept in {location!r}, {fault}") from None
        if not os.path.isfile(data):  # Path.is_file raises where a name is too long
            raise ExportError(f"{file}: {name} is kept in {location!r}, which is not there; was it copied along?")
        offset, length = (_count(place, key, f"{file}: {name}") for key in ("offset", "length"))
        if offset + length > data.stat().st_size:
            raise ExportError(f"{file}: {name} ends beyond {location!r}; was that file cut short?")
        found.add(data)
    return tuple(sorted(found))


def _external(proto: onnx.ModelProto) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Name, and what is said of its place, of every tensor that is kept outside the file, wherever in it it stands."""
    import onnx
    from google.protobuf.message import Message

    waiting: list[Any] = [proto]
    while waiting:
        here = waiting.pop()
        if isinstance(here, onnx.TensorProto):
            if here.data_location == onnx.TensorProto.EXTERNAL or here.external_data:
                yield here.name or "a tensor", {entry.key: entry.value for entry in here.external_data}
            continue
        for field, value in here.ListFields():
            if field.message_type is not None:
                waiting += [value] if isinstance(value, Message) else list(value)


def _count(place: Mapping[str, str], key: str, what: str) -> int:
    text = place.get(key, "0")
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise ExportError(f"{what}: its {key} is {text[:40]!r}, wanted a number of bytes")
    return int(text)
