"""How a table is written: the recipe's `format` key, and `read_columns`, which hands a file to its reader."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from compress.errors import DataError
from compress.settings import Settings
from compress.sources import HubSource, Sources, parse
from compress.tables.columns import Columns, Wanted
from compress.tables.formats import conll, delimited, hub, images, jsonl, parquet, text

Kind = Literal["tsv", "csv", "jsonl", "parquet", "text", "conll", "images", "hub"]

KIND_OF_SUFFIX: Mapping[str, Kind] = {
    ".tsv": "tsv",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".txt": "text",
    ".conll": "conll",
}

NAMED: tuple[Kind, ...] = ("jsonl", "parquet", "hub")
"""Kinds whose columns always have names."""

_KINDS_WITH = {
    "header": ("tsv", "csv"),
    "quoting": ("tsv", "csv"),
    "encoding": ("tsv", "csv", "jsonl", "text", "conll"),
    "split": ("hub",),
}


class FormatSettings(Settings):
    """How a table is written. What is left out follows from the file's suffix."""

    kind: Kind | None = Field(
        None,
        description="left out: from the file's suffix, hub for a hub: source, images for a folder; conll: a word a "
        "line, an empty line between sentences; images: a folder of pictures with one sub-folder a class",
    )
    header: bool = Field(True, description="tsv, csv: the first line names the columns")
    encoding: str = Field("utf-8", description="tsv, csv, jsonl, text, conll; a byte-order mark wins over it")
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
            "".encode(value)  # refuses codecs between bytes and bytes, and Python's own that takes nothing
            known = codecs.lookup(value).name not in ("idna", "punycode")  # of host names, not of texts
        except (LookupError, ValueError):
            known = False
        if not known:
            text = "unknown encoding {value}; wanted one such as utf-8"
            raise PydanticCustomError("encoding", text, {"value": value})
        return value


def read_columns(source: str, described: FormatSettings, wanted: Wanted, sources: Sources) -> Columns:
    """The columns of a source that have a role.

    Args:
        source: one source, as the recipe writes it.
        described: the source's format.
        wanted: which columns.
        sources: fetches the source.

    Raises:
        SourceError: the source can't be had.
        DataError: the file is not of this format, or lacks a column.
    """
    parsed = parse(source)
    if isinstance(parsed, HubSource):
        if described.kind not in (None, "hub"):
            raise DataError(f"{source}: a hub: source is read as kind hub, the format says {described.kind}")
        return hub.read(source, parsed, described.split, wanted)
    path = sources.fetch(source).path
    kind = described.kind or KIND_OF_SUFFIX.get(path.suffix.lower())
    if kind == "images" or (kind is None and wanted.modality == "image" and path.is_dir()):
        return images.read(path, wanted)
    if path.is_dir():
        raise DataError(f"{path}: is a folder, wanted a file of the kind that `format` or its suffix says")
    if kind is None or kind == "hub":
        known = ", ".join(KIND_OF_SUFFIX)
        raise DataError(f"{path}: can't tell the kind of this file; give format: {{kind: ...}}, or a suffix of {known}")
    return _read_file(path, kind, described, wanted)


def _read_file(path: Path, kind: Kind, described: FormatSettings, wanted: Wanted) -> Columns:
    if kind == "parquet":
        return parquet.read(path, wanted)
    if kind == "jsonl":
        return jsonl.read(path, wanted, encoding=described.encoding)
    if kind == "text":
        return text.read(path, wanted, encoding=described.encoding)
    if kind == "conll":
        return conll.read(path, wanted, encoding=described.encoding)
    return delimited.read(
        path,
        wanted,
        encoding=described.encoding,
        delimiter="\t" if kind == "tsv" else ",",
        header=described.header,
        quoting=kind == "csv" if described.quoting is None else described.quoting,
    )
