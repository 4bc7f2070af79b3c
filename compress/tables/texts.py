"""Texts of a table: words joined, rows without a text found, and what no text may hold refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from compress.errors import DataError
from compress.tables.columns import Columns, shown

MAX_CHARACTERS = 1_000_000
"""A longer text is a file whose line ends were lost; a tokenizer would choke on it."""

_WORD_BREAKS = " \t\n\r\v\f"


def texts_of(read: Columns, *, words: bool) -> tuple[dict[str, list[str]], np.ndarray]:
    """The texts of the roles `text` and `text_pair`, and bool (rows,): False where one of a row's is missing or blank.

    A list of words becomes a text with single spaces between them.

    Args:
        read: a table's columns.
        words: the first texts are words: white space between them becomes single spaces, so that they can be split.

    Raises:
        DataError: a value that is no text, half a character, a NUL, or a word that is none.
    """
    texts: dict[str, list[str]] = {
        role: [_text(read, row, role, value) for row, value in enumerate(read.values[role])]
        for role in ("text", "text_pair")
        if role in read.values
    }
    if words:
        given = zip(texts["text"], read.values["text"], strict=True)
        texts["text"] = [text if isinstance(value, list) else " ".join(text.split()) for text, value in given]
    rows = zip(*texts.values(), strict=True)
    there = [all(text and not text.isspace() for text in row) for row in rows]
    return texts, np.array(there, dtype=bool)


def _text(read: Columns, row: int, role: str, value: Any) -> str:
    """One value as a text, empty where it is missing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, list):
        value = _joined(read, row, role, value)
    if not isinstance(value, str):
        raise DataError(f"{read.where(row)}: {role} is {shown(value)}, wanted text; is it the right column?")
    if len(value) > MAX_CHARACTERS:
        limit = f"{MAX_CHARACTERS:,} at most; are line ends missing?"
        raise DataError(f"{read.where(row)}: {role} has {len(value):,} characters, wanted {limit}")
    if "\0" in value:
        raise DataError(f"{read.where(row)}: {role} holds a NUL character, which no text has")
    if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise DataError(f"{read.where(row)}: {role} holds half a surrogate pair, which is no character")
    return value


def _joined(read: Columns, row: int, role: str, words: list[Any]) -> str:
    for position, word in enumerate(words):
        if not isinstance(word, str) or not word or any(letter in word for letter in _WORD_BREAKS):
            wanted = "wanted words without white space in them"
            raise DataError(f"{read.where(row)}: {role} has {shown(word)} as word {position + 1}, {wanted}")
    return " ".join(words)
