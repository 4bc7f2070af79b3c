"""The data card of `run.json`: what each table and split holds, and what was dropped and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.tables.table import rows_digest

if TYPE_CHECKING:
    from compress.data import Split
    from compress.tables.table import Table
    from compress.task import Target

_QUANTILES = {"median": 0.5, "p95": 0.95, "max": 1.0}


def table_card(table: Table) -> dict[str, Any]:
    """A table as it was read: where it came from, how many rows it has and lost, and what they hold."""
    return {"source": table.source, "dropped": dict(table.dropped)} | _contents(table, table.target)


def split_card(split: Split, dropped: Mapping[str, int], target: Target | None) -> dict[str, Any]:
    """A split: how many examples it has, what it holds, and how many it lost to the splits that judge it."""
    return {"dropped": dict(dropped)} | _contents(split, target)


def balance(labels: np.ndarray, names: Sequence[str], target: Target) -> dict[str, Any]:
    """How labels are spread, by the form that they have.

    Classes are counted by name, each of an example's several and each word's tag for itself; numbers have quantiles;
    of questions it is said how many have an answer.
    """
    if target == "number":
        low, *middle, high = np.quantile(labels, [0, 0.25, 0.5, 0.75, 1]).tolist()
        return {"min": low, "p25": middle[0], "median": middle[1], "p75": middle[2], "max": high}
    if target == "span":
        answered = int((labels >= 0).any(axis=(1, 2)).sum())
        return {"answered": answered, "unanswered": len(labels) - answered}
    counts = labels.sum(axis=0, dtype=np.int64) if target == "classes" else _counts(labels[labels >= 0], len(names))
    return dict(zip(names, counts.tolist(), strict=True))


def _contents(rows: Table | Split, target: Target | None) -> dict[str, Any]:
    card: dict[str, Any] = {"rows": len(rows), "digest": rows.digest, "duplicates": _duplicates(rows)}
    if len(rows) and rows.pictures is None:
        card["lengths"] = {"text": _lengths(rows.texts)}
        if rows.pairs is not None:
            card["lengths"]["text_pair"] = _lengths(rows.pairs)
    if len(rows) and rows.labels is not None and target is not None:
        card["labels"] = balance(rows.labels, rows.label_names, target)
        if target == "classes":
            card["without_class"] = int((rows.labels.sum(axis=1) == 0).sum())
    if rows.slices:
        # The digest is of what a model sees; these may change without it.
        card["slices"] = {column: rows_digest(values, None, None, ()) for column, values in rows.slices.items()}
    return card


def _duplicates(rows: Table | Split) -> int:
    """How many rows hold, letter by letter, what a row before them holds; labels are not looked at."""
    held = set(rows.texts) if rows.pairs is None else set(zip(rows.texts, rows.pairs, strict=True))
    return len(rows) - len(held)


def _lengths(texts: Sequence[str]) -> dict[str, dict[str, int]]:
    """Quantiles of lengths that occur, so whole numbers: in characters, and in words between white space."""
    units = {"characters": [len(text) for text in texts], "words": [len(text.split()) for text in texts]}
    return {
        unit: {name: int(np.quantile(counts, fraction, method="inverted_cdf")) for name, fraction in _QUANTILES.items()}
        for unit, counts in units.items()
    }


def _counts(indices: np.ndarray, names: int) -> np.ndarray:
    return np.bincount(indices.astype(np.int64), minlength=names)
