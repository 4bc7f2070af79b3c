"""The bench of coverage knows the truth of what it draws, and notices intervals that are too narrow."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from bench.measuring import coverage
from evaluation.metrics.accuracy import Accuracy
from evaluation.metrics.f1 import F1
from evaluation.metrics.spearman import Spearman
from evaluation.statistics.intervals import paired_drop
from evaluation.statistics.undivided import Value


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        (coverage.accuracy_pair, Accuracy().value),
        (coverage.near_pair, Accuracy().value),
        (coverage.f1_pair, F1(classes=2).value),
        (coverage.spearman_pair, Spearman().value),
    ],
)
def test_of_very_many_examples_the_drop_is_the_one_that_is_said_to_be_true(
    pair: Callable[..., Any], value: Value
) -> None:
    before, after, true = pair(400_000, np.random.default_rng(0))
    assert float(value(before) - value(after)) == pytest.approx(true, abs=0.002)


def test_intervals_that_hold_the_truth_too_seldom_break_the_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage, "TRIALS", 60)
    kinds = {
        "accuracy_drop": (coverage._accuracy, (200,)),
        "accuracy_drop_of_few": (lambda *_: True, (200,)),
        "drop_over_seeds": (lambda *_: True, (2,)),
    }
    monkeypatch.setattr(coverage, "_KINDS", kinds)
    assert all(gate.passed for gate in coverage.found(small=True, seed=0).gates)
    monkeypatch.setattr(coverage, "paired_drop", partial(paired_drop, confidence=0.5))
    gates = {gate.name: gate for gate in coverage.found(small=False, seed=0).gates}
    assert not gates["interval_coverage"].passed
    assert "accuracy_drop at 200 examples" in gates["interval_coverage"].detail
    assert gates["interval_coverage_over_seeds"].passed
    assert gates["interval_coverage_of_few"].passed


@pytest.mark.parametrize("size", coverage.EXAMPLES)
def test_where_few_examples_differ_intervals_hold_the_truth_no_less_often_than_they_say(size: int) -> None:
    assert np.mean([coverage._near(size, seed) for seed in range(400)]) >= 0.93


def test_a_promise_that_may_be_exceeded_may_not_be_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {name: (lambda *_: True, (2,)) for name in ("accuracy_drop", "drop_over_seeds")}
    kinds["accuracy_drop_of_few"] = (lambda _, seed: seed % 10 > 0, (200,))
    monkeypatch.setattr(coverage, "_KINDS", kinds)
    monkeypatch.setattr(coverage, "TRIALS", 50)
    gates = {gate.name: gate.passed for gate in coverage.found(small=False, seed=0).gates}
    assert gates["interval_coverage_over_seeds"]
    assert not gates["interval_coverage_of_few"]
    assert not gates["interval_coverage"]  # always is too often, where nothing may be too wide
