"""Every metric of decisions agrees with scikit-learn, row by row and on edge cases."""

import warnings
from collections.abc import Callable

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn import metrics as sklearn_metrics

from compress.errors import DataError
from evaluation.metrics.accuracy import Accuracy
from evaluation.metrics.f1 import F1
from evaluation.metrics.matthews import Matthews

Score = Callable[[np.ndarray, np.ndarray], float]

PAIRS = [
    pytest.param(Accuracy(), sklearn_metrics.accuracy_score, id="accuracy"),
    pytest.param(F1(average="macro"), lambda t, d: sklearn_metrics.f1_score(t, d, average="macro"), id="macro"),
    pytest.param(F1(average="micro"), lambda t, d: sklearn_metrics.f1_score(t, d, average="micro"), id="micro"),
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


@pytest.mark.parametrize(("metric", "score"), PAIRS)
@pytest.mark.parametrize("classes", [2, 3, 20])
@pytest.mark.parametrize("examples", [5, 400])  # with 5, most rows lack most classes
def test_every_row_agrees_with_scikit_learn(metric: Accuracy, score: Score, classes: int, examples: int) -> None:
    truth, decisions = random_decisions(classes, rows=12, examples=examples)
    np.testing.assert_allclose(metric.value(truth, decisions), by_row(score, truth, decisions), atol=1e-12)


@pytest.mark.parametrize("examples", [3, 300])
def test_with_two_classes_f1_is_that_of_class_one(examples: int) -> None:
    truth, decisions = random_decisions(2, rows=20, examples=examples)
    np.testing.assert_allclose(F1().value(truth, decisions), by_row(sklearn_metrics.f1_score, truth, decisions))


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
def test_edges_agree_with_scikit_learn(metric: Accuracy, score: Score, truth: list[int], decisions: list[int]) -> None:
    t, d = np.array([truth]), np.array([decisions])
    np.testing.assert_allclose(metric.value(t, d), by_row(score, t, d), atol=1e-12)


@pytest.mark.parametrize("metric", [Accuracy(), F1(), F1(average="macro"), F1(average="micro"), Matthews()])
class TestEveryMetric:
    def test_is_one_for_right_decisions(self, metric: Accuracy) -> None:
        truth, _ = random_decisions(3, rows=1, examples=50)
        assert metric.value(truth, truth) == pytest.approx(1.0)

    def test_keeps_leading_axes_and_gives_a_scalar_without_any(self, metric: Accuracy) -> None:
        truth, decisions = random_decisions(3, rows=6, examples=50)
        rows = metric.value(truth, decisions)
        blocks = metric.value(truth.reshape(2, 3, 50), decisions.reshape(2, 3, 50))
        assert rows.shape == (6,)
        np.testing.assert_array_equal(blocks.ravel(), rows)
        assert metric.value(truth[0], decisions[0]).shape == ()

    def test_one_truth_serves_many_decisions(self, metric: Accuracy) -> None:
        truth, decisions = random_decisions(3, rows=6, examples=50)
        repeated = np.repeat(truth[:1], 6, axis=0)
        np.testing.assert_array_equal(metric.value(truth[0], decisions), metric.value(repeated, decisions))

    def test_does_not_depend_on_the_order_of_examples(self, metric: Accuracy) -> None:
        truth, decisions = random_decisions(3, rows=1, examples=50)
        order = np.random.default_rng(0).permutation(50)
        assert metric.value(truth[:, order], decisions[:, order]) == pytest.approx(metric.value(truth, decisions))


def test_matthews_does_not_overflow_on_many_examples() -> None:
    truth, decisions = random_decisions(2, rows=1, examples=200_000)
    expected = by_row(sklearn_metrics.matthews_corrcoef, truth, decisions)
    np.testing.assert_allclose(Matthews().value(truth, decisions), expected)


def test_the_number_of_classes_decides_what_auto_means() -> None:
    truth, decisions = np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0])
    assert F1().value(truth, decisions) == F1(average="binary").value(truth, decisions)
    assert F1(classes=3).value(truth, decisions) == F1(average="macro").value(truth, decisions)


@pytest.mark.parametrize(
    ("metric", "truth", "message"),
    [
        (F1(classes=2), [0, 2], "0 to 1"),
        (F1(average="binary"), [0, 2], "3 classes"),
        (F1(), [0, -1], "-1"),
        (Matthews(), [0, -1], "-1"),
    ],
)
def test_classes_that_cannot_be_are_refused(metric: F1, truth: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        metric.value(np.array(truth), np.array([0, 1]))


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ValidationError):
        F1.model_validate({"averages": "macro"})
