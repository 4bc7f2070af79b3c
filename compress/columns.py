"""Read the wanted columns of a file, whatever its format: the recipe's `format` key, and `read_columns`.

Nothing is made of the values here. Each keeps its line, so that whoever finds a fault in one can say where it stands.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from compress.catalog import closest
from compress.errors import DataError, SourceError
from compress.settings import Settings
from compress.sources import HubSource, Sources, hub_fault, parse

Kind = Literal["tsv", "csv", "jsonl", "parquet", "text", "hub"]

KIND_OF_SUFFIX: Mapping[str, Kind] = {
    ".tsv": "tsv",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".txt": "text",
}

USUAL_NAMES: Mapping[str, tuple[str, ...]] = {
    "text": ("text", "sentence", "sentence1", "question", "question1", "premise", "query", "content"),
    "text_pair": ("text_pair", "sentence2", "question2", "hypothesis"),
    "label": ("label",),
}
"""Column names that are understood when `columns` is left out; the first that a table has is taken."""

_KINDS_WITH = {
    "header": ("tsv", "csv"),
    "quoting": ("tsv", "csv"),
    "encoding": ("tsv", "csv", "jsonl", "text"),
    "split": ("hub",),
}


class FormatSettings(Settings):
    """How a table is written. What is left out follows from the file's suffix."""

    kind: Kind | None = Field(None, description="left out: from the file's suffix, or hub for a hub: source")
    header: bool = Field(True, description="tsv, csv: the first line names the columns")
    encoding: str = Field("utf-8", description="tsv, csv, jsonl, text; a byte-order mark is skipped")
    quoting: bool | None = Field(None, description='tsv, csv: cells may stand in "quotes"; left out: csv yes, tsv no')
    split: str = Field("train", description="hub: which of the data set's own splits")

    @field_validator("header", "encoding", "quoting", "split")
    @classmethod
    def _belongs_to_the_kind(cls, value: Any, info: ValidationInfo) -> Any:
        name, kind = info.field_name or "", info.data.get("kind")
        meant = value != cls.model_fields[name].default  # a recipe with every default spelled out says nothing by it
        if meant and kind is not None and kind not in _KINDS_WITH[name]:
            raise PydanticCustomError("not_of_kind", "a {kind} table has no such key", {"kind": kind})
        return value

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, value: str) -> str:
        try:
            "".encode(value)
        except LookupError:
            text = "unknown encoding {value}; wanted one such as utf-8"
            raise PydanticCustomError("encoding", text, {"value": value}) from None
        return value


def _column(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int) or (isinstance(value, int) and value < 0):
        raise PydanticCustomError("column", "wanted a column's name, or its position counted from 0")
    return value


Column = Annotated[str | int, BeforeValidator(_column)]
"""A column by its name, or by its position counted from 0."""


@dataclass(frozen=True)
class Columns:
    """The wanted columns of a file, by role.

    Attributes:
        place: what errors call the file.
        values: role -> one value a row.
        lines: where each row stands in the file, counted from 1; a row number where a file has no lines.
        class_names: names that the file itself gives to its integer labels.
    """

    place: str
    values: dict[str, list[Any]]
    lines: Sequence[int]
    class_names: tuple[str, ...] | None = None

    def where(self, row: int) -> str:
        return f"{self.place}: line {self.lines[row]}"


def read_columns(
    source: str,
    described: FormatSettings,
    columns: Mapping[str, str | int] | None,
    sources: Sources,
    *,
    label: str | int | None = None,
) -> Columns:
    """The columns that have a role.

    Args:
        source: one source, as the recipe writes it.
        described: the file's format.
        columns: role -> column. None: whatever `USUAL_NAMES` finds.
        sources: fetches the source.
        label: the role or column that becomes the role `label`, where `columns` does not name it.

    Raises:
        SourceError: the source can't be had.
        DataError: the file is not of this format, or lacks a column.
    """
    wanted = _Wanted(columns, label)
    parsed = parse(source)
    if isinstance(parsed, HubSource):
        if described.kind not in (None, "hub"):
            raise DataError(f"{source}: a hub: source is read as kind hub, the format says {described.kind}")
        return _from_hub(source, parsed, described.split, wanted)
    path = sources.fetch(source).path
    kind = described.kind or KIND_OF_SUFFIX.get(path.suffix.lower())
    if kind is None or kind == "hub":
        known = ", ".join(KIND_OF_SUFFIX)
        raise DataError(f"{path}: can't tell the kind of this file; give format: {{kind: ...}}, or a suffix of {known}")
    if path.is_dir():
        raise DataError(f"{path}: is a folder, wanted a {kind} file")
    if kind == "parquet":
        return _from_parquet(path, wanted)
    text = _decoded(path, described.encoding)
    if kind == "text":
        return _from_text(path, text, wanted)
    if kind == "jsonl":
        return _from_jsonl(path, text, wanted)
    quoting = described.quoting if described.quoting is not None else kind == "csv"
    delimiter = "\t" if kind == "tsv" else ","
    rows = _quoted_rows(path, text, delimiter) if quoting else _plain_rows(text, delimiter)
    return _from_rows(path, rows, described.header, wanted)


def shown(value: Any) -> str:
    """A value as an error shows it: short, with its quotes."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


# One function for each format


def _from_text(path: Path, text: str, wanted: _Wanted) -> Columns:
    if wanted.columns not in (None, {"text": 0}) or wanted.label is not None:
        raise DataError(f"{path}: a text file has one text a line, no other column and no label; is it a tsv file?")
    lines = _lines(text)
    return Columns(str(path), {"text": lines}, range(1, len(lines) + 1))


def _from_rows(path: Path, rows: Iterator[tuple[int, list[str]]], has_header: bool, wanted: _Wanted) -> Columns:
    first = next(rows, None)
    if first is None:
        raise DataError(f"{path}: the file is empty")
    width = len(first[1])
    positions = wanted.positions(path, first[1] if has_header else [], width)
    values: dict[str, list[Any]] = {role: [] for role in positions}
    lines: list[int] = []
    for line, row in rows if has_header else chain([first], rows):
        if len(row) != width:
            hint = "is the separator in a text, or `quoting` wrong?"
            raise DataError(f"{path}: line {line} has {len(row)} columns, wanted {width} as in line {first[0]}; {hint}")
        lines.append(line)
        for role, position in positions.items():
            values[role].append(row[position])
    return Columns(str(path), values, lines)


def _plain_rows(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    return ((line, row.split(delimiter)) for line, row in enumerate(_lines(text), start=1) if row)


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


def _from_jsonl(path: Path, text: str, wanted: _Wanted) -> Columns:
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    for line, content in enumerate(_lines(text), start=1):
        if not content or content.isspace():
            continue
        try:
            row = json.loads(content)
        except json.JSONDecodeError as fault:
            raise DataError(f"{path}: line {line} is not JSON ({fault.msg}, column {fault.colno})") from None
        if not isinstance(row, dict):
            raise DataError(f"{path}: line {line} holds {shown(row)}, wanted an object of named columns")
        rows.append(row)
        lines.append(line)
    if not rows:
        raise DataError(f"{path}: the file is empty")
    names = wanted.names(path, list(rows[0]))
    for line, row in zip(lines, rows, strict=True):
        if missing := [name for name in names.values() if name not in row]:
            raise DataError(f"{path}: line {line} has no {missing[0]}, wanted the columns that line {lines[0]} has")
    return Columns(str(path), {role: [row[name] for row in rows] for role, name in names.items()}, lines)


def _from_parquet(path: Path, wanted: _Wanted) -> Columns:
    import pyarrow
    from pyarrow import parquet

    try:
        names = wanted.names(path, parquet.read_schema(path).names)
        read = parquet.read_table(path, columns=sorted(set(names.values())))
    except (pyarrow.ArrowException, OSError) as fault:
        raise DataError(f"{path}: not a readable parquet file ({str(fault).splitlines()[0]})") from None
    values = {role: read.column(name).to_pylist() for role, name in names.items()}
    return Columns(str(path), values, range(1, read.num_rows + 1))


def _from_hub(source: str, repository: HubSource, split: str, wanted: _Wanted) -> Columns:
    import datasets

    try:
        read = datasets.load_dataset(
            repository.repository, repository.config, revision=repository.revision, split=split
        )
    except Exception as fault:  # the client's errors share no class, and its HTTP library's differ between versions
        raise SourceError(f"{source}: {hub_fault(fault)}") from None
    names = wanted.names(source, read.column_names)
    classes = read.features[names["label"]] if "label" in names else None
    class_names = tuple(classes.names) if isinstance(classes, datasets.ClassLabel) else None
    values = {role: list(read[name]) for role, name in names.items()}
    return Columns(source, values, range(1, read.num_rows + 1), class_names)


def _decoded(path: Path, encoding: str) -> str:
    content = path.read_bytes()
    try:
        return content.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as fault:
        line = content[: fault.start].count(b"\n") + 1
        byte = f"byte 0x{content[fault.start]:02x} is not {encoding}"
        raise DataError(f"{path}: line {line}: {byte}; give format: {{encoding: ...}}") from None


def _lines(text: str) -> list[str]:
    """Lines without their ends. Not `splitlines`: a text may hold other separators that it would break at."""
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines if lines[-1] else lines[:-1]


# Which columns


@dataclass(frozen=True)
class _Wanted:
    """What the recipe says of columns, to be matched with those that a file has."""

    columns: Mapping[str, str | int] | None
    label: str | int | None

    def positions(self, path: Path, names: list[str], width: int) -> dict[str, int]:
        """Role -> position, in a file of `width` columns whose names, if it has any, are `names`."""
        positions = {}
        for role, column in self._roles(path, names).items():
            if isinstance(column, int) and column >= width:
                raise DataError(f"{path}: {role} is column {column}, but there are {width} (the first is 0)")
            positions[role] = column if isinstance(column, int) else names.index(_known(path, column, names))
        return positions

    def names(self, path: Path | str, names: list[str]) -> dict[str, str]:
        """Role -> name, in a file whose columns always have names."""
        return {role: _known(path, column, names) for role, column in self._roles(path, names).items()}

    def _roles(self, path: Path | str, names: list[str]) -> dict[str, str | int]:
        roles = dict(self.columns) if self.columns is not None else _usual_roles(path, names)
        if self.label is not None:
            roles["label"] = roles.get(self.label, self.label) if isinstance(self.label, str) else self.label
        return roles


def _usual_roles(path: Path | str, names: list[str]) -> dict[str, str | int]:
    roles: dict[str, str | int] = {}
    for role, usual in USUAL_NAMES.items():
        roles.update([(role, name) for name in usual if name in names][:1])
    if "text" not in roles:
        have = ", ".join(names) or "none"
        raise DataError(f"{path}: no column has a usual name for texts; give columns: {{text: ...}}; columns: {have}")
    return roles


def _known(path: Path | str, column: str | int, names: list[str]) -> str:
    if names.count(str(column)) != 1:
        problem = "two columns" if column in names else "no column"
        have = ", ".join(names) or "none; a table without a header has its columns by position"
        raise DataError(f"{path}: has {problem} called {column}; columns: {have}{closest(str(column), names)}")
    return str(column)
