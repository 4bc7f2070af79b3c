"""Splits and batches: which texts are trained on, chosen by and tested on, and how they reach a model.

Splits that share a table are disjoint by a hash of the text, so a text keeps its place when rows come or go. Splits
from different tables lose what a split that judges them holds too. Texts are tokenized once and batched by length.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from compress.errors import DataError
from compress.settings import Settings
from compress.sources import Sources
from compress.tables import Table, TableSettings, read_table, rows_digest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SPLITS = ("train", "dev", "test", "transfer")
"""In the order in which they take their shares of a table."""

WINDOW_BATCHES = 50
"""Shuffled batches are sorted by length within this many: wide enough to save padding, narrow enough to stay random."""


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
    """Texts that serve one purpose.

    Attributes:
        texts: one text an example.
        pairs: the second texts, where there are two.
        labels: int64 (examples,), indices into `label_names`; None where there are no labels. Read-only.
        label_names: class names, in order of index.
    """

    name: str
    texts: tuple[str, ...]
    pairs: tuple[str, ...] | None = None
    labels: np.ndarray | None = None
    label_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert self.pairs is None or len(self.pairs) == len(self.texts)
        assert self.labels is None or self.labels.shape == (len(self.texts),)
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
        )

    def plus(self, other: Split) -> Split:
        """The examples of both; labels only where both have them. Either both have second texts, or neither."""
        assert (self.pairs is None) == (other.pairs is None)
        pairs = None if self.pairs is None or other.pairs is None else (*self.pairs, *other.pairs)
        labels = None if self.labels is None or other.labels is None else np.append(self.labels, other.labels)
        return replace(
            self, name=f"{self.name}+{other.name}", texts=(*self.texts, *other.texts), pairs=pairs, labels=labels
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


def load_data(settings: DataSettings, sources: Sources) -> Splits:
    """Read the tables that splits name, and split them.

    The table that is trained on settles the class names and their order; no other may have a class that it lacks.

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
            tables[split.table] = read_table(settings.tables[split.table], sources, label_names=label_names)
            label_names = label_names or tables[split.table].label_names or None
    splits = _shared_out(wanted, tables)
    overlaps = _drop_overlaps(splits)
    for name, split in splits.items():
        _check(name, split, wanted[name], splits["train"])
    calibration = splits[settings.calibration.from_].take(settings.calibration.examples)
    splits["calibration"] = replace(calibration, name="calibration")
    card = {
        "tables": {name: _table_card(table) for name, table in tables.items()},
        "splits": {name: _split_card(split, overlaps.get(name, {})) for name, split in splits.items()},
    }
    return Splits(
        train=splits["train"],
        dev=splits["dev"],
        test=splits["test"],
        calibration=splits["calibration"],
        transfer=splits.get("transfer"),
        label_names=label_names or (),
        card=card,
    )


def text_places(texts: Sequence[str], pairs: Sequence[str] | None, *, salt: str = "") -> np.ndarray:
    """Where each text falls in [0, 1), float64 (texts,): by a hash, so alike in any order and on any machine.

    Texts that differ in case or white space alone are the same text.
    """
    hashes = b"".join(hashlib.sha256(f"{salt}\x00{key}".encode()).digest()[:8] for key in _keys(texts, pairs))
    return (np.frombuffer(hashes, dtype=">u8") >> np.uint64(11)).astype(np.float64) / 2.0**53


def _keys(texts: Sequence[str], pairs: Sequence[str] | None) -> list[str]:
    alike = [" ".join(text.split()).casefold() for text in texts]
    if pairs is None:
        return alike
    return [f"{first}\x00{' '.join(second.split()).casefold()}" for first, second in zip(alike, pairs, strict=True)]


def _shared_out(wanted: Mapping[str, SplitSettings], tables: Mapping[str, Table]) -> dict[str, Split]:
    places = {name: text_places(table.texts, table.pairs) for name, table in tables.items()}
    taken = dict.fromkeys(tables, 0.0)
    splits = {}
    for name, split in wanted.items():
        table, start = tables[split.table], taken[split.table]
        end = start + (1.0 if split.split is None else split.split)
        end = 1.0 if abs(end - 1) < 1e-9 else end  # 0.8 + 0.1 + 0.1 falls just short of 1, and must lose no row
        taken[split.table] = end
        chosen = np.flatnonzero((places[split.table] >= start) & (places[split.table] < end))
        pairs = None if table.pairs is None else tuple(table.pairs)
        splits[name] = Split(name, tuple(table.texts), pairs, table.labels, table.label_names).rows(chosen)
    return splits


def _drop_overlaps(splits: dict[str, Split]) -> dict[str, dict[str, int]]:
    """Take out of a split, in place, what one that judges it holds too; say how many rows that were."""
    dropped: dict[str, dict[str, int]] = {}
    for name, judges in (("dev", ("test",)), ("train", ("dev", "test")), ("transfer", ("dev", "test"))):
        for judge in judges:
            if (split := splits.get(name)) is None:
                continue
            held = set(_keys(splits[judge].texts, splits[judge].pairs))
            keep = np.array([key not in held for key in _keys(split.texts, split.pairs)], dtype=bool)
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


def _table_card(table: Table) -> dict[str, Any]:
    return {"rows": len(table), "dropped": table.dropped, "source": table.source, "digest": table.digest}


def _split_card(split: Split, dropped: Mapping[str, int]) -> dict[str, Any]:
    card: dict[str, Any] = {"rows": len(split), "dropped": dict(dropped), "digest": split.digest}
    if split.labels is not None:
        counts = np.bincount(split.labels, minlength=len(split.label_names)).tolist()
        card["labels"] = dict(zip(split.label_names, counts, strict=True))
    return card


# Batches


@dataclass(frozen=True, eq=False)
class Encoded:
    """A split, tokenized and not yet padded.

    Attributes:
        inputs: input name -> one int32 array (tokens,) an example. The attention mask follows from `lengths`.
        lengths: int64 (examples,), in tokens.
        labels: int64 (examples,), or None.
        padding: input name -> the value that fills it up.
        pad_left: whether padding stands before the text, as decoders want it.
    """

    inputs: dict[str, list[np.ndarray]]
    lengths: np.ndarray
    labels: np.ndarray | None
    padding: dict[str, int]
    pad_left: bool

    def __len__(self) -> int:
        return len(self.lengths)


@dataclass(frozen=True, eq=False)
class Batch:
    """Examples padded to the longest of them.

    Attributes:
        inputs: input name -> int64 (batch, tokens); `attention_mask` is 1 where a token is no padding.
        labels: int64 (batch,), or None.
        index: int64 (batch,), where each example stands in the split.
    """

    inputs: dict[str, np.ndarray]
    labels: np.ndarray | None
    index: np.ndarray


def encode(split: Split, tokenizer: PreTrainedTokenizerBase, *, max_tokens: int) -> Encoded:
    """Tokenize a split; what is longer than `max_tokens`, special tokens included, is cut."""
    tokenizer = copy.deepcopy(tokenizer)  # truncating changes a fast tokenizer, and would end up in its saved file
    inputs: dict[str, list[np.ndarray]] = {}
    for start in range(0, len(split), 8192):  # tokenizers hold far more for a text than its ids
        part = slice(start, start + 8192)
        encoded = tokenizer(
            list(split.texts[part]),
            None if split.pairs is None else list(split.pairs[part]),
            truncation=True,
            max_length=max_tokens,
            padding=False,
            return_attention_mask=False,
        )
        for name, rows in encoded.items():
            inputs.setdefault(name, []).extend(np.array(row, dtype=np.int32) for row in rows)
    lengths = np.array([len(row) for row in inputs["input_ids"]], dtype=np.int64)
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    padding = {"input_ids": pad_id or 0, "token_type_ids": getattr(tokenizer, "pad_token_type_id", 0)}
    return Encoded(inputs, lengths, split.labels, padding, tokenizer.padding_side == "left")


def batches(encoded: Encoded, size: int, *, shuffle_seed: int | None = None) -> Iterator[Batch]:
    """Every example once, in batches of `size` whose lengths are close, so that little goes into padding.

    Args:
        encoded: what to batch.
        size: examples a batch; one batch may be smaller.
        shuffle_seed: None: in order of length. Else in random order: shuffled, sorted by length within windows of
            `WINDOW_BATCHES` batches, and the batches shuffled again. The same seed gives the same batches.
    """
    count = len(encoded)
    if shuffle_seed is None:
        yield from (_padded(encoded, index) for index in _chunks(np.argsort(encoded.lengths, kind="stable"), size))
        return
    random = np.random.default_rng(shuffle_seed)
    windows = _chunks(random.permutation(count), size * WINDOW_BATCHES)
    ordered = [window[np.argsort(encoded.lengths[window], kind="stable")] for window in windows]
    chunks = [chunk for window in ordered for chunk in _chunks(window, size)]
    yield from (_padded(encoded, chunks[place]) for place in random.permutation(len(chunks)))


def _chunks(index: np.ndarray, size: int) -> list[np.ndarray]:
    return [index[start : start + size] for start in range(0, len(index), size)]


def _padded(encoded: Encoded, index: np.ndarray) -> Batch:
    lengths = encoded.lengths[index][:, None]
    width = max(int(lengths.max()), 1)
    places = np.arange(width)
    real = places >= width - lengths if encoded.pad_left else places < lengths
    inputs = {}
    for name, rows in encoded.inputs.items():
        filled = np.full(real.shape, encoded.padding.get(name, 0), dtype=np.int64)
        filled[real] = np.concatenate([rows[row] for row in index.tolist()])
        inputs[name] = filled
    inputs["attention_mask"] = real.astype(np.int64)
    return Batch(inputs, None if encoded.labels is None else encoded.labels[index], index)


def fixed_batch(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], batch: int, tokens: int
) -> dict[str, np.ndarray]:
    """A batch for timing: input name -> int64 (batch, tokens), with no padding in it.

    Texts are laid end to end, and from the start again where they are too short, and cut into rows; each row has the
    special tokens that the tokenizer puts around one text.

    Raises:
        DataError: `tokens` has no room for text, or the texts hold no token.
    """
    tokenizer = copy.deepcopy(tokenizer)  # a call may change how a fast tokenizer truncates
    before, after = _special_tokens(tokenizer, texts)
    room = tokens - len(before) - len(after)
    if room < 1:
        wanted = len(before) + len(after) + 1
        raise DataError(f"shape {batch}x{tokens}: no room for text, wanted {wanted} tokens or more with this tokenizer")
    stream: list[int] = []
    for start in range(0, len(texts), 256):
        if len(stream) >= batch * room:
            break
        encoded = tokenizer(list(texts[start : start + 256]), add_special_tokens=False, verbose=False)
        stream.extend(token for row in encoded["input_ids"] for token in row)
    if not stream:
        raise DataError(f"shape {batch}x{tokens}: the {len(texts)} texts hold no token to fill it with")
    body = np.resize(np.array(stream, dtype=np.int64), (batch, room))
    rows = [[*before, *row, *after] for row in body.tolist()]
    ids = np.array(rows, dtype=np.int64)
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    if "token_type_ids" in tokenizer.model_input_names:
        inputs["token_type_ids"] = np.zeros_like(ids)
    return inputs


def _special_tokens(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> tuple[list[int], list[int]]:
    """The token ids that the tokenizer puts before and after a text."""
    bare = tokenizer(texts[0] if texts else "a", add_special_tokens=False, verbose=False)["input_ids"]
    full = tokenizer(texts[0] if texts else "a", verbose=False)["input_ids"]
    start = next(place for place in range(len(full) + 1) if full[place : place + len(bare)] == bare)
    return full[:start], full[start + len(bare) :]
