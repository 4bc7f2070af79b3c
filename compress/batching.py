"""Batches: a split's examples as rows of model inputs, padded to the longest of their batch, bucketed by length.

Texts are tokenized once. A *row* is what the model is given; an example has one, or several that share a batch: the two
texts of a pair that are embedded apart, the windows of a long text.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from compress.data import Split

WINDOW_BATCHES = 50
"""Shuffled batches are sorted by length within this many: wide enough to save padding, narrow enough to stay random."""

IGNORED = -100
"""The label of a token that counts for nothing: padding, a special token, a word's further pieces."""

Rows = Sequence[np.ndarray]


@dataclass(frozen=True, eq=False)
class Encoded:
    """A split as rows, not yet padded.

    Attributes:
        inputs: input name -> one array a row: int32 (tokens,) of a text, float32 (channels, height, width) of a
            picture. The attention mask of a text follows from `lengths`.
        lengths: int64 (rows,), in tokens.
        example: int64 (rows,), the example that each row is of; rising, and every example has a row.
        labels: one array a row, what the task's loss compares with; those that differ in length hold one entry a
            token. None where there are none.
        padding: input name -> the value that fills it up.
        pad_left: whether padding stands before the text, as decoders want it.
        notes: what the task needs to read an answer back from scores: name -> one array a row.
    """

    inputs: dict[str, Rows]
    lengths: np.ndarray
    example: np.ndarray
    labels: Rows | None = None
    padding: dict[str, int] = field(default_factory=dict)
    pad_left: bool = False
    notes: dict[str, Rows] = field(default_factory=dict)

    def __len__(self) -> int:
        """Examples, not rows."""
        return int(self.example[-1]) + 1 if len(self.example) else 0


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows padded to the longest of them.

    Attributes:
        inputs: input name -> int64 (rows, tokens), `attention_mask` 1 where a token is no padding; or float32
            (rows, channels, height, width).
        labels: (rows, ...), or None.
        index: int64 (examples,), where each example stands in the split.
        example: int64 (rows,), which of the batch's examples each row is of.
        notes: as in `Encoded`, not padded.
    """

    inputs: dict[str, np.ndarray]
    labels: np.ndarray | None
    index: np.ndarray
    example: np.ndarray
    notes: dict[str, list[np.ndarray]]


def encode_texts(
    texts: Sequence[Any],
    pairs: Sequence[Any] | None,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_tokens: int,
    wanted: Sequence[str] = (),
    **options: Any,
) -> dict[str, list[Any]]:
    """What the tokenizer makes of each text: input name -> one list a row.

    Args:
        texts: texts, or lists of words where `options` says so.
        pairs: second texts.
        tokenizer: not changed: truncating would end up in its saved file.
        max_tokens: what is longer, special tokens included, is cut.
        wanted: further keys of the tokenizer's answer that are kept.
        options: for the tokenizer's call.
    """
    tokenizer = copy.deepcopy(tokenizer)
    settings = {"truncation": True, "max_length": max_tokens, "padding": False, "return_attention_mask": False}
    found: dict[str, list[Any]] = {}
    for start in range(0, len(texts), 8192):  # tokenizers hold far more for a text than its ids
        part = slice(start, start + 8192)
        second = None if pairs is None else list(pairs[part])
        encoded = tokenizer(list(texts[part]), second, **{**settings, **options})
        for name in encoded:
            found.setdefault(name, []).extend(encoded[name])
        if "word_ids" in wanted:
            rows = range(len(encoded["input_ids"]))
            found.setdefault("word_ids", []).extend(encoded.word_ids(row) for row in rows)
            found.setdefault("sequence_ids", []).extend(encoded.sequence_ids(row) for row in rows)
        if "overflow_to_sample_mapping" in encoded:
            mapped = found["overflow_to_sample_mapping"]
            mapped[-len(encoded["input_ids"]) :] = [start + row for row in encoded["overflow_to_sample_mapping"]]
    return {name: rows for name, rows in found.items() if name in (*tokenizer.model_input_names, *wanted)}


def as_rows(
    found: dict[str, list[Any]],
    tokenizer: PreTrainedTokenizerBase,
    *,
    labels: Rows | None = None,
    example: np.ndarray | None = None,
    notes: dict[str, Rows] | None = None,
) -> Encoded:
    """Rows out of a tokenizer's lists; one a text unless `example` says otherwise."""
    inputs: dict[str, Rows] = {
        name: [np.array(row, dtype=np.int32) for row in found[name]]
        for name in tokenizer.model_input_names
        if name in found
    }
    lengths = np.array([len(row) for row in inputs["input_ids"]], dtype=np.int64)
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    padding = {"input_ids": pad_id or 0, "token_type_ids": getattr(tokenizer, "pad_token_type_id", 0)}
    places = np.arange(len(lengths), dtype=np.int64) if example is None else example
    return Encoded(inputs, lengths, places, labels, padding, tokenizer.padding_side == "left", notes or {})


def encode(split: Split, tokenizer: PreTrainedTokenizerBase, *, max_tokens: int) -> Encoded:
    """One row an example, both texts in it where there are two, with the split's labels as they are."""
    found = encode_texts(split.texts, split.pairs, tokenizer, max_tokens=max_tokens)
    return as_rows(found, tokenizer, labels=None if split.labels is None else list(split.labels))


def batches(encoded: Encoded, size: int, *, shuffle_seed: int | None = None) -> Iterator[Batch]:
    """Every example once, in batches of `size` whose lengths are close, so that little goes into padding.

    Args:
        encoded: what to batch.
        size: examples a batch; one batch may be smaller.
        shuffle_seed: None: in order of length. Else in random order: shuffled, sorted by length within windows of
            `WINDOW_BATCHES` batches, and the batches shuffled again. The same seed gives the same batches.
    """
    count = len(encoded)
    starts = np.searchsorted(encoded.example, np.arange(count + 1))
    lengths = np.maximum.reduceat(encoded.lengths, starts[:-1]) if count else encoded.lengths
    if shuffle_seed is None:
        ordered = [np.argsort(lengths, kind="stable")]
    else:
        random = np.random.default_rng(shuffle_seed)
        windows = _chunks(random.permutation(count), size * WINDOW_BATCHES)
        ordered = [window[np.argsort(lengths[window], kind="stable")] for window in windows]
    chunks = [chunk for window in ordered for chunk in _chunks(window, size)]
    order = range(len(chunks)) if shuffle_seed is None else random.permutation(len(chunks))
    yield from (_padded(encoded, starts, chunks[place]) for place in order)


def in_order(parts: Sequence[np.ndarray], index: Sequence[np.ndarray]) -> np.ndarray:
    """Batches' arrays as one, in the order of the split.

    Args:
        parts: floating-point (examples of a batch, ...); where later axes differ in length, the shorter are filled up
            with NaN.
        index: the `Batch.index` of each part.
    """
    wide = np.max([part.shape[1:] for part in parts], axis=0, initial=0).astype(int) if parts[0].ndim > 1 else ()
    filled = []
    for part in parts:
        margins = [(0, 0), *((0, int(full) - own) for full, own in zip(wide, part.shape[1:], strict=True))]
        filled.append(np.pad(part, margins, constant_values=np.nan) if any(map(any, margins)) else part)
    order = np.argsort(np.concatenate(index), kind="stable")
    joined: np.ndarray = np.concatenate(filled)[order]
    return joined


def _chunks(index: np.ndarray, size: int) -> list[np.ndarray]:
    return [index[start : start + size] for start in range(0, len(index), size)]


def _padded(encoded: Encoded, starts: np.ndarray, index: np.ndarray) -> Batch:
    """The batch of the examples at `index`; the rows of an example lie side by side."""
    counts = starts[index + 1] - starts[index]
    rows = np.concatenate([np.arange(starts[place], starts[place + 1]) for place in index])
    lengths = encoded.lengths[rows][:, None]
    places = np.arange(max(int(lengths.max()), 1))
    real = places >= len(places) - lengths if encoded.pad_left else places < lengths
    chosen = rows.tolist()
    inputs = {}
    for name, column in encoded.inputs.items():
        if name == "pixel_values":
            inputs[name] = np.stack([column[row] for row in chosen])
        else:
            inputs[name] = _filled([column[row] for row in chosen], real, encoded.padding.get(name, 0))
            inputs["attention_mask"] = real.astype(np.int64)
    labels = None
    if encoded.labels is not None:
        picked = [encoded.labels[row] for row in chosen]
        ragged = np.ndim(picked[0]) == 1 and any(len(label) != len(picked[0]) for label in picked)
        labels = _filled(picked, real, IGNORED) if ragged else np.stack(picked)
    notes = {name: [column[row] for row in chosen] for name, column in encoded.notes.items()}
    return Batch(inputs, labels, index, np.repeat(np.arange(len(index)), counts), notes)


def _filled(rows: Rows, real: np.ndarray, padding: int) -> np.ndarray:
    filled = np.full(real.shape, padding, dtype=np.int64)
    filled[real] = np.concatenate(rows)
    return filled
