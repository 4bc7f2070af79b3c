"""A file's bytes as text, and a text's lines: what the formats that people can read by eye have in common."""

from __future__ import annotations

import codecs
from pathlib import Path

from compress.errors import DataError

_MARKS = (  # UTF-32 first: its little-endian mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def decoded(path: Path, encoding: str) -> str:
    """What a file says, without its byte-order mark. Such a mark settles the encoding, whatever `encoding` is.

    Raises:
        DataError: the file is empty, is not readable, is not of this encoding, or holds a NUL.
    """
    try:
        content = path.read_bytes()
    except OSError as fault:
        raise DataError(f"{path}: can't be read ({fault.strerror})") from None
    for mark, name in _MARKS:
        if content.startswith(mark):
            content, encoding = content[len(mark) :], name
            break
    if not content:
        raise DataError(f"{path}: the file is empty")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as fault:
        line = content[: fault.start].decode(encoding, errors="replace").count("\n") + 1
        byte = f"byte 0x{content[fault.start]:02x} is not {encoding}"
        raise DataError(f"{path}: line {line}: {byte}; give format: {{encoding: ...}}") from None
    if (place := text.find("\0")) >= 0:
        line = text.count("\n", 0, place) + 1
        hint = "is it binary, or UTF-16 without a mark (format: {encoding: utf-16-le})?"
        raise DataError(f"{path}: line {line} holds a NUL character; {hint}")
    return text


def lines(text: str) -> list[str]:
    """Lines without their ends, which may be LF or CRLF, mixed; CR where a file has no LF at all.

    Not `splitlines`: a text may hold other separators that it would break at.
    """
    if "\n" not in text and "\r" in text:
        text = text.replace("\r", "\n")
    found = [line.removesuffix("\r") for line in text.split("\n")]
    return found if found[-1] else found[:-1]
