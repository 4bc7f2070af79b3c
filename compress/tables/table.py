"""Tables of examples and labels, whatever file they come in: the recipe's table settings, and `read_table`.

A column has a *role*: `text`, `text_pair`, `image`, or any name that `label` refers to. Labels become what the task's
target says (see `compress.tables.labels`); class names are kept. A fault in a table is reported with its line.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from compress.errors import DataError
from compress.settings import Settings
from compress.sources import SourceField, Sources, told
from compress.tables.class_names import in_order
from compress.tables.columns import Column, Columns, Wanted, shown, slice_role
from compress.tables.format import NAMED, FormatSettings, read_columns
from compress.tables.labels import labels_of, missing_labels, numbers
from compress.tables.pictures import digest_of, pictures_of
from compress.tables.texts import texts_of

if TYPE_CHECKING:
    from compress.task import Modality, Target

SEPARATOR = "|"
"""What stands between the classes in one text, where a text has several and `label` says no other."""

Missing = Annotated[
    Literal["error", "drop"], Field(description="what a row without a label is: a fault, or left out and counted")
]


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
    missing: Missing = "error"


class ColumnLabel(Settings):
    """Labels that a column holds: classes by name, or as integers that index `names`; numbers; answers."""

    column: Column = Field(description="a role, or else a column")
    names: Annotated[tuple[str, ...] | None, BeforeValidator(_distinct)] = Field(
        None, description="in order of index; left out: the file's own, or the sorted values", min_length=1
    )
    separator: str = Field(SEPARATOR, min_length=1, description="stands between several classes in one text")
    missing: Missing = "error"


def _label_of(value: Any) -> Any:
    """Choose by the key that is there, so that faults are located in the label, not in a union's branches."""
    if isinstance(value, SignLabel | ColumnLabel) or value is None:
        return value
    if not isinstance(value, dict):
        raise PydanticCustomError("label", "wanted {sign_of: ROLE} or {column: COLUMN}")
    return SignLabel.model_validate(value) if "sign_of" in value else ColumnLabel.model_validate(value)


class TableSettings(Settings):
    """A table of texts or pictures, with or without labels."""

    source: SourceField = Field(description="path, hub:... or pip:...; a list is tried in order")
    format: FormatSettings = Field(default_factory=FormatSettings)
    columns: dict[str, Column] | None = Field(
        None, description="role -> column, by name or (without a header) by position; left out: the usual names"
    )
    label: Annotated[SignLabel | ColumnLabel | None, BeforeValidator(_label_of)] = Field(
        None,
        description="left out: the column of role `label`, or one with a usual name if `columns` is left out too",
    )
    slices: tuple[Column, ...] = Field(
        (), description="columns whose values quality is also told apart by; labels and lengths are looked at anyway"
    )

    @field_validator("columns")
    @classmethod
    def _columns_fit_the_format(
        cls, value: dict[str, str | int] | None, info: ValidationInfo
    ) -> dict[str, str | int] | None:
        described = info.data.get("format", FormatSettings())
        by_name, by_position = described.kind in NAMED, described.kind == "conll" or not described.header
        faults = []
        if value is not None and not {"text", "image"} & value.keys():
            faults.append(_fault("no column has the role text, or image", (), value))
        if value is not None and described.kind == "images":
            faults.append(_fault("a folder of pictures has no columns: its sub-folders are the classes", (), value))
        for role, column in (value or {}).items():
            if isinstance(column, str) and by_position:
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

    @field_validator("slices")
    @classmethod
    def _slices_fit_the_format(cls, value: tuple[str | int, ...], info: ValidationInfo) -> tuple[str | int, ...]:
        described = info.data.get("format", FormatSettings())
        faults = []
        for place, column in enumerate(value):
            if described.kind in ("images", "conll"):
                faults.append(_fault(f"a table of the kind {described.kind} has no further columns", (place,), column))
            elif isinstance(column, str) != (described.kind in NAMED or described.header):
                faults.append(_fault(_WRONG_COLUMN[isinstance(column, str)], (place,), column))
            elif str(column) in ("label", "length") or column in value[:place]:
                faults.append(_fault("is sliced by already: label, length, or named twice", (place,), column))
        if faults:
            raise ValidationError.from_exception_data("slices", faults)
        return value


_WRONG_COLUMN = {
    True: "a table without a header has its columns by position",
    False: "a table with names has its columns by name",
}


def _fault(text: str, place: tuple[str | int, ...], value: Any) -> InitErrorDetails:
    return InitErrorDetails(type=PydanticCustomError("table", "{text}", {"text": text}), loc=place, input=value)


@dataclass(frozen=True, eq=False)
class Table:
    """A table's rows, in the file's order.

    Attributes:
        texts: one text a row; none is empty. Of a picture, the digest of its content.
        pairs: the second text of each row, where there are two.
        labels: one entry a row, as `labels.py` gives it for `target`; None where there are no labels.
        label_names: class names, in order of index.
        dropped: why rows were left out, and how many.
        source: the source that the table came from, of those that the settings list.
        digest: `sha256:...` over texts, pairs, labels and names.
        pictures: where each picture's bytes are, in a table of pictures.
        target: what the labels are.
        slices: further columns by name, one value a row, as text.
    """

    texts: list[str]
    pairs: list[str] | None
    labels: np.ndarray | None
    label_names: tuple[str, ...]
    dropped: dict[str, int]
    source: str
    digest: str
    pictures: list[Path | bytes] | None = None
    target: Target | None = "class"
    slices: Mapping[str, list[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.texts)


def read_table(
    settings: TableSettings,
    sources: Sources,
    *,
    target: Target | None = "class",
    modality: Modality = "text",
    label_names: tuple[str, ...] | None = None,
) -> Table:
    """Read a table.

    Args:
        settings: what the recipe says of it.
        sources: fetches its source.
        target: what the task's labels are; None: labels are not looked at.
        modality: whether the task reads texts or pictures.
        label_names: class names that another table, the one trained on, has settled. None: this table's own.

    Raises:
        SourceError: no source can be had.
        DataError: the file is not what the settings say, or has no row left.
    """
    purpose = _Purpose(target, modality, label_names)
    return sources.first(settings.source, lambda source: _read_from(source, settings, sources, purpose))


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
        if labels.ndim != 1 or labels.dtype.kind != "i":  # plain class indices go in bare
            total.update(f"{labels.dtype.kind}{labels.dtype.itemsize}{labels.shape}".encode())
        stored = "<i8" if labels.ndim == 1 and labels.dtype.kind == "i" else labels.dtype.newbyteorder("<")
        total.update(labels.astype(stored).tobytes())
    return f"sha256:{total.hexdigest()}"


@dataclass(frozen=True)
class _Purpose:
    """What a table is read for."""

    target: Target | None
    modality: Modality
    settled: tuple[str, ...] | None


def _read_from(source: str, settings: TableSettings, sources: Sources, purpose: _Purpose) -> Table:
    label = settings.label
    column = label.column if isinstance(label, ColumnLabel) else None
    wanted = Wanted(settings.columns, column, purpose.target, purpose.modality, settings.slices)
    read = read_columns(source, settings.format, wanted, sources)
    dropped = dict(read.dropped)
    if purpose.modality == "image":
        read = _with_pictures(read, dropped)
    else:
        read = _with_texts(read, dropped, words=purpose.target == "tags")
    read, labels, names = _labelled(read, label, purpose, dropped)
    texts, pairs = read.values["text"], read.values.get("text_pair")
    digest = rows_digest(texts, pairs, labels, names)
    return Table(
        texts,
        pairs,
        labels,
        names,
        dropped,
        told(source),
        digest,
        read.values.get("image"),
        purpose.target,
        {_called(column): [_as_text(value) for value in read.values[slice_role(column)]] for column in settings.slices},
    )


def _called(column: str | int) -> str:
    return column if isinstance(column, str) else f"column {column}"


def _as_text(value: Any) -> str:
    """A value as slices are named; none where there is nothing."""
    return "" if value is None else str(value).strip()


# Rows


def _with_texts(read: Columns, dropped: dict[str, int], *, words: bool) -> Columns:
    texts, there = texts_of(read, words=words)
    return _keep(replace(read, values=read.values | texts), there, "empty text", dropped)


def _with_pictures(read: Columns, dropped: dict[str, int]) -> Columns:
    pictures, there = pictures_of(read)
    read = _keep(replace(read, values=read.values | {"image": pictures}), there, "no picture", dropped)
    return replace(read, values=read.values | {"text": [digest_of(picture) for picture in read.values["image"]]})


def _keep(read: Columns, mask: np.ndarray, reason: str, dropped: dict[str, int]) -> Columns:
    if not mask.all():
        dropped[reason] = int((~mask).sum())
    if not mask.any():
        reasons = ", ".join(f"{count} dropped for {reason}" for reason, count in dropped.items()) or "nothing in it"
        raise DataError(f"{read.place}: no row to use ({reasons}); are source, format and columns the right ones?")
    return read.rows(np.flatnonzero(mask).tolist())


# Labels


def _labelled(
    read: Columns, label: SignLabel | ColumnLabel | None, purpose: _Purpose, dropped: dict[str, int]
) -> tuple[Columns, np.ndarray | None, tuple[str, ...]]:
    """The rows that have a label, their labels and the names; all rows where the table or the task has no labels."""
    target, settled = purpose.target, purpose.settled
    if isinstance(label, SignLabel) and target is not None:
        return _by_sign(read, label, purpose, dropped)
    if "label" not in read.values or target is None or isinstance(label, SignLabel):
        return read, None, ()
    label = label or ColumnLabel(column="label")
    _check(read, label, target)
    read = _keep_labelled(read, "label", label.missing, target, dropped)
    own = label.names or read.class_names
    if label.names and read.class_names and set(read.class_names) <= set(label.names):
        own, settled = read.class_names, settled or label.names  # same classes, so only the file knows its indices
    return read, *labels_of(read, target, own, settled, separator=label.separator)


def _by_sign(
    read: Columns, label: SignLabel, purpose: _Purpose, dropped: dict[str, int]
) -> tuple[Columns, np.ndarray, tuple[str, ...]]:
    if purpose.target != "class":
        fix = "give label: {column: ...}"
        raise DataError(f"{read.place}: sign_of makes two classes, but the task's labels are {purpose.target}; {fix}")
    if label.sign_of not in read.values:
        raise DataError(f"{read.place}: sign_of is {label.sign_of}, which the task does not read")
    read = _keep_labelled(read, label.sign_of, label.missing, "number", dropped)
    scores = numbers(read, label.sign_of)
    read = _keep(read, scores != 0, "score of zero", dropped)
    signs = (scores[scores != 0] > 0).astype(np.int64)
    return read, *in_order(read, signs, label.names, purpose.settled)


def _keep_labelled(
    read: Columns, role: str, missing: Literal["error", "drop"], target: Target, dropped: dict[str, int]
) -> Columns:
    lacking = missing_labels(read, role, target)
    if lacking.any() and missing == "error":
        row = int(lacking.argmax())
        value, rest = shown(read.values[role][row]), f"{int(lacking.sum())} of {len(lacking)} rows lack it"
        drop = "`missing: drop` under `label` leaves such rows out"
        fix = "give `columns` without a label, if the table has none" if lacking.all() else drop
        raise DataError(f"{read.where(row)}: {role} is missing, got {value} ({rest}); {fix}")
    return _keep(read, ~lacking, "missing label", dropped)


def _check(read: Columns, label: ColumnLabel, target: Target) -> None:
    if label.separator != SEPARATOR and target != "classes":
        raise DataError(f"{read.place}: label has a separator, which is for tasks with several classes a text")
    if label.names is not None and len(label.names) < 2 and target == "class":
        raise DataError(f"{read.place}: label names one class, {label.names[0]}; wanted two at least to tell apart")
