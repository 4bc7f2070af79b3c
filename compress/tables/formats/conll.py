"""CoNLL: one word a line with its columns, an empty line between sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from compress.errors import DataError
from compress.tables.columns import Columns, Wanted
from compress.tables.formats.decoding import decoded, lines

_DOCUMENT_MARK = "-DOCSTART-"

Line = tuple[int, list[str]]


def read(path: Path, wanted: Wanted, *, encoding: str) -> Columns:
    """One row a sentence, each value a list of one cell a word. Left out, `columns` is the first and the last one.

    Columns are separated by tabs if the file has any, else by white space. Lines that mark a document's start, and in
    a file with tabs comments, are passed over.

    Raises:
        DataError: see `decoded`; or lines of different widths, or a wanted column that is not there.
    """
    sentences = list(_sentences(path, decoded(path, encoding)))
    if not sentences:
        raise DataError(f"{path}: holds no word")
    width = len(sentences[0][0][1])
    if wanted.columns is None and wanted.modality == "text":
        usual = {"text": 0} if width == 1 else {"text": 0, "label": width - 1}
        wanted = replace(wanted, columns=usual)
    positions = wanted.positions(path, [], width)
    values: dict[str, list[Any]] = {
        role: [[cells[position] for _, cells in sentence] for sentence in sentences]
        for role, position in positions.items()
    }
    return Columns(str(path), values, [sentence[0][0] for sentence in sentences])


def _sentences(path: Path, text: str) -> Iterator[list[Line]]:
    sentence: list[Line] = []
    width = first = 0
    tabs = "\t" in text
    for number, line in enumerate([*lines(text), ""], start=1):
        cells = line.split("\t") if tabs else re.findall(r"[^ ]+", line)
        if not line.strip():
            if sentence:
                yield sentence
            sentence = []
        elif cells[0].startswith(_DOCUMENT_MARK) or (tabs and line.startswith("#") and "\t" not in line):
            continue
        else:
            width, first = width or len(cells), first or number
            if len(cells) != width:
                hint = f"wanted {width} as in line {first}"
                raise DataError(f"{path}: line {number} has {len(cells)} columns, {hint}")
            sentence.append((number, cells))
