"""Correlations agree with scipy, row by row, with and without ties; perplexity with a plain loop."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from compress.errors import DataError
from evaluation.metrics.pearson import Pearson
from evaluation.metrics.perplexity import Perplexity
from evaluation.metrics.spearman import Spearman

PAIRS = [
    pytest.param(Pearson(), stats.pearsonr, id="pearson"),
    pytest.param(Spearman(), stats.spearmanr, id="spearman"),
]


def judged(metric: Any, truth: np.ndarray, decisions: np.ndarray) -> float:
    return float(metric.value(metric.evidence(truth, decisions)))


@pytest.mark.parametrize(("metric", "reference"), PAIRS)
@pytest.mark.parametrize("decimals", [0, 9])  # whole numbers: ties everywhere
@pytest.mark.parametrize("examples", [4, 300])
def test_every_resample_agrees_with_scipy(metric: Any, reference: Any, decimals: int, examples: int) -> None:
    random = np.random.default_rng(examples)
    truth = random.normal(scale=2, size=examples).round(decimals)
    decisions = (truth + random.normal(size=examples)).round(decimals)
    told = metric.evidence(truth, decisions)
    drawn = random.integers(0, examples, (50, examples))
    uneven = [row for row in drawn if np.ptp(truth[row]) > 0 and np.ptp(decisions[row]) > 0]
    expected = [reference(truth[row], decisions[row]).statistic for row in uneven]
    assert len(uneven) > 25
    np.testing.assert_allclose(metric.value(told[np.array(uneven)]), expected, atol=1e-10)


@pytest.mark.parametrize("metric", [Pearson(), Spearman()])
def test_a_model_that_always_says_the_same_has_no_correlation(metric: Any) -> None:
    truth, same = np.random.default_rng(0).normal(size=30), np.full(30, 0.1)  # whose mean is not quite 0.1
    assert judged(metric, truth, same) == judged(metric, same, truth) == judged(metric, same, same) == 0.0


@pytest.mark.parametrize("metric", [Pearson(), Spearman()])
def test_scale_and_shift_do_not_count_and_a_sign_turns_it_round(metric: Any) -> None:
    random = np.random.default_rng(0)
    truth = random.normal(size=50)
    decisions = truth + random.normal(size=50)
    found = judged(metric, truth, decisions)
    assert judged(metric, truth, 1e-6 * decisions + 40) == pytest.approx(found)
    assert judged(metric, truth, -decisions) == pytest.approx(-found)


def test_only_the_order_counts_for_spearman_and_more_for_pearson() -> None:
    truth = np.linspace(0, 3, 20)
    assert judged(Spearman(), truth, np.exp(5 * truth)) == pytest.approx(1.0)
    assert judged(Pearson(), truth, np.exp(5 * truth)) < 0.8


def test_a_perfect_line_is_no_more_than_one() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        truth = random.normal(size=7)
        assert judged(Pearson(), truth, truth * random.random()) <= 1.0


def masked(*losses: list[float]) -> np.ndarray:
    """Decisions of a masked language model, one list of negative log-likelihoods an example."""
    found = np.full((len(losses), max(map(len, losses)), 3), np.nan)
    for row, example in zip(found, losses, strict=True):
        row[: len(example)] = (5, 7, 0)
        row[: len(example), 2] = example
    return found


def test_perplexity_is_the_plain_loops_over_all_masked_tokens() -> None:
    losses = [[0.5, 2.0, 1.0], [3.0], [], [0.25, 0.25]]
    tokens = [loss for example in losses for loss in example]
    assert judged(Perplexity(), None, masked(*losses)) == pytest.approx(math.exp(sum(tokens) / len(tokens)))


def test_a_model_that_knows_nothing_is_as_perplexed_as_there_are_tokens() -> None:
    assert judged(Perplexity(), None, masked([math.log(1000)] * 3, [math.log(1000)])) == pytest.approx(1000)


def test_perplexity_without_any_masked_token_is_refused() -> None:
    with pytest.raises(DataError, match="none of 2 examples has a token to find"):
        Perplexity().evidence(None, np.full((2, 3, 3), np.nan))


def test_a_resample_without_masked_tokens_has_no_perplexity() -> None:
    told = Perplexity().evidence(None, masked([1.0], []))
    assert np.isnan(Perplexity().value(told[[1, 1]]))
