"""Metrics of classes and labels agree with scikit-learn, row by row and on edge cases."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn import metrics as sklearn_metrics

from compress.errors import DataError
from evaluation.metrics.accuracy import Accuracy
from evaluation.metrics.f1 import F1
from evaluation.metrics.f1_macro import F1Macro
from evaluation.metrics.f1_micro import F1Micro
from evaluation.metrics.matthews import Matthews

Score = Callable[[np.ndarray, np.ndarray], float]

PAIRS = [
    pytest.param(Accuracy(), sklearn_metrics.accuracy_score, id="accuracy"),
    pytest.param(F1(average="macro"), lambda t, d: sklearn_metrics.f1_score(t, d, average="macro"), id="macro"),
    pytest.param(F1(average="micro"), lambda t, d: sklearn_metrics.f1_score(t, d, average="micro"), id="micro"),
    pytest.param(F1Macro(), lambda t, d: sklearn_metrics.f1_score(t, d, average="macro"), id="f1_macro"),
    pytest.param(F1Micro(), lambda t, d: sklearn_metrics.f1_score(t, d, average="micro"), id="f1_micro"),
    pytest.param(Matthews(), sklearn_metrics.matthews_corrcoef, id="matthews"),
]


def random_decisions(classes: int, rows: int, examples: int, right: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(classes)
    truth = random.integers(0, classes, (rows, examples))
    other = random.integers(0, classes, (rows, examples))
    return truth, np.where(random.random((rows, examples)) < right, truth, other)


def by_row(score: Score, truth: np.ndarray, decisions: np.ndarray) -> list[float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns where a class is absent
        return [float(score(t, d)) for t, d in zip(truth, decisions, strict=True)]


def in_rows(metric: Any, truth: np.ndarray, decisions: np.ndarray) -> np.ndarray:
    """The metric of each row, all at once."""
    told = np.stack([metric.evidence(t, d) for t, d in zip(truth, decisions, strict=True)])
    return metric.value(told)


@pytest.mark.parametrize(("metric", "score"), PAIRS)
@pytest.mark.parametrize("classes", [2, 3, 20])
@pytest.mark.parametrize("examples", [5, 400])  # with 5, most rows lack most classes
def test_every_row_agrees_with_scikit_learn(metric: Any, score: Score, classes: int, examples: int) -> None:
    truth, decisions = random_decisions(classes, rows=12, examples=examples)
    np.testing.assert_allclose(in_rows(metric, truth, decisions), by_row(score, truth, decisions), atol=1e-12)


@pytest.mark.parametrize("examples", [3, 300])
def test_with_two_classes_f1_is_that_of_class_one(examples: int) -> None:
    truth, decisions = random_decisions(2, rows=20, examples=examples)
    np.testing.assert_allclose(in_rows(F1(), truth, decisions), by_row(sklearn_metrics.f1_score, truth, decisions))


@pytest.mark.parametrize(("metric", "score"), PAIRS)
@pytest.mark.parametrize(
    ("truth", "decisions"),
    [
        ([0, 0, 2, 2], [0, 2, 2, 2]),  # class 1 is absent
        ([0, 1, 0, 1], [0, 0, 0, 0]),  # one class is never decided
        ([1, 1, 1, 1], [0, 1, 2, 1]),  # one class alone is true
        ([0, 0], [0, 0]),
        ([0, 1], [1, 0]),
    ],
)
def test_edges_agree_with_scikit_learn(metric: Any, score: Score, truth: list[int], decisions: list[int]) -> None:
    t, d = np.array([truth]), np.array([decisions])
    np.testing.assert_allclose(in_rows(metric, t, d), by_row(score, t, d), atol=1e-12)


@pytest.mark.parametrize("labels", [1, 3, 8])
@pytest.mark.parametrize("examples", [2, 200])
@pytest.mark.parametrize(
    ("metric", "score"),
    [
        (Accuracy(target="classes"), sklearn_metrics.accuracy_score),
        (F1(), lambda t, d: sklearn_metrics.f1_score(t, d, average="micro" if t.shape[1] > 1 else "binary")),
    ],
)
def test_several_labels_agree_with_scikit_learn(metric: Any, score: Score, labels: int, examples: int) -> None:
    random = np.random.default_rng(labels)
    truth = (random.random((12, examples, labels)) < 0.3).astype(np.int8)
    decisions = (random.random((12, examples, labels)) < 0.4).astype(np.int8)
    np.testing.assert_allclose(in_rows(metric, truth, decisions), by_row(score, truth, decisions), atol=1e-12)


@pytest.mark.parametrize("labels", [2, 3, 8])
def test_macro_and_micro_f1_of_several_labels_agree_with_scikit_learn(labels: int) -> None:
    random = np.random.default_rng(labels)
    truth, decisions = ((random.random((60, labels)) < 0.4).astype(np.int8) for _ in range(2))
    for average, metric in (("macro", F1Macro(target="classes")), ("micro", F1Micro())):
        expected = sklearn_metrics.f1_score(truth, decisions, average=average)
        assert float(metric.value(metric.evidence(truth, decisions))) == pytest.approx(expected)


def test_labels_are_counted_beyond_what_their_own_type_holds() -> None:
    truth = np.ones((2, 300), dtype=np.int8)
    assert F1().value(F1().evidence(truth, truth)) == 1.0


def test_without_any_label_true_or_decided_f1_is_zero_as_in_scikit_learn() -> None:
    none = np.zeros((4, 3), dtype=np.int8)
    assert (
        F1().value(F1().evidence(none, none))
        == 0.0
        == by_row(lambda t, d: sklearn_metrics.f1_score(t, d, average="micro"), none[None], none[None])[0]
    )


def test_words_are_counted_not_texts_and_a_word_that_was_cut_off_is_wrong() -> None:
    truth = np.array([[0, 1, 1, 1], [2, -100, -100, -100]])
    decisions = np.array([[0, 1, 0], [2, -100, -100]])  # the model came to three words, of which one is wrong
    metric = Accuracy(target="tags")
    told = metric.evidence(truth, decisions)
    assert told.tolist() == [[2, 4], [1, 1]]
    assert metric.value(told) == 3 / 5


def test_accuracy_of_words_is_scikit_learns_of_all_words_together() -> None:
    random = np.random.default_rng(0)
    truth, decisions = random.integers(0, 4, (2, 30, 9))
    beyond = np.arange(9) >= random.integers(0, 10, (30, 1))
    metric = Accuracy(target="tags")
    found = metric.value(metric.evidence(np.where(beyond, -100, truth), np.where(beyond, -100, decisions)))
    assert found == pytest.approx(sklearn_metrics.accuracy_score(truth[~beyond], decisions[~beyond]))


def test_texts_without_words_have_no_accuracy_of_words() -> None:
    metric = Accuracy(target="tags")
    nothing = np.full((2, 3), -100)
    assert np.isnan(metric.value(metric.evidence(nothing, nothing)))


def test_matthews_does_not_overflow_on_many_examples() -> None:
    truth, decisions = random_decisions(2, rows=1, examples=200_000)
    expected = by_row(sklearn_metrics.matthews_corrcoef, truth, decisions)
    np.testing.assert_allclose(in_rows(Matthews(), truth, decisions), expected)


def test_the_number_of_classes_decides_what_auto_means() -> None:
    truth, decisions = np.array([[0, 1, 1, 0]]), np.array([[0, 1, 0, 0]])
    assert in_rows(F1(), truth, decisions) == in_rows(F1(average="binary"), truth, decisions)
    assert in_rows(F1(classes=3), truth, decisions) == in_rows(F1(average="macro"), truth, decisions)


@pytest.mark.parametrize(
    ("metric", "truth", "message"),
    [
        (F1(classes=2), [0, 2], "0 to 1"),
        (F1(average="binary"), [0, 2], "3 classes"),
        (F1(), [0, -1], "-1"),
        (Matthews(), [0, -1], "-1"),
    ],
)
def test_classes_that_cannot_be_are_refused(metric: Any, truth: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        metric.evidence(np.array(truth), np.array([0, 1]))


def test_an_average_over_classes_is_refused_where_an_example_has_several() -> None:
    labels = np.zeros((2, 3), dtype=np.int8)
    with pytest.raises(DataError, match=r"average is macro.*wanted micro"):
        F1(average="macro").evidence(labels, labels)


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ValidationError):
        F1.model_validate({"averages": "macro"})
