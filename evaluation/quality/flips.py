"""Examples that a target decides differently than the reference: broken, mended, or wrong in another way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, softmax

from compress.batching import IGNORED
from compress.data import Split
from compress.metric import metric_of
from evaluation.metrics.words import same_width
from evaluation.sitting import Opened

SHOWN_CHARACTERS = 300
"""Of each text."""

KINDS = ("broken", "mended", "changed")


def flipped(
    one: Opened, reference: Opened, test: Split, most: int, *, quote: bool = True
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows of the examples whose decision differs from the reference's, those that it was surest of first; and how many
    examples are broken, mended and changed, and of how many.

    `kind` is broken where the reference was right, mended where the target is, changed where neither is. `confidence`
    is the reference's, from 0 to 1; None for spans, whose scores are no probabilities.

    Args:
        most: rows, at most; all are counted.
        quote: give each example's texts; without them its number, labels and places in the text are given alone, as
            the words may be nobody's to pass on.
    """
    pair = _pair(one, reference, test)
    sureness = np.nan_to_num(pair.confidence, nan=-1.0)
    changed = np.flatnonzero(pair.changed)
    surest_first = changed[np.argsort(-sureness[changed], kind="stable")][:most].tolist()
    rows = [_row(pair, example, one.name, reference.name, test, quote) for example in surest_first]
    counts = {name: int((pair.kinds[pair.changed] == place).sum()) for place, name in enumerate(KINDS)}
    return rows, {"target": one.name, "baseline": reference.name, **counts, "count": len(test)}


@dataclass(frozen=True)
class _Pair:
    """Both models' decisions, and what they amount to.

    Attributes:
        before: the reference's decisions, (examples, ...).
        after: the target's.
        changed: whether they differ, (examples,).
        kinds: index into `KINDS`, (examples,); of no meaning where nothing changed.
        confidence: the reference's, (examples,); NaN where there is none.
    """

    target: str
    names: Sequence[str]
    before: np.ndarray
    after: np.ndarray
    changed: np.ndarray
    kinds: np.ndarray
    confidence: np.ndarray


def _pair(one: Opened, reference: Opened, test: Split) -> _Pair:
    bundle = one.subject.bundle
    target = bundle.task.target
    assert target is not None, "a task without labels decides nothing that could flip"
    assert test.labels is not None, "quality was measured"
    decisions = [bundle.task.decide(each.predictions) for each in (reference, one)]
    name = "exact_match" if target == "span" else "accuracy"
    metric = metric_of(name, target, labels=bundle.labels, contexts=test.pairs or ())
    before_right, after_right = (_right(metric.evidence(test.labels, each)) for each in decisions)
    before, after = decisions
    if target == "tags":
        before, after = (_where_words_are(test.labels, each) for each in same_width(before, after))
    return _Pair(
        target,
        bundle.labels,
        before,
        after,
        (before != after).reshape(len(before), -1).any(axis=1),
        np.where(before_right & ~after_right, 0, np.where(~before_right & after_right, 1, 2)),
        _confidence(target, reference.predictions),
    )


def _where_words_are(truth: np.ndarray, decisions: np.ndarray) -> np.ndarray:
    """The tags of words whose true tag is known; all others are as if they were not there."""
    known, decisions = same_width(truth, decisions)
    return np.where(known >= 0, decisions, IGNORED)


def _right(evidence: np.ndarray) -> np.ndarray:
    """Whether an example is right: of tagged words, whether all are."""
    return np.asarray(evidence[:, 0] == (evidence[:, 1] if evidence.shape[1] == 2 else 1))


def _confidence(target: str, predictions: np.ndarray) -> np.ndarray:
    """The probability of what is decided; of several labels or words, of the one that is least sure."""
    if target == "class":
        return np.asarray(softmax(predictions.astype(np.float64), axis=-1).max(-1))
    if target == "classes":
        return np.asarray(expit(np.abs(predictions.astype(np.float64))).min(-1))
    if target == "tags":
        sure = softmax(predictions.astype(np.float64), axis=-1).max(-1)  # NaN where there is no word
        return np.asarray(np.where(np.isnan(sure).all(-1), np.nan, np.nanmin(np.nan_to_num(sure, nan=1.0), axis=-1)))
    return np.full(len(predictions), np.nan)


def _row(pair: _Pair, example: int, target: str, baseline: str, test: Split, quote: bool) -> dict[str, Any]:
    label, before, after = _told(pair, example, test, quote)
    row: dict[str, Any] = {"target": target, "baseline": baseline, "example": example}
    if quote:
        row["text"] = test.texts[example][:SHOWN_CHARACTERS]
        if test.pairs is not None:
            row["text_pair"] = test.pairs[example][:SHOWN_CHARACTERS]
    sure = float(pair.confidence[example])
    return row | {
        "label": label,
        "before": before,
        "after": after,
        "confidence": None if np.isnan(sure) else sure,
        "kind": KINDS[int(pair.kinds[example])],
    }


def _told(pair: _Pair, example: int, test: Split, quote: bool) -> tuple[str, str, str]:
    """The true label, the reference's decision and the target's, in words."""
    assert test.labels is not None
    truth, before, after = test.labels[example], pair.before[example], pair.after[example]
    if pair.target == "class":
        return pair.names[truth], pair.names[before], pair.names[after]
    if pair.target == "classes":
        label, first, second = (_several(each, pair.names) for each in (truth, before, after))
        return label, first, second
    if pair.target == "tags":
        differing = np.flatnonzero(before != after).tolist()
        words = {at: test.texts[example].split(" ")[at] if quote else f"word {at + 1}" for at in differing}
        label, first, second = (_tags(each, words, pair.names) for each in (truth, before, after))
        return label, first, second
    assert test.pairs is not None, "a span is looked for in the second text"
    context = test.pairs[example] if quote else None
    true = " | ".join(dict.fromkeys(_span(each, context) for each in truth.tolist() if each[0] >= 0))
    return true or "no answer", _span(before.tolist(), context), _span(after.tolist(), context)


def _several(given: np.ndarray, names: Sequence[str]) -> str:
    return ", ".join(names[place] for place in np.flatnonzero(given).tolist()) or "none"


def _tags(tags: np.ndarray, words: Mapping[int, str], names: Sequence[str]) -> str:
    """The tags of some words, given by their place, as `word: tag`."""
    told = [f"{word}: {names[int(tags[at])] if tags[at] >= 0 else 'cut off'}" for at, word in words.items()]
    return ", ".join(told)[:SHOWN_CHARACTERS]


def _span(span: Sequence[int], context: str | None) -> str:
    start, end = span
    if start < 0:
        return "no answer"
    return f"characters {start} to {end}" if context is None else context[start:end][:SHOWN_CHARACTERS]
