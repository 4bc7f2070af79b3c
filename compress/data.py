"""Splits: which examples are trained on, chosen by and tested on.

Splits that share a table are disjoint by a hash of what decides an example's place, so it keeps its place when rows
come or go. Splits from different tables lose what a split that judges them holds too. That is the text; of a question
and its context the context, which may answer many questions; of other pairs both texts together. So no pair stands in
two splits, but one of its texts may, beside another: how many texts of dev and test also stand in train is counted on
the data card, as `shared_texts`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from compress.batching import IGNORED
from compress.errors import DataError
from compress.settings import Settings
from compress.sources import Sources
from compress.tables.data_card import split_card, table_card
from compress.tables.labels import NO_ANSWER
from compress.tables.table import Table, TableSettings, read_table, rows_digest

if TYPE_CHECKING:
    from pathlib import Path

    from compress.task import Modality, Target

SPLITS = ("train", "dev", "test", "transfer")
"""In the order in which they take their shares of a table."""


class SplitSettings(Settings):
    """A share of a table."""

    table: str = Field(description="one of the names under `tables`")
    split: float | None = Field(None, gt=0, le=1, description="fraction of the table; left out: all of it")


class CalibrationSettings(Settings):
    """A few texts for what needs to see data but not to learn from it: quantization ranges, importance scores."""

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True, validate_by_alias=True)
    from_: Literal["train", "dev"] = Field("train", alias="from")
    examples: int = Field(512, ge=1)


class DataSettings(Settings):
    """The recipe's `data`."""

    tables: dict[str, TableSettings] = Field(min_length=1)
    train: SplitSettings
    dev: SplitSettings = Field(description="the only split that stages may look at to choose anything")
    test: SplitSettings = Field(description="seen by evaluation alone")
    calibration: CalibrationSettings = Field(default_factory=CalibrationSettings)
    transfer: SplitSettings | None = Field(None, description="further texts to distil on; labels are not needed")

    @property
    def read(self) -> dict[str, TableSettings]:
        """The tables that a split is of; others are left alone."""
        of = {split.table for name in SPLITS if (split := getattr(self, name)) is not None}
        return {name: table for name, table in self.tables.items() if name in of}

    @field_validator(*SPLITS)
    @classmethod
    def _fits_its_table(cls, value: SplitSettings | None, info: ValidationInfo) -> SplitSettings | None:
        """Faults are found split by split, so that one in another key hides none of them."""
        tables = info.data.get("tables")
        if value is None or tables is None:
            return value
        if value.table not in tables:
            raise _fault("table", f"no table is called {value.table}; wanted one of {', '.join(tables)}", value.table)
        earlier = [info.data.get(name) for name in SPLITS if name in info.data and name != info.field_name]
        sharing = [split for split in earlier if split is not None and split.table == value.table]
        shares = [split.split for split in [*sharing, value]]
        if sharing and None in shares:
            raise _fault("split", f"{value.table} feeds several splits, so each needs a fraction of it", value.split)
        if sharing and (total := sum(share for share in shares if share is not None)) > 1 + 1e-9:
            raise _fault("split", f"the fractions of {value.table} add up to {total:g}, wanted 1 at most", value.split)
        return value


def _fault(key: str, text: str, value: Any) -> ValidationError:
    kind = PydanticCustomError("split", "{text}", {"text": text})
    return ValidationError.from_exception_data("split", [InitErrorDetails(type=kind, loc=(key,), input=value)])


@dataclass(frozen=True, eq=False)
class Split:
    """Examples that serve one purpose.

    Attributes:
        texts: one text an example; of a picture, the digest of its content.
        pairs: the second texts, where there are two.
        labels: one entry an example, what a task's `target` says (see `tables/labels.py`); None where there are none.
            Read-only.
        label_names: class names, in order of index.
        pictures: where each picture's bytes are, where the examples are pictures.
        slices: further columns by name, one value an example, to tell quality apart by.
    """

    name: str
    texts: tuple[str, ...]
    pairs: tuple[str, ...] | None = None
    labels: np.ndarray | None = None
    label_names: tuple[str, ...] = ()
    pictures: tuple[Path | bytes, ...] | None = None
    slices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for column in (self.pairs, self.labels, self.pictures, *self.slices.values()):
            assert column is None or len(column) == len(self.texts)
        if self.labels is not None:
            labels = self.labels.view()
            labels.flags.writeable = False
            object.__setattr__(self, "labels", labels)

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def digest(self) -> str:
        """`sha256:...` over texts, pairs, labels and names, not over the split's own name."""
        return rows_digest(self.texts, self.pairs, self.labels, self.label_names)

    def take(self, count: int) -> Split:
        """`count` examples, or all if there are fewer: those whose texts hash lowest, in the split's order.

        The choice is spread over the whole split, and stays nearly the same when a few rows come or go.
        """
        if count >= len(self):
            return self
        order = np.argsort(text_places(self.texts, self.pairs, salt="take"), kind="stable")
        return self.rows(np.sort(order[:count]))

    def rows(self, index: np.ndarray) -> Split:
        """The examples at these positions, in this order."""
        chosen = index.tolist()
        return replace(
            self,
            texts=tuple(self.texts[row] for row in chosen),
            pairs=None if self.pairs is None else tuple(self.pairs[row] for row in chosen),
            labels=None if self.labels is None else self.labels[index],
            pictures=None if self.pictures is None else tuple(self.pictures[row] for row in chosen),
            slices={name: tuple(values[row] for row in chosen) for name, values in self.slices.items()},
        )

    def plus(self, other: Split) -> Split:
        """The examples of both; labels only where both have them. Either both have second texts, or neither."""
        assert (self.pairs is None) == (other.pairs is None)
        assert (self.pictures is None) == (other.pictures is None)
        return replace(
            self,
            name=f"{self.name}+{other.name}",
            texts=(*self.texts, *other.texts),
            pairs=None if self.pairs is None else (*self.pairs, *(other.pairs or ())),
            labels=None if self.labels is None or other.labels is None else _appended(self.labels, other.labels),
            pictures=None if self.pictures is None else (*self.pictures, *(other.pictures or ())),
            slices={name: (*self.slices[name], *other.slices[name]) for name in self.slices if name in other.slices},
        )


@dataclass(frozen=True, eq=False)
class Splits:
    """All of a recipe's data. `card` says for `run.json` how many rows each part has, and what was dropped and why."""

    train: Split
    dev: Split
    test: Split
    calibration: Split
    transfer: Split | None
    label_names: tuple[str, ...]
    card: dict[str, Any]


def _appended(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """One array after the other; where rows differ in length (words, answers), the shorter are padded as they are."""
    if first.ndim == 1 or first.shape[1:] == second.shape[1:]:
        return np.concatenate([first, second])
    width = max(first.shape[1], second.shape[1])
    padding = IGNORED if first.ndim == 2 else NO_ANSWER
    return np.concatenate([_widened(array, width, padding) for array in (first, second)])


def _widened(array: np.ndarray, width: int, padding: int) -> np.ndarray:
    margins = [(0, 0), (0, width - array.shape[1]), *((0, 0) for _ in array.shape[2:])]
    return np.pad(array, margins, constant_values=padding)


def load_data(
    settings: DataSettings, sources: Sources, *, target: Target | None = "class", modality: Modality = "text"
) -> Splits:
    """Read the tables that splits name, and split them.

    The table that is trained on settles the class names and their order; no other may have a class that it lacks.

    Args:
        target: what the task's labels are.
        modality: whether the examples are texts or pictures.

    Raises:
        SourceError: a table can't be had.
        DataError: a table is not what the settings say, a split is left empty, or lacks the labels or the second texts
            that `train` has.
    """
    wanted = {name: split for name in SPLITS if (split := getattr(settings, name)) is not None}
    tables: dict[str, Table] = {}
    label_names: tuple[str, ...] | None = None
    for split in wanted.values():
        if split.table not in tables:
            tables[split.table] = read_table(
                settings.tables[split.table], sources, target=target, modality=modality, label_names=label_names
            )
            label_names = label_names or tables[split.table].label_names or None
    splits = _shared_out(wanted, tables, target)
    overlaps = _drop_overlaps(splits, target)
    for name, split in splits.items():
        _check(name, split, wanted[name], splits["train"])
    calibration = splits[settings.calibration.from_].take(settings.calibration.examples)
    splits["calibration"] = replace(calibration, name="calibration")
    card = {
        "tables": {name: table_card(table) for name, table in tables.items()},
        "splits": {name: split_card(split, overlaps.get(name, {}), target) for name, split in splits.items()},
    }
    if splits["train"].pairs is not None and target != "span":
        for name in ("dev", "test"):
            card["splits"][name]["shared_texts"] = _shared_texts(splits[name], splits["train"])
    return Splits(
        train=splits["train"],
        dev=splits["dev"],
        test=splits["test"],
        calibration=splits["calibration"],
        transfer=splits.get("transfer"),
        label_names=label_names or (),
        card=card,
    )


def whole_split(name: str, table: Table) -> Split:
    """All of a table as one split."""
    pairs = None if table.pairs is None else tuple(table.pairs)
    pictures = None if table.pictures is None else tuple(table.pictures)
    slices = {column: tuple(values) for column, values in table.slices.items()}
    return Split(name, tuple(table.texts), pairs, table.labels, table.label_names, pictures, slices)


def text_places(texts: Sequence[str], pairs: Sequence[str] | None, *, salt: str = "") -> np.ndarray:
    """Where each text falls in [0, 1), float64 (texts,): by a hash, so alike in any order and on any machine.

    Texts that differ in case or white space alone are the same text.
    """
    hashes = b"".join(hashlib.sha256(f"{salt}\x00{key}".encode()).digest()[:8] for key in _keys(texts, pairs))
    return (np.frombuffer(hashes, dtype=">u8") >> np.uint64(11)).astype(np.float64) / 2.0**53


def _keys(texts: Sequence[str], pairs: Sequence[str] | None) -> list[str]:
    if pairs is None:
        return [_plain(text) for text in texts]
    return [f"{_plain(first)}\x00{_plain(second)}" for first, second in zip(texts, pairs, strict=True)]


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


def _deciding(rows: Table | Split, target: Target | None) -> tuple[Sequence[str], Sequence[str] | None]:
    """The texts, and the second ones, that decide which split an example falls into."""
    if target == "span" and rows.pairs is not None:
        return rows.pairs, None
    return rows.texts, rows.pairs


def _shared_texts(judge: Split, train: Split) -> int:
    """How many different texts of a split of pairs, first or second, stand in a pair of train too."""
    ours, theirs = ({_plain(text) for text in (*split.texts, *(split.pairs or ()))} for split in (judge, train))
    return len(ours & theirs)


def _shared_out(
    wanted: Mapping[str, SplitSettings], tables: Mapping[str, Table], target: Target | None
) -> dict[str, Split]:
    places = {name: text_places(*_deciding(table, target)) for name, table in tables.items()}
    taken = dict.fromkeys(tables, 0.0)
    splits = {}
    for name, split in wanted.items():
        table, start = tables[split.table], taken[split.table]
        end = start + (1.0 if split.split is None else split.split)
        end = 1.0 if abs(end - 1) < 1e-9 else end  # 0.8 + 0.1 + 0.1 falls just short of 1, and must lose no row
        taken[split.table] = end
        chosen = np.flatnonzero((places[split.table] >= start) & (places[split.table] < end))
        splits[name] = whole_split(name, table).rows(chosen)
    return splits


def _drop_overlaps(splits: dict[str, Split], target: Target | None) -> dict[str, dict[str, int]]:
    """Take out of a split, in place, what one that judges it holds too; say how many rows that were."""
    dropped: dict[str, dict[str, int]] = {}
    for name, judges in (("dev", ("test",)), ("train", ("dev", "test")), ("transfer", ("dev", "test"))):
        for judge in judges:
            if (split := splits.get(name)) is None:
                continue
            held = set(_keys(*_deciding(splits[judge], target)))
            keep = np.array([key not in held for key in _keys(*_deciding(split, target))], dtype=bool)
            if not keep.all():
                dropped.setdefault(name, {})[f"also in {judge}"] = int((~keep).sum())
                splits[name] = split.rows(np.flatnonzero(keep))
    return dropped


def _check(name: str, split: Split, settings: SplitSettings, train: Split) -> None:
    if not len(split):
        raise DataError(
            f"data.{name}: no row of table {settings.table} is left for it; is the table or its share too small?"
        )
    if name in ("dev", "test") and train.labels is not None and split.labels is None:
        raise DataError(f"data.{name}: table {settings.table} has no labels, but train has; give it `label`")
    if (split.pairs is None) != (train.pairs is None):
        lacking, having = ("train", f"data.{name}") if train.pairs is None else (f"data.{name}", "train")
        raise DataError(f"{lacking}: its table has no second texts, but {having} has; give all tables the same columns")
