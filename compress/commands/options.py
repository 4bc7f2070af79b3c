"""Options that several commands share, read: `--data` with `--columns` and `--slices`, and `--latency`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

import recipes
from compress.data import Split, load_data, whole_split
from compress.deploy import Shape
from compress.errors import DataError, SourceError
from compress.recipe import read_recipe
from compress.sources import Lock, Sources
from compress.store.store import cache_root
from compress.tables.columns import Wanted
from compress.tables.format import read_columns
from compress.tables.table import TableSettings, read_table
from compress.task import Task


@dataclass(frozen=True)
class DataOption:
    """What `--data` and the options beside it say, as typed."""

    source: str
    """A table, or a recipe whose test split is meant."""
    columns: str | None = None
    slices: tuple[str, ...] = ()

    @property
    def is_recipe(self) -> bool:
        return Path(self.source).suffix in (".yaml", ".yml") or self.source in recipes.names()


def refuse_absent(data: str | None) -> None:
    """See that what `--data` names, if it is given, lies there; asked before a model is read, which takes seconds.

    Raises:
        CompressError: it does not.
    """
    if data is None:
        return
    if DataOption(data).is_recipe:
        recipes.find(data)
    elif Sources(cache_root(), Path()).is_absent(data):
        raise SourceError(f"--data {data}: no such file or folder")


def asked_rows(option: DataOption, task: Task, labels: tuple[str, ...], *, labelled: bool = True) -> Split:
    """All rows of the table, or the recipe's test split.

    Args:
        task: what the rows are for.
        labels: the model's, in order of their index.
        labelled: whether labels are looked at.

    Raises:
        CompressError: it can't be had, or is not what the task reads.
    """
    if option.is_recipe:
        return _of_recipe(option, task, labels)
    settled = labels if labelled and task.target in _NAMED else None
    table = read_table(
        _table(option, settled),
        Sources(cache_root(), Path()),
        target=task.target if labelled else None,
        modality=task.modality,
        label_names=settled,
    )
    return whole_split("test", table)


def has_labels(option: DataOption, task: Task) -> bool:
    """Whether the rows come with what the task learns from: a column of labels, unless it makes its own from the text.

    Raises:
        CompressError: it can't be had, or has no column that the task reads.
    """
    if task.target is None or option.is_recipe:
        return True
    settings = _table(option, None)
    wanted = Wanted(settings.columns, None, task.target, task.modality)
    return "label" in read_columns(option.source, settings.format, wanted, Sources(cache_root(), Path())).values


def asked_shapes(latency: str) -> tuple[Shape, ...]:
    """The shapes that `--latency` names, each once.

    Raises:
        DataError: one can't be read.
    """
    try:
        return tuple(dict.fromkeys(Shape.parse(part) for part in latency.split(",")))
    except ValueError as fault:
        raise DataError(f"--latency {latency}: {fault}") from None


def place_of(text: str) -> str:
    """A source as it is told to others: of what is named by where it lies on this machine the name alone."""
    return Path(text).name if Path(text).is_absolute() else text


_NAMED = ("class", "classes", "tags")
"""Targets whose labels have names."""


def _of_recipe(option: DataOption, task: Task, labels: tuple[str, ...]) -> Split:
    for name, given in (("--columns", option.columns), ("--slices", option.slices)):
        if given:
            raise DataError(f"{name}: {option.source} is a recipe, whose tables say that themselves")
    file = recipes.find(option.source)
    recipe = read_recipe(file)
    sources = Sources(cache_root(), file.parent, Lock.read(Lock.beside(file)))
    split = load_data(recipe.data, sources, target=task.target, modality=task.modality).test
    if task.target in _NAMED and split.label_names != labels:
        raise DataError(f"{file}: its labels are {', '.join(split.label_names)}, the model's {', '.join(labels)}")
    return split


def _table(option: DataOption, names: Sequence[str] | None) -> TableSettings:
    """The table that was named on the command line; integers in its label column index the model's labels."""
    fields: dict[str, Any] = {"source": option.source}
    if names is not None:
        fields["label"] = {"column": "label", "names": list(names)}
    if option.columns:
        fields["columns"] = _columns(option.columns)
    if option.slices:
        fields["slices"] = list(option.slices)
    try:
        return TableSettings.model_validate(fields)
    except ValidationError as fault:
        first = fault.errors()[0]
        raise DataError(f"--data {option.source}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _columns(text: str) -> dict[str, str | int]:
    """`text=sentence,label=2` as roles to columns."""
    found: dict[str, str | int] = {}
    for part in text.split(","):
        role, equals, column = part.partition("=")
        if not equals or not role or not column:
            raise DataError(f"--columns {text}: wanted ROLE=COLUMN pairs, as text=sentence,label=label")
        found[role] = int(column) if column.isdigit() else column
    return found
