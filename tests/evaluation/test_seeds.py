"""Several seeds are taken together: their spread counts, two of them make a wide interval, and the mean is the mean."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from compress.errors import DataError
from evaluation.metrics.accuracy import Accuracy
from evaluation.metrics.calibration_error import CalibrationError
from evaluation.metrics.f1 import F1
from evaluation.statistics.intervals import Drop, interval_of, paired_drop
from evaluation.statistics.seeds import averaged_drop, combined, combined_drop

accuracy = Accuracy().value
EXAMPLES = 400


def right(share: float, seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).random((EXAMPLES, 1)) < share).astype(np.int64)


def dropped(lost: Sequence[float], *, first: int = 0) -> Drop:
    """Each seed's target errs on a further share of what its baseline, the same for all, gets right."""
    before = right(0.9, first)
    after = [before * right(1 - share / 0.9, first + 1 + place) for place, share in enumerate(lost)]
    return combined_drop(accuracy, [before] * len(lost), after, higher_is_better=True, seed=0, resamples=500)


def test_the_figure_is_the_mean_over_seeds() -> None:
    evidence = [right(share, place) for place, share in enumerate((0.8, 0.85, 0.9))]
    found = combined(accuracy, evidence, seed=0, resamples=200)
    assert found.value == pytest.approx(np.mean([accuracy(each) for each in evidence]))
    assert found.low < found.value < found.high


def test_seeds_that_came_out_alike_are_as_sure_as_their_examples() -> None:
    evidence = np.concatenate([right(0.5, 0), right(0.5, 1)], axis=1)
    f1 = F1(classes=2).value
    found, alone = combined(f1, [evidence] * 3, seed=0), interval_of(f1, evidence, seed=0)
    assert (found.value, found.low, found.high) == pytest.approx((alone.value, alone.low, alone.high))


def test_the_same_spread_of_two_seeds_is_far_less_sure_than_of_six() -> None:
    two, six = dropped([0.02, 0.10]), dropped([0.02, 0.10] * 3)
    assert two.high - two.low > 4 * (six.high - six.low)
    assert two.verdict == "tie"
    assert six.verdict == "worse"


def test_the_p_value_turns_the_interval_round() -> None:
    for lost in ([0.02, 0.10], [0.05, 0.06, 0.055], [0.0, 0.01, 0.02], [0.03, 0.04, 0.05, 0.06]):
        found = dropped(lost)
        half = (found.high - found.low) / 2
        if abs(abs(found.value) - half) > 0.05 * half:  # the bootstrap's interval is not quite symmetric
            assert (found.p_value < 0.05) == (abs(found.value) > half)


def test_nothing_lost_by_any_seed_is_a_tie_without_doubt() -> None:
    evidence = [right(0.8, 0), right(0.85, 1)]
    found = combined_drop(accuracy, evidence, evidence, higher_is_better=True, seed=0, resamples=200)
    assert (found.value, found.p_value, found.verdict) == (0.0, 1.0, "tie")


@pytest.mark.parametrize("count", [20, 400])
def test_examples_that_no_seed_divides_show_no_certainty(count: int) -> None:
    evidence = [np.ones((count, 1), np.int64)] * 3
    alone = paired_drop(accuracy, evidence[0], evidence[0], higher_is_better=True, seed=0)
    drop = combined_drop(accuracy, evidence, evidence, higher_is_better=True, seed=0, resamples=200)
    assert drop.low < -0.009 < 0.009 < drop.high
    assert (drop.low, drop.high) == pytest.approx((alone.low, alone.high))
    level, one = combined(accuracy, evidence, seed=0, resamples=200), interval_of(accuracy, evidence[0], seed=0)
    assert (level.value, level.low, level.high) == pytest.approx((1.0, one.low, 1.0))


def test_examples_that_no_seed_divides_show_none_by_a_figure_that_is_no_share_either() -> None:
    truth = np.arange(60) % 2
    evidence, metric = [np.stack([truth, truth], axis=1)] * 3, F1(classes=2)
    drop = combined_drop(
        metric.value, evidence, evidence, higher_is_better=True, ends=metric.ends, seed=0, resamples=50
    )
    alone = paired_drop(
        metric.value, evidence[0], evidence[0], higher_is_better=True, ends=metric.ends, seed=0, resamples=50
    )
    assert (drop.low, drop.high) == pytest.approx((alone.low, alone.high))
    assert drop.low < 0
    level = combined(metric.value, evidence, ends=metric.ends, seed=0, resamples=50)
    assert level.low < level.value == level.high == 1.0


def answers(seed: int, *, exponent: float = 1.0) -> np.ndarray:
    """Evidence of calibration error of a model that is as often right as it says, where `exponent` is 1."""
    random = np.random.default_rng(seed)
    confidence = random.uniform(0.5, 1, EXAMPLES)
    truth = (random.random(EXAMPLES) < confidence).astype(int)
    odds = exponent * np.log(confidence / (1 - confidence))
    return CalibrationError().evidence(truth, np.stack([np.zeros(EXAMPLES), odds], axis=1))


def test_what_noise_makes_larger_is_reflected_never_below_nothing_and_holds_the_mean() -> None:
    value, evidence = CalibrationError().value, [answers(0)] * 3
    found, plain = (combined(value, evidence, overstates=each, seed=0, resamples=500) for each in (True, False))
    alone = interval_of(value, evidence[0], overstates=True, seed=0, resamples=500)
    assert (found.low, found.high) == pytest.approx((alone.low, alone.high))  # seeds alike add nothing
    assert 0 <= found.low < plain.low
    assert combined(value, [answers(seed) for seed in range(2)], overstates=True, seed=0, resamples=200).low >= 0


def test_a_drop_of_what_noise_makes_larger_is_reflected_too() -> None:
    value = CalibrationError().value
    before, after = [answers(0)] * 3, [answers(0, exponent=1.6)] * 3
    found, plain = (
        combined_drop(value, before, after, higher_is_better=False, overstates=each, seed=0, resamples=500)
        for each in (True, False)
    )
    assert found.value == plain.value
    below, above = found.value - found.low, found.high - found.value
    assert (below, above) == pytest.approx((max(0, plain.high - plain.value), max(0, plain.value - plain.low)))
    assert found.low <= found.value <= found.high


def test_a_relative_drop_is_the_mean_of_each_seeds_own() -> None:
    before, after = [right(0.9, 0), right(0.5, 1)], [right(0.8, 2), right(0.4, 3)]
    found = combined_drop(accuracy, before, after, higher_is_better=True, relative=True, seed=0, resamples=200)
    own = [1 - accuracy(b) / accuracy(a) for a, b in zip(before, after, strict=True)]
    assert found.value == pytest.approx(np.mean(own))


def test_the_interval_holds_the_truth_of_seeds_at_large_even_with_two() -> None:
    random = np.random.default_rng(0)
    hits = []
    for trial in range(120):
        found = dropped([*np.clip(0.05 + random.normal(0, 0.02, 2), 0, None)], first=10 * trial)
        hits.append(found.low <= 0.05 <= found.high)
    assert np.mean(hits) >= 0.92


def test_one_seed_or_other_examples_are_refused() -> None:
    with pytest.raises(DataError, match="seeds: 1 of them"):
        combined(accuracy, [right(0.8, 0)], seed=0)
    with pytest.raises(DataError, match="wanted two and one"):
        combined(accuracy, [right(0.8, 0), right(0.8, 0)[:10]], seed=0)


def test_seeds_averaged_within_examples_lose_the_same_and_are_surer_than_seeds_taken_for_a_sample() -> None:
    lost = 0.01, 0.05, 0.12
    before = [right(0.9, place) for place in range(3)]
    after = [each * right(1 - share, 7 + place) for place, (each, share) in enumerate(zip(before, lost, strict=True))]
    sides = {"baselines": before, "targets": after, "higher_is_better": True, "seed": 0, "resamples": 500}
    these, others = averaged_drop(accuracy, **sides), combined_drop(accuracy, **sides)
    assert these.value == pytest.approx(others.value)
    assert these.high - these.low < others.high - others.low
    assert these.p_value < others.p_value


def test_averaged_drops_of_seeds_alike_are_those_of_one_seed_and_turn_round_with_the_sides() -> None:
    before, after = right(0.9, 0), right(0.8, 1)
    found = averaged_drop(accuracy, [before] * 3, [after] * 3, higher_is_better=True, seed=0)
    alone = paired_drop(accuracy, before, after, higher_is_better=True, seed=0)
    assert (found.value, found.low, found.high) == pytest.approx((alone.value, alone.low, alone.high), abs=0.004)
    turned = averaged_drop(accuracy, [after] * 3, [before] * 3, higher_is_better=True, seed=0)
    assert (turned.value, turned.low, turned.high) == pytest.approx((-found.value, -found.high, -found.low), abs=0.004)
    assert (found.verdict, turned.verdict) == ("worse", "better")


@pytest.mark.parametrize("count", [20, 400])
def test_averaged_drops_of_nothing_show_no_certainty(count: int) -> None:
    evidence = [np.ones((count, 1), np.int64)] * 3
    found = averaged_drop(accuracy, evidence, evidence, higher_is_better=True, seed=0, resamples=200)
    alone = paired_drop(accuracy, evidence[0], evidence[0], higher_is_better=True, seed=0)
    assert (found.low, found.high, found.p_value) == pytest.approx((alone.low, alone.high, 1.0))
    with pytest.raises(DataError, match="seeds"):
        averaged_drop(accuracy, evidence[:1], evidence[:1], higher_is_better=True, seed=0)
