"""Labels as arrays: one function for each target of a task, from a column's values to an array and its names.

| target | array | what a value may be |
|---|---|---|
| class | int64 (examples,) | a name, or an index of `names` |
| classes | int8 (examples, names), 0 or 1 | a list of names or indices, a text of names, a 0 or 1 a name |
| number | float64 (examples,) | a finite number |
| tags | int64 (examples, words), padded with -100 | names or indices, in a list or between white space |
| span | int64 (examples, answers, 2), padded with -1 | answers with their first character, or an answer's text |
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.batching import IGNORED
from compress.errors import DataError
from compress.tables.class_names import Names, Vocabulary, in_order, places
from compress.tables.columns import Columns, shown

if TYPE_CHECKING:
    from compress.task import Target

NO_ANSWER = -1
"""Fills up the spans of an example that has fewer answers than another; all that an unanswered one has."""

NUMBER_NAMES = ("score",)
"""What the one output of a model that gives a number is called."""


def missing_labels(read: Columns, role: str, target: Target) -> np.ndarray:
    """True (examples,) where the label is not there: null, NaN, or an empty cell unless that says something.

    Where the file has class names, -1 is missing too: the data set library's mark for a label that is kept back.
    """
    marked = read.class_names is not None
    return np.array([_is_missing(value, target) or (marked and value == -1) for value in read.values[role]])


def labels_of(
    read: Columns, target: Target, own: Names | None, settled: Names | None, *, separator: str
) -> tuple[np.ndarray, Names]:
    """The labels of a table as its task wants them, and their names: see the function for each target.

    Args:
        read: a table's columns, with a value in every row of the role `label`.
        target: what the labels are.
        own: names that the settings or the file give, in order of index.
        settled: names that another table has settled, in order of index.
        separator: stands between several classes in one text.

    Raises:
        DataError: a value that is no such label; it is told with its line.
    """
    if target == "class":
        return class_labels(read, own, settled)
    if target == "classes":
        return classes_labels(read, own, settled, separator)
    if target == "number":
        return number_labels(read, settled)
    if target == "tags":
        return tag_labels(read, own, settled)
    return span_labels(read)


def class_labels(read: Columns, own: Names | None, settled: Names | None) -> tuple[np.ndarray, Names]:
    """One class an example: int64 (examples,), and the class names.

    Raises:
        DataError: a value that is no class.
    """
    vocabulary = Vocabulary.of(read.values["label"], own, settled)
    labels = [vocabulary.index(read, row, value) for row, value in enumerate(read.values["label"])]
    return in_order(read, np.array(labels, dtype=np.int64), vocabulary.names, settled)


def classes_labels(read: Columns, own: Names | None, settled: Names | None, separator: str) -> tuple[np.ndarray, Names]:
    """Any number of classes an example: int8 (examples, names), 1 where an example is of a class; and the names.

    Raises:
        DataError: a value that is no class, or no list of them.
    """
    rows = [_several(value, separator) for value in read.values["label"]]
    known = own or settled
    if _are_vectors(rows, known):
        if known is None:
            row = next(row for row, values in enumerate(rows) if values)
            hint = "one 0 or 1 for each label tells no names; give `names`"
            raise _fault(read, row, rows[row], "a list of names", hint)
        return _columns_in_order(read, np.array(rows, dtype=np.int8), known, settled)
    vocabulary = Vocabulary.of((value for values in rows for value in values), own, settled)
    if not vocabulary.names:
        raise DataError(f"{read.place}: no row is of any class; is label the right column?")
    labels = np.zeros((len(rows), len(vocabulary.names)), dtype=np.int8)
    for row, values in enumerate(rows):
        labels[row, [vocabulary.index(read, row, value) for value in values]] = 1
    return _columns_in_order(read, labels, vocabulary.names, settled)


def number_labels(read: Columns, settled: Names | None) -> tuple[np.ndarray, Names]:
    """A number an example: float64 (examples,), and the one name of what a model gives for it.

    Raises:
        DataError: a value that is no finite number.
    """
    return numbers(read, "label"), settled or NUMBER_NAMES


def tag_labels(read: Columns, own: Names | None, settled: Names | None) -> tuple[np.ndarray, Names]:
    """A tag a word: int64 (examples, words), `IGNORED` beyond an example's last word; and the tag names.

    The texts are to be words with single spaces between them.

    Raises:
        DataError: a value that is no tag, or more or fewer tags than words.
    """
    rows = [_tags(read, row, value) for row, value in enumerate(read.values["label"])]
    vocabulary = Vocabulary.of((value for values in rows for value in values), own, settled)
    labels = np.full((len(rows), max(map(len, rows))), IGNORED, dtype=np.int64)
    for row, values in enumerate(rows):
        labels[row, : len(values)] = [vocabulary.index(read, row, value) for value in values]
    words = labels != IGNORED
    labels[words], names = in_order(read, labels[words], vocabulary.names, settled)
    return labels, names


def span_labels(read: Columns) -> tuple[np.ndarray, Names]:
    """The answers in each context: int64 (examples, answers, 2), the first character and the one after the last.

    An answer's text without its place is taken where it first occurs. There are no names.

    Raises:
        DataError: there are no contexts, or an answer does not stand in its context.
    """
    if "text_pair" not in read.values:
        fix = "give columns: {text: ..., text_pair: ..., label: ...}"
        raise DataError(f"{read.place}: answers are looked for in a context, and no column has it; {fix}")
    rows = [
        list(dict.fromkeys(_span(read, row, text, start) for text, start in _answers(read, row, value) if text))
        for row, value in enumerate(read.values["label"])
    ]
    labels = np.full((len(rows), max(1, *map(len, rows)), 2), NO_ANSWER, dtype=np.int64)
    for row, spans in enumerate(rows):
        if spans:
            labels[row, : len(spans)] = spans
    return labels, ()


def numbers(read: Columns, role: str) -> np.ndarray:
    """A column as finite numbers: float64 (examples,).

    Raises:
        DataError: a value that is none.
    """
    found = np.empty(len(read.lines))
    for row, value in enumerate(read.values[role]):
        found[row] = _number(value)
        if not math.isfinite(found[row]):
            raise DataError(f"{read.where(row)}: {role} is {shown(value)}, wanted a number; is it the right column?")
    return found


# One value


def _is_missing(value: Any, target: Target) -> bool:
    if isinstance(value, str):
        if target in ("classes", "span"):  # of no class; no answer
            return False
        return not value.strip() or (target == "number" and value.strip().lower() == "nan")
    return value is None or (isinstance(value, float) and math.isnan(value))


def _several(value: Any, separator: str) -> list[Any]:
    """The classes that one value names."""
    if isinstance(value, str):
        return [name for part in value.split(separator) if (name := part.strip())]
    return value if isinstance(value, list) else [value]


def _are_vectors(rows: Sequence[list[Any]], known: Names | None) -> bool:
    """Whether lists hold a 0 or a 1 for each name. A list that repeats one, as [0, 0, 1], can't be one of indices."""
    width = len(known) if known else len(rows[0])
    if not all(len(values) == width and all(_is_bit(value) for value in values) for values in rows):
        return False
    flags = any(isinstance(value, bool) for values in rows for value in values)
    return flags or any(len(set(values)) < width for values in rows) or (known is not None and [1] in rows)


def _columns_in_order(
    read: Columns, labels: np.ndarray, names: Names, settled: Names | None
) -> tuple[np.ndarray, Names]:
    """`in_order` where a class is a column instead of an index."""
    if settled is None or settled == names:
        return labels, names
    moved = np.zeros((len(labels), len(settled)), dtype=np.int8)
    moved[:, places(read, names, settled)] = labels
    return moved, settled


def _is_bit(value: Any) -> bool:
    return isinstance(value, bool | int | float) and value in (0, 1)


def _number(value: Any) -> float:
    """A value as a number, NaN where it is none. Python's own way to write one, as 1_000, is not data's."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        return math.nan
    if isinstance(value, str) and "_" in value:
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan


def _tags(read: Columns, row: int, value: Any) -> list[Any]:
    tags = value.split() if isinstance(value, str) else value
    if not isinstance(tags, list):
        raise _fault(read, row, value, "a list of tags, or a text of tags with white space between them")
    words = read.values["text"][row].split(" ")
    if len(tags) != len(words):
        counts = f"{len(tags)} tags for {len(words)} words"
        raise DataError(f"{read.where(row)}: {counts}, wanted a tag for each word; are these the right columns?")
    return tags


def _answers(read: Columns, row: int, value: Any) -> list[tuple[str, int | None]]:
    """Each answer's text, and its first character where the table says it."""
    if isinstance(value, str):
        return [(value, None)]
    if isinstance(value, dict) and isinstance(texts := value.get("text"), list):
        starts = value.get("answer_start")
        starts = [None] * len(texts) if starts is None else starts
        if isinstance(starts, list) and len(starts) == len(texts):
            value = [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]
    found = []
    for one in value if isinstance(value, list) else [value]:
        answer = {"text": one} if isinstance(one, str) else one
        text, start = (answer.get("text"), answer.get("answer_start")) if isinstance(answer, dict) else (None, None)
        if not isinstance(text, str) or isinstance(start, bool) or not isinstance(start, int | None):
            raise _fault(read, row, value, "{text: [...], answer_start: [...]}, or the answer's text")
        found.append((text, start))
    return found


def _span(read: Columns, row: int, text: str, start: int | None) -> tuple[int, int]:
    context: str = read.values["text_pair"][row]
    if start is None:
        start = context.find(text)
        if start < 0:
            hint = "wanted a part of it, letter by letter"
            raise DataError(f"{read.where(row)}: the answer {shown(text)} does not occur in its context; {hint}")
    elif start < 0 or context[start : start + len(text)] != text:
        have = shown(context[start : start + len(text)]) if start >= 0 else "nothing"
        hint = "are places counted in characters, from 0?"
        raise DataError(
            f"{read.where(row)}: the context has {have} at {start}, wanted the answer {shown(text)}; {hint}"
        )
    return start, start + len(text)


def _fault(read: Columns, row: int, value: Any, wanted: str, hint: str = "is it the right column?") -> DataError:
    return DataError(f"{read.where(row)}: label is {shown(value)}, wanted {wanted}; {hint}")
