"""Answers are compared as SQuAD compares them: worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.metrics.answers import words_of
from evaluation.metrics.exact_match import ExactMatch
from evaluation.metrics.span_f1 import SpanF1

CONTEXT = "In 1889, the Eiffel Tower was built in Paris; the tower is of iron."
NONE = (-1, -1)
COLOURS = ("red", "green", "blue")


def span(text: str) -> tuple[int, int]:
    return CONTEXT.index(text), CONTEXT.index(text) + len(text)


def judged(true: list[tuple[int, int]], decided: tuple[int, int]) -> tuple[float, float]:
    """Exact match and F1 of one answer."""
    truth, decisions = np.array([true]), np.array([decided])
    [[exact]], [[overlap]] = (
        metric.evidence(truth, decisions).tolist()
        for metric in (ExactMatch(texts=(CONTEXT,)), SpanF1(texts=(CONTEXT,)))
    )
    return exact, overlap


@pytest.mark.parametrize(
    ("true", "decided", "exact", "f1"),
    [
        (["Eiffel Tower"], "Eiffel Tower", 1, 1.0),
        (["Eiffel Tower"], "the Eiffel Tower", 1, 1.0),  # articles do not count
        (["1889"], "1889,", 1, 1.0),  # nor does punctuation
        (["Tower"], "tower", 1, 1.0),  # nor case
        (["Eiffel Tower"], "Eiffel Tower was built", 0, 2 * (2 / 4) * (2 / 2) / (2 / 4 + 2 / 2)),
        (["Paris"], "iron", 0, 0.0),
        (["Paris", "in Paris"], "in Paris", 1, 1.0),  # the closest true answer counts
        (["Paris", "built in Paris"], "was built in Paris", 0, 2 * (3 / 4) * 1 / (3 / 4 + 1)),
    ],
)
def test_answers_are_judged_as_by_hand(true: list[str], decided: str, exact: int, f1: float) -> None:
    assert judged([span(text) for text in true], span(decided)) == (exact, pytest.approx(f1))


def test_no_answer_is_right_where_there_is_none_and_wrong_elsewhere() -> None:
    assert judged([NONE, NONE], NONE) == (1, 1.0)
    assert judged([NONE], span("Paris")) == (0, 0.0)
    assert judged([span("Paris")], NONE) == (0, 0.0)


def test_padding_of_true_answers_is_no_answer_to_match() -> None:
    assert judged([span("Paris"), NONE], NONE) == (0, 0.0)
    assert judged([span("Paris"), NONE], span("Paris")) == (1, 1.0)


def test_a_true_answer_without_words_counts_only_where_it_is_the_only_one() -> None:
    article = span("the ")
    assert judged([article], NONE) == (1, 1.0)
    assert judged([article, span("Paris")], NONE) == (0, 0.0)


def test_a_word_counts_as_often_as_it_stands_there() -> None:
    text = "go go stop"
    found = SpanF1(texts=(text,)).evidence(np.array([[[0, 5]]]), np.array([[0, 10]]))
    assert found.tolist() == [[pytest.approx(2 * 2 / (2 + 3))]]
    found = SpanF1(texts=(text,)).evidence(np.array([[[0, 2]]]), np.array([[0, 5]]))
    assert found.tolist() == [[pytest.approx(2 * 1 / (1 + 2))]]


def test_articles_are_whole_words_and_punctuation_goes_before_them() -> None:
    assert words_of("Another theory: a-n apple") == ("another", "theory", "apple")
    assert words_of("the-cat") == ("thecat",)
    assert words_of("  ") == ()


@given(st.lists(st.sampled_from(COLOURS), max_size=5), st.data())
def test_the_overlap_is_that_of_a_plain_loop(first: list[str], data: st.DataObject) -> None:
    second = data.draw(st.lists(st.sampled_from(COLOURS), max_size=5))
    context = " ".join([*first, *second])
    middle = len(" ".join(first)) + bool(first)
    left = list(second)
    shared = 0
    for word in first:
        if word in left:
            left.remove(word)
            shared += 1
    if not first or not second:
        expected = float(first == second)
    elif shared == 0:
        expected = 0.0
    else:
        precision, recall = shared / len(second), shared / len(first)
        expected = 2 * precision * recall / (precision + recall)
    truth = np.array([[[0, len(" ".join(first))]]])
    decisions = np.array([[middle, len(context)]])
    assert SpanF1(texts=(context,)).evidence(truth, decisions).item() == pytest.approx(expected)
    exact = ExactMatch(texts=(context,)).evidence(truth, decisions).item()
    assert exact == (first == second)
