"""Calibration error is the distance between how sure a model is and how often it is right."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.metrics.calibration_error import CalibrationError
from evaluation.statistics.intervals import interval_of, paired_drop

METRIC = CalibrationError()


def logits(confidence: np.ndarray) -> np.ndarray:
    """Scores of two classes that give class 1 this probability."""
    return np.stack([np.zeros_like(confidence), np.log(confidence / (1 - confidence))], axis=1)


def answers(count: int, *, right: float, confidence: float, seed: int = 0) -> np.ndarray:
    """Evidence of a model that is as sure everywhere, and right for a share of the examples."""
    truth = (np.random.default_rng(seed).random(count) < right).astype(int)
    return METRIC.evidence(truth, logits(np.full(count, confidence)))


def test_it_is_the_plain_sum_over_bins() -> None:
    random = np.random.default_rng(0)
    predictions, truth = random.normal(0, 2, (400, 3)), random.integers(0, 3, 400)
    shares = np.exp(predictions) / np.exp(predictions).sum(axis=1, keepdims=True)
    confidence, right = shares.max(axis=1), shares.argmax(axis=1) == truth
    expected = 0.0
    for low, high in zip(np.arange(15) / 15, np.arange(1, 16) / 15, strict=True):
        there = (confidence > low) & (confidence <= high)
        if there.any():
            expected += there.mean() * abs(right[there].mean() - confidence[there].mean())
    assert float(METRIC.value(METRIC.evidence(truth, predictions))) == pytest.approx(expected)


def test_a_model_that_is_right_as_often_as_it_is_sure_errs_by_nothing() -> None:
    truth = np.array([1, 1, 1, 0])
    assert float(METRIC.value(METRIC.evidence(truth, logits(np.full(4, 0.75))))) == pytest.approx(0.0)


def test_a_model_that_is_too_sure_errs_by_how_much() -> None:
    assert float(METRIC.value(answers(20_000, right=0.7, confidence=0.9))) == pytest.approx(0.2, abs=0.01)


def test_its_interval_holds_the_value_is_not_below_zero_and_reaches_the_truth_that_noise_hides() -> None:
    """A perfectly calibrated model's sample errs by more than nothing, and its resamples by more than the sample."""
    random = np.random.default_rng(0)
    confidence = random.uniform(0.5, 1, 300)
    truth = (random.random(300) < confidence).astype(int)
    evidence = METRIC.evidence(truth, logits(confidence))
    plain = interval_of(METRIC.value, evidence, seed=0)
    reflected = interval_of(METRIC.value, evidence, seed=0, overstates=True)
    assert 0 <= reflected.low <= reflected.value <= reflected.high
    assert reflected.low < plain.low
    assert reflected.value == plain.value


def test_a_model_that_became_too_sure_lost_calibration() -> None:
    drop = paired_drop(
        METRIC.value,
        answers(800, right=0.8, confidence=0.8),
        answers(800, right=0.8, confidence=0.95),
        higher_is_better=False,
        overstates=True,
        seed=0,
    )
    assert drop.verdict == "worse"
    assert drop.low <= drop.value <= drop.high
