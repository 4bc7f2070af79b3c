"""The words of answers, for metrics that compare them as SQuAD does."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

import numpy as np

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def words_of(answer: str) -> tuple[str, ...]:
    """The words that count: lower case, without ASCII punctuation, without English articles (Rajpurkar et al. 2016,
    section 6.1).

    >>> words_of("The U.S.  Army's")
    ('us', 'armys')
    """
    return tuple(_ARTICLES.sub(" ", answer.lower().translate(_NO_PUNCTUATION)).split())


def answered(
    truth: np.ndarray, decisions: np.ndarray, contexts: Sequence[str]
) -> list[tuple[list[tuple[str, ...]], tuple[str, ...]]]:
    """The words of every true answer, and of the decided one, example by example. No answer has no words.

    True answers without words are left out where others have some, as SQuAD 2.0 does (Rajpurkar et al. 2018).

    Args:
        truth: int (examples, answers, 2), start and end (exclusive) in the context; -1 where no answer is.
        decisions: int (examples, 2), likewise.
        contexts: the text of each example that the answers are parts of.
    """
    assert len(truth) == len(decisions) == len(contexts), (len(truth), len(decisions), len(contexts))
    return [
        ([words for span in spans if (words := _cut(context, span))] or [()], _cut(context, decided))
        for spans, decided, context in zip(truth.tolist(), decisions.tolist(), contexts, strict=True)
    ]


def _cut(context: str, span: Sequence[int]) -> tuple[str, ...]:
    start, end = span
    return words_of(context[start:end]) if start >= 0 else ()
