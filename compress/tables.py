"""Tables of texts and labels, whatever file they come in: the recipe's table settings, and `read_table`.

A column has a *role*: `text`, `text_pair`, or any name that `label` refers to. Labels become class indices; class names
are kept. A fault in a table is reported with its line.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from compress.catalog import closest
from compress.columns import Column, Columns, FormatSettings, read_columns, shown
from compress.errors import DataError
from compress.settings import Settings
from compress.sources import SourceField, Sources


def _distinct(value: Any) -> Any:
    if isinstance(value, list | tuple) and len({str(name) for name in value}) < len(value):
        raise PydanticCustomError("names", "a class name stands here twice")
    return value


class SignLabel(Settings):
    """Two classes by the sign of a score. Rows whose score is exactly zero are dropped."""

    sign_of: str = Field(description="the role of the column that holds the score")
    names: Annotated[tuple[str, str], BeforeValidator(_distinct)] = Field(
        ("negative", "positive"), description="name of the class below zero, and of the one above"
    )


class ColumnLabel(Settings):
    """Classes that a column holds: by name, or as integers that index `names`."""

    column: Column = Field(description="a role, or else a column")
    names: Annotated[tuple[str, ...] | None, BeforeValidator(_distinct)] = Field(
        None, description="in order of index; left out: the sorted values", min_length=2
    )


def _label_of(value: Any) -> Any:
    """Choose by the key that is there, so that faults are located in the label, not in a union's branches."""
    if isinstance(value, SignLabel | ColumnLabel) or value is None:
        return value
    if not isinstance(value, dict):
        raise PydanticCustomError("label", "wanted {sign_of: ROLE} or {column: COLUMN}")
    return SignLabel.model_validate(value) if "sign_of" in value else ColumnLabel.model_validate(value)


class TableSettings(Settings):
    """A table of texts, with or without labels."""

    source: SourceField = Field(description="path, hub:... or pip:...; a list is tried in order")
    format: FormatSettings = Field(default_factory=FormatSettings)
    columns: dict[str, Column] | None = Field(
        None, description="role -> column, by name or (without a header) by position; left out: the usual names"
    )
    label: Annotated[SignLabel | ColumnLabel | None, BeforeValidator(_label_of)] = Field(
        None,
        description="left out: the column of role `label`, or the column called label if `columns` is left out too",
    )

    @field_validator("columns")
    @classmethod
    def _columns_fit_the_format(
        cls, value: dict[str, str | int] | None, info: ValidationInfo
    ) -> dict[str, str | int] | None:
        described = info.data.get("format", FormatSettings())
        by_name = described.kind in ("jsonl", "parquet", "hub")
        faults = []
        if value is not None and "text" not in value:
            faults.append(_fault("no column has the role text", (), value))
        for role, column in (value or {}).items():
            if isinstance(column, str) and not described.header:
                faults.append(_fault("a table without a header has its columns by position", (role,), column))
            if isinstance(column, int) and by_name:
                faults.append(_fault(f"a {described.kind} table has its columns by name", (role,), column))
        if faults:
            raise ValidationError.from_exception_data("columns", faults)
        return value

    @field_validator("label")
    @classmethod
    def _sign_of_a_role(
        cls, value: SignLabel | ColumnLabel | None, info: ValidationInfo
    ) -> SignLabel | ColumnLabel | None:
        columns = info.data.get("columns")
        if isinstance(value, SignLabel) and "columns" in info.data and value.sign_of not in (columns or {}):
            roles = ", ".join(columns or {}) or "none"
            text = f"no column has the role {value.sign_of}; columns gives: {roles}"
            raise ValidationError.from_exception_data("label", [_fault(text, ("sign_of",), value.sign_of)])
        return value


def _fault(text: str, place: tuple[str, ...], value: Any) -> InitErrorDetails:
    return InitErrorDetails(type=PydanticCustomError("table", "{text}", {"text": text}), loc=place, input=value)


@dataclass(frozen=True, eq=False)
class Table:
    """A table's rows, in the file's order.

    Attributes:
        texts: one text a row; none is empty.
        pairs: the second text of each row, where there are two.
        labels: int64 (rows,), indices into `label_names`; None where there are no labels.
        label_names: class names, in order of index.
        dropped: why rows were left out, and how many.
        source: the source that the table came from, of those that the settings list.
        digest: `sha256:...` over texts, pairs, labels and names.
    """

    texts: list[str]
    pairs: list[str] | None
    labels: np.ndarray | None
    label_names: tuple[str, ...]
    dropped: dict[str, int]
    source: str
    digest: str

    def __len__(self) -> int:
        return len(self.texts)


def read_table(settings: TableSettings, sources: Sources, *, label_names: tuple[str, ...] | None = None) -> Table:
    """Read a table.

    Args:
        settings: what the recipe says of it.
        sources: fetches its source.
        label_names: class names that another table, the one trained on, has settled. None: this table's own.

    Raises:
        SourceError: no source can be had.
        DataError: the file is not what the settings say, or has no row left.
    """
    return sources.first(settings.source, lambda source: _read_from(source, settings, sources, label_names))


def rows_digest(
    texts: Sequence[str], pairs: Sequence[str] | None, labels: np.ndarray | None, label_names: Sequence[str]
) -> str:
    """`sha256:...` over rows. Every text goes in behind its length, so that no two contents read alike."""
    total = hashlib.sha256()
    for strings in (texts, pairs or (), label_names):
        total.update(len(strings).to_bytes(8, "little"))
        for string in strings:
            encoded = string.encode()
            total.update(len(encoded).to_bytes(8, "little"))
            total.update(encoded)
    if labels is not None:
        total.update(labels.astype("<i8").tobytes())
    return f"sha256:{total.hexdigest()}"


def _read_from(source: str, settings: TableSettings, sources: Sources, settled: tuple[str, ...] | None) -> Table:
    label = settings.label
    column = label.column if isinstance(label, ColumnLabel) else None
    read = read_columns(source, settings.format, settings.columns, sources, label=column)
    dropped: dict[str, int] = {}
    read = _keep(read, _with_text(read), "empty text", dropped)
    names: tuple[str, ...] = ()
    labels = None
    if isinstance(label, SignLabel):
        scores = _scores(read, label.sign_of)
        read = _keep(read, scores != 0, "score of zero", dropped)
        signs = (scores[scores != 0] > 0).astype(np.int64)
        labels, names = _in_order(read, signs, label.names, settled)
    elif "label" in read.values:
        own = (label and label.names) or read.class_names
        labels, names = _class_labels(read, own, settled)
    texts, pairs = read.values["text"], read.values.get("text_pair")
    return Table(texts, pairs, labels, names, dropped, source, rows_digest(texts, pairs, labels, names))


# Rows


def _keep(read: Columns, mask: np.ndarray, reason: str, dropped: dict[str, int]) -> Columns:
    if not mask.all():
        dropped[reason] = int((~mask).sum())
    if not mask.any():
        reasons = ", ".join(f"{count} dropped for {reason}" for reason, count in dropped.items()) or "nothing in it"
        raise DataError(f"{read.place}: no row to use ({reasons}); are source, format and columns the right ones?")
    rows = np.flatnonzero(mask).tolist()
    values = {role: [entries[row] for row in rows] for role, entries in read.values.items()}
    return Columns(read.place, values, [read.lines[row] for row in rows], read.class_names)


def _with_text(read: Columns) -> np.ndarray:
    """True for rows whose texts are there. A row that lacks one of its two texts is of no use either."""
    mask = np.ones(len(read.lines), dtype=bool)
    for role in ("text", "text_pair"):
        for row, text in enumerate(read.values.get(role, ())):
            if text is not None and not isinstance(text, str):
                raise DataError(f"{read.where(row)}: {role} is {shown(text)}, wanted text; is it the right column?")
            mask[row] &= bool(text and not text.isspace())
            if text and not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
                raise DataError(f"{read.where(row)}: {role} holds half a surrogate pair, which is no character")
    return mask


def _scores(read: Columns, role: str) -> np.ndarray:
    scores = np.empty(len(read.lines))
    for row, value in enumerate(read.values[role]):
        try:
            scores[row] = float(value)
        except (TypeError, ValueError):
            scores[row] = math.nan
        if not math.isfinite(scores[row]):
            raise DataError(f"{read.where(row)}: {role} is {shown(value)}, wanted a number; is it the right column?")
    return scores


# Labels


def _class_labels(
    read: Columns, own: tuple[str, ...] | None, settled: tuple[str, ...] | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    values = [_class_name(value) for value in read.values["label"]]
    names = own or settled or _sorted_names(value for value in values if value)
    index_of = {name: index for index, name in enumerate(names)}
    if own:  # a value may also be an index, but a name comes first: names may be numerals
        index_of = {str(index): index for index in range(len(names))} | index_of
    labels = np.empty(len(values), dtype=np.int64)
    for row, value in enumerate(values):
        if value not in index_of:
            known = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
            hint = closest(value, names) or "; give `names`, if these are indices or a class that others lack"
            raise DataError(f"{read.where(row)}: label is {shown(value)}, wanted one of {known or 'some'}{hint}")
        labels[row] = index_of[value]
    return _in_order(read, labels, names, settled)


def _in_order(
    read: Columns, labels: np.ndarray, names: tuple[str, ...], settled: tuple[str, ...] | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels that index the settled names, where this table has names of its own."""
    if settled is None or settled == names:
        return labels, names
    missing = [name for name in names if name not in settled]
    if missing:
        raise DataError(
            f"{read.place}: has the class {missing[0]}, but the table that is trained on has {', '.join(settled[:10])}"
        )
    return np.array([settled.index(name) for name in names])[labels], settled


def _class_name(value: Any) -> str:
    """A label as text: JSON and Parquet have integers, booleans and whole floats where a TSV file has text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None else str(value).strip()


def _sorted_names(values: Iterable[str]) -> tuple[str, ...]:
    """The distinct values, sorted as numbers if they all are numbers."""
    distinct = sorted(set(values))
    try:
        numbers = {name: float(name) for name in distinct}
    except ValueError:
        return tuple(distinct)
    return tuple(sorted(distinct, key=numbers.__getitem__) if all(map(math.isfinite, numbers.values())) else distinct)
