"""Columns by role: which columns of a table are wanted (`Wanted`), and what was found in them (`Columns`).

A *role* is what a column is for: `text`, `text_pair`, `label`, `image`, or any name that a recipe gives. Nothing is
made of the values here. Each keeps its line, so that whoever finds a fault in one can say where it stands.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from compress.catalog import closest
from compress.errors import DataError

if TYPE_CHECKING:
    from compress.task import Modality, Target

TEXT_NAMES = ("text", "sentence", "sentence1", "question", "question1", "premise", "query", "content")
WORD_NAMES = ("tokens", "words")
PAIR_NAMES = ("text_pair", "sentence2", "question2", "hypothesis")
PICTURE_NAMES = ("image", "img", "file", "path")
LABEL_NAMES: Mapping[Target | None, tuple[str, ...]] = {
    "class": ("label",),
    "classes": ("labels", "label"),
    "number": ("score", "label", "similarity"),
    "tags": ("ner_tags", "tags", "labels", "label"),
    "span": ("answers", "answer"),
    None: (),
}


def usual_names(target: Target | None, modality: Modality = "text") -> dict[str, tuple[str, ...]]:
    """Role -> the column names that are understood when `columns` is left out; the first that a table has is taken.

    A context is the second text only where an answer is looked for in it: elsewhere a column of that name is a note.
    """
    if modality == "image":
        return {"image": PICTURE_NAMES, "label": LABEL_NAMES[target]}
    texts = (*WORD_NAMES, *TEXT_NAMES) if target == "tags" else (*TEXT_NAMES, *WORD_NAMES)
    if target == "span":
        return {"text": ("question", *texts), "text_pair": ("context", *PAIR_NAMES), "label": LABEL_NAMES[target]}
    return {"text": texts, "text_pair": PAIR_NAMES, "label": LABEL_NAMES[target]}


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
        unit: what `lines` counts.
        folder: where pictures that are named by a relative path lie; None where a path can't be trusted at all.
        dropped: why the reader left rows out, and how many.
    """

    place: str
    values: dict[str, list[Any]]
    lines: Sequence[int]
    class_names: tuple[str, ...] | None = None
    unit: str = "line"
    folder: Path | None = None
    dropped: Mapping[str, int] = field(default_factory=dict)

    def where(self, row: int) -> str:
        return f"{self.place}: {self.unit} {self.lines[row]}"

    def rows(self, chosen: Iterable[int]) -> Columns:
        """The rows at these positions, in this order."""
        kept = list(chosen)
        values = {role: [entries[row] for row in kept] for role, entries in self.values.items()}
        return replace(self, values=values, lines=[self.lines[row] for row in kept])


@dataclass(frozen=True)
class Wanted:
    """What a recipe and its task want of a table's columns, to be matched with those that a file has.

    Attributes:
        columns: role -> column. None: whatever `usual_names` finds.
        label: the role or column that becomes the role `label`, where `columns` does not name it.
        target: what the task's labels are; None: labels are not looked at.
        modality: whether the task reads texts or pictures.
        slices: further columns, to judge quality by their values; each gets the role that `slice_role` gives.
    """

    columns: Mapping[str, str | int] | None = None
    label: str | int | None = None
    target: Target | None = "class"
    modality: Modality = "text"
    slices: Sequence[str | int] = ()

    def positions(self, place: Path | str, names: Sequence[str], width: int) -> dict[str, int]:
        """Role -> position, in a file of `width` columns whose names, if it has any, are `names`.

        Raises:
            DataError: a column that is wanted is not there, or twice.
        """
        positions = {}
        for role, column in self._roles(place, names).items():
            if isinstance(column, int) and column >= width:
                raise DataError(f"{place}: {role} is column {column}, but there are {width} (the first is 0)")
            positions[role] = column if isinstance(column, int) else names.index(_known(place, column, names))
        return positions

    def names(self, place: Path | str, names: Sequence[str]) -> dict[str, str]:
        """Role -> name, in a file whose columns always have names.

        Raises:
            DataError: a column that is wanted is not there, or twice.
        """
        return {role: _known(place, column, names) for role, column in self._roles(place, names).items()}

    def _roles(self, place: Path | str, names: Sequence[str]) -> dict[str, str | int]:
        roles = dict(self.columns) if self.columns is not None else self._usual(place, names)
        if self.label is not None:
            roles["label"] = roles.get(self.label, self.label) if isinstance(self.label, str) else self.label
        if self.target is None:
            roles.pop("label", None)
        needed, others = ("image", ("text", "text_pair")) if self.modality == "image" else ("text", ("image",))
        if needed not in roles:
            what = "pictures" if needed == "image" else "texts"
            raise DataError(
                f"{place}: the task reads {what}, but `columns` names none; give columns: {{{needed}: ...}}"
            )
        kept = {role: column for role, column in roles.items() if role not in others}
        return kept | {slice_role(column): column for column in self.slices}

    def _usual(self, place: Path | str, names: Sequence[str]) -> dict[str, str | int]:
        roles: dict[str, str | int] = {}
        for role, usual in usual_names(self.target, self.modality).items():
            roles.update([(role, name) for name in usual if name in names][:1])
        needed, what = ("image", "pictures") if self.modality == "image" else ("text", "texts")
        if needed not in roles:
            fix = f"give columns: {{{needed}: ...}}; columns: {_listed(names)}"
            raise DataError(f"{place}: no column has a usual name for {what}; {fix}")
        return roles


def slice_role(column: str | int) -> str:
    """The role of a column that examples are sliced by; no recipe can give a role of its own that name by chance.

    >>> slice_role("genre")
    'slice by genre'
    """
    return f"slice by {column}"


def shown(value: Any) -> str:
    """A value as an error shows it: short, with its quotes, however long or deep it is."""
    text = _REPR.repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


_REPR = reprlib.Repr()
_REPR.maxlevel = 3
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = 60


def _known(place: Path | str, column: str | int, names: Sequence[str]) -> str:
    if list(names).count(str(column)) != 1:
        problem = "two columns" if column in names else "no column"
        have = _listed(names) if names else "none; a table without a header has its columns by position"
        raise DataError(f"{place}: has {problem} called {column}; columns: {have}{closest(str(column), names)}")
    return str(column)


def _listed(names: Sequence[str]) -> str:
    short = [name if len(name) <= 40 else f"{name[:37]}..." for name in names[:20]]
    return (", ".join(short) or "none") + (", ..." if len(names) > 20 else "")
