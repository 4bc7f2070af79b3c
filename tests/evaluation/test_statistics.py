"""Intervals cover what they claim to cover, and comparisons are paired, antisymmetric and deterministic."""

import tracemalloc

import numpy as np
import pytest
from scipy.stats import multinomial, norm

from compress.errors import DataError
from compress.metric import Metric
from evaluation.metrics.accuracy import Accuracy
from evaluation.metrics.f1 import F1
from evaluation.metrics.perplexity import Perplexity
from evaluation.metrics.span_f1 import SpanF1
from evaluation.metrics.spearman import Spearman
from evaluation.speed.percentiles import percentile_interval
from evaluation.statistics.evidence import right_or_wrong
from evaluation.statistics.intervals import (
    FEW_DIFFERING,
    Drop,
    Interval,
    agreement,
    interval_of,
    logit_error,
    paired_drop,
)
from evaluation.statistics.shares import lost_bounds, p_lost
from evaluation.statistics.significance import bootstrap_p_value, holm, mcnemar, verdict
from evaluation.statistics.undivided import Value

accuracy = Accuracy().value
perplexity = Perplexity().value


def right(share: float, examples: int, random: np.random.Generator) -> np.ndarray:
    """Evidence of a model that is right for a share of all examples."""
    return (random.random((examples, 1)) < share).astype(np.int64)


def paired_data(seed: int, examples: int, *, drop: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """A baseline that is right for 90 %, and a target that errs wherever it does and on a further `drop` of all."""
    draw = np.random.default_rng(seed).random((examples, 1))
    return (draw < 0.9).astype(np.int64), (draw < 0.9 - drop).astype(np.int64)


def losses(more: float, *, seed: int = 0, examples: int = 200) -> np.ndarray:
    """Evidence of perplexity: 2 nats a token on average and `more`, on texts of 1 to 9 masked tokens."""
    random = np.random.default_rng(seed)
    tokens = random.integers(1, 10, examples)
    return np.stack([random.gamma(2.0 * tokens, 1.0) + more * tokens, tokens], axis=-1)


def drop_of(baseline: np.ndarray, target: np.ndarray, seed: int = 0, resamples: int = 500) -> Drop:
    return paired_drop(accuracy, baseline, target, higher_is_better=True, seed=seed, resamples=resamples)


def covered(interval: Interval | Drop, true: float) -> bool:
    return interval.low <= true <= interval.high


class TestPairedDrop:
    def test_the_interval_covers_the_true_drop_95_times_in_100(self) -> None:
        hits = [covered(drop_of(*paired_data(seed, 300), seed=seed), 0.1) for seed in range(300)]
        assert 0.91 <= np.mean(hits) <= 0.985

    def test_the_same_evidence_loses_nothing_but_other_examples_might_divide_the_two(self) -> None:
        baseline, evidence = paired_data(0, 200)[0], losses(0.0)
        ends, same = Perplexity().ends, {"higher_is_better": False, "seed": 0, "resamples": 100}
        plain, relative = (
            paired_drop(perplexity, evidence, evidence, relative=each, ends=ends, **same) for each in (False, True)
        )
        assert plain.high == pytest.approx(relative.high * float(perplexity(evidence)))
        for alike in (drop_of(baseline, baseline), plain, relative):
            assert (alike.value, alike.p_value, alike.verdict) == (0.0, 1.0, "tie")
            assert alike.low == -alike.high < 0

    def test_swapping_baseline_and_target_flips_the_sign(self) -> None:
        baseline, target = paired_data(0, 200)
        there, back = drop_of(baseline, target), drop_of(target, baseline)
        assert (back.value, back.p_value) == (-there.value, there.p_value)
        assert (back.low, back.high) == pytest.approx((-there.high, -there.low), abs=1e-12)
        assert (there.verdict, back.verdict) == ("worse", "better")

    def test_the_value_is_the_difference_of_the_two_metrics(self) -> None:
        baseline, target = paired_data(0, 200)
        assert drop_of(baseline, target).value == pytest.approx(float(accuracy(baseline) - accuracy(target)))

    def test_a_metric_that_is_better_when_lower_drops_when_it_grows(self) -> None:
        baseline, target = paired_data(0, 200)

        def error(evidence: np.ndarray) -> np.ndarray:
            return 1 - accuracy(evidence)

        by_error = paired_drop(error, baseline, target, higher_is_better=False, seed=0, resamples=500)
        by_accuracy = drop_of(baseline, target)
        assert (by_error.value, by_error.low) == pytest.approx((by_accuracy.value, by_accuracy.low))
        assert by_error.verdict == "worse"

    def test_a_relative_drop_does_not_depend_on_the_unit(self) -> None:
        baseline, target = losses(0.0), losses(0.1)

        def drop(value: Value, **settings: bool) -> Drop:
            return paired_drop(value, baseline, target, higher_is_better=False, seed=0, resamples=500, **settings)

        def per_thousand(evidence: np.ndarray) -> np.ndarray:
            return 1000 * perplexity(evidence)

        plain, scaled = drop(perplexity, relative=True), drop(per_thousand, relative=True)
        assert (scaled.value, scaled.low, scaled.high) == pytest.approx((plain.value, plain.low, plain.high))
        absolute = drop(perplexity)
        assert plain.value == pytest.approx(absolute.value / float(perplexity(baseline)))
        assert (plain.verdict, absolute.verdict) == ("worse", "worse")
        assert plain.value == pytest.approx(np.exp(0.1) - 1, abs=0.05)  # 0.1 nats more for each token

    def test_shuffling_examples_together_changes_nothing_beyond_seed_noise(self) -> None:
        baseline, target = paired_data(0, 400)
        order = np.random.default_rng(1).permutation(400)
        plain, shuffled = drop_of(baseline, target), drop_of(baseline[order], target[order])
        assert shuffled.value == pytest.approx(plain.value)
        assert (shuffled.low, shuffled.high) == pytest.approx((plain.low, plain.high), abs=0.01)

    def test_pairing_is_tighter_than_comparing_two_intervals(self) -> None:
        pair = paired_data(0, 400)
        paired = drop_of(*pair)
        alone = [interval_of(accuracy, evidence, seed=0) for evidence in pair]
        assert paired.high - paired.low < sum(one.high - one.low for one in alone) / 2

    def test_the_seed_decides_the_interval(self) -> None:
        def drop(seed: int) -> Drop:
            return paired_drop(perplexity, losses(0.0), losses(0.1), higher_is_better=False, seed=seed, resamples=500)

        assert drop(3) == drop(3) != drop(4)
        data = paired_data(0, 200)
        assert drop_of(*data, seed=3) == drop_of(*data, seed=4)  # nothing is drawn for a share

    def test_without_a_difference_a_small_p_value_is_rare(self) -> None:
        random = np.random.default_rng(0)
        p_values = [drop_of(right(0.8, 200, random), right(0.8, 200, random), seed=seed).p_value for seed in range(200)]
        assert np.mean(np.array(p_values) < 0.05) < 0.1


class TestNoWorse:
    def test_the_p_value_turns_the_interval_round(self) -> None:
        """Below 0.025 where the upper end is below the margin, above where it is above."""
        data = paired_data(0, 300)
        for offset, certain in ((0.002, True), (-0.002, False)):
            margin = drop_of(*data, resamples=2000).high + offset
            found = paired_drop(accuracy, *data, higher_is_better=True, margin=margin, seed=0)
            assert found.margin == margin
            assert found.margin_p_value is not None
            assert (found.margin_p_value < 0.025) is certain

    def test_a_margin_that_is_exceeded_is_never_shown_to_hold(self) -> None:
        random = np.random.default_rng(0)
        shown = []
        for seed in range(200):  # the true drop is the margin itself
            base, target = paired_data(int(random.integers(1 << 30)), 300)
            p_value = p_no_worse_of(base, target, 0.1, seed)
            shown.append(p_value < 0.025)
        assert np.mean(shown) < 0.06

    def test_a_wider_margin_is_surer(self) -> None:
        data = paired_data(0, 300)
        p_values = [p_no_worse_of(*data, margin, 0) for margin in (0.05, 0.1, 0.2)]
        assert p_values == sorted(p_values, reverse=True)
        assert p_values[0] > 0.9
        assert p_values[-1] < 0.01


def p_no_worse_of(baseline: np.ndarray, target: np.ndarray, margin: float, seed: int) -> float:
    found = paired_drop(
        accuracy, baseline, target, higher_is_better=True, margin=margin, seed=seed, resamples=500
    ).margin_p_value
    assert found is not None
    return found


class TestShares:
    def test_few_examples_that_are_all_decided_alike_show_no_certainty(self) -> None:
        right_twenty = np.ones((20, 1), np.int64)
        found = paired_drop(accuracy, right_twenty, right_twenty, higher_is_better=True, margin=0.03, seed=0)
        assert (found.value, found.verdict) == (0.0, "tie")
        assert found.low < -0.1 < 0.1 < found.high
        assert found.margin_p_value is not None
        assert found.margin_p_value > 0.1
        level = interval_of(accuracy, right_twenty, seed=0)
        assert (level.value, level.high) == (1.0, 1.0)
        assert 0.8 < level.low < 0.9

    @pytest.mark.parametrize("count", [20, 50, 200, 1000])
    @pytest.mark.parametrize(
        ("lost", "mended"), [(0.08, 0.05), (0.03, 0.02), (0.01, 0.0), (0.007, 0.003), (0.005, 0.005), (0.05, 0.0)]
    )
    def test_the_interval_holds_the_true_drop_counted_over_all_that_may_come(
        self, lost: float, mended: float, count: int
    ) -> None:
        """Exact: every outcome of the trinomial distribution, weighted with its probability."""
        covered_share = seen = 0.0
        ends = [max(3, int(count * share + 5 * np.sqrt(count * share) + 3)) for share in (lost, mended)]
        for a in range(min(ends[0], count) + 1):
            for b in range(min(ends[1], count - a) + 1):
                chance = multinomial.pmf([a, b, count - a - b], count, [lost, mended, 1 - lost - mended])
                if chance < 1e-6:
                    continue
                low, high = lost_bounds(a, b, count, confidence=0.95)
                seen += chance
                covered_share += chance * (low <= lost - mended <= high)
        assert seen > 0.999
        assert covered_share >= 0.93
        if count * (lost + mended) > 20:
            assert covered_share <= 0.97

    @pytest.mark.parametrize(("lost", "mended"), [(0, 0), (1, 0), (0, 3), (20, 0), (0, 20), (7, 4), (10, 10)])
    @pytest.mark.parametrize("margin", [0.01, 0.05, 0.2, 0.5])
    def test_bound_and_p_value_of_the_margin_agree(self, lost: int, mended: int, margin: float) -> None:
        low, high = lost_bounds(lost, mended, 20, confidence=0.95)
        assert -1 <= low <= (lost - mended) / 20 <= high <= 1
        assert (p_lost(lost, mended, 20, margin) < 0.025) == (high < margin)
        assert p_lost(lost, mended, 20, high) == pytest.approx(0.5 if high == 1 else 0.025, abs=1e-4)
        assert 0 < p_lost(lost, mended, 20, 5.0) <= 1

    def test_a_score_that_is_a_share_in_other_units_has_the_same_interval_in_them(self) -> None:
        baseline, target = paired_data(0, 60, drop=0.05)

        def percent_wrong(evidence: np.ndarray) -> np.ndarray:
            return 100 * (1 - accuracy(evidence))

        plain = paired_drop(accuracy, baseline, target, higher_is_better=True, margin=0.1, seed=0)
        scaled = paired_drop(percent_wrong, baseline, target, higher_is_better=False, margin=10, seed=0)
        assert (scaled.value, scaled.low, scaled.high) == pytest.approx([100 * x for x in vars(plain).values()][:3])
        assert scaled.margin_p_value == pytest.approx(plain.margin_p_value)
        level, wrong = interval_of(accuracy, target, seed=0), interval_of(percent_wrong, target, seed=0)
        assert (wrong.low, wrong.high) == pytest.approx((100 - 100 * level.high, 100 - 100 * level.low))

    def test_a_figure_of_right_and_wrong_that_is_no_share_is_resampled(self) -> None:
        baseline, target = paired_data(0, 200)

        def squared(evidence: np.ndarray) -> np.ndarray:
            return accuracy(evidence) ** 2

        there, again = (
            paired_drop(squared, baseline, target, higher_is_better=True, seed=seed, resamples=500) for seed in (0, 1)
        )
        assert there.low != again.low
        assert there.p_value == mcnemar(baseline[:, 0], target[:, 0])


class TestUndivided:
    @pytest.mark.parametrize("count", [2, 20, 500])
    def test_of_a_mean_the_interval_is_that_of_a_share(self, count: int) -> None:
        """Answers of which each is half right are no share, but can err no farther than right ones."""
        ends = SpanF1().ends
        whole, half = np.ones((count, 1)), np.full((count, 1), 0.5)
        drop, score = (
            paired_drop(accuracy, each, each, higher_is_better=True, ends=ends, margin=0.1, seed=0, resamples=20)
            for each in (whole, half)
        )
        wanted = lost_bounds(0, 0, count, confidence=0.95)
        assert (drop.low, drop.high) == pytest.approx(wanted)
        assert (score.low, score.high) == pytest.approx([each / 2 for each in wanted])
        assert drop.margin_p_value == pytest.approx(p_lost(0, 0, count, 0.1))
        level = interval_of(accuracy, half, ends=ends, seed=0, resamples=20)
        assert (level.low, level.high) == pytest.approx([0.5 + each / 2 for each in wanted])

    def test_the_same_loss_on_every_example_is_not_certain_either(self) -> None:
        before, after = np.ones((30, 1)), np.full((30, 1), 0.5)
        found = paired_drop(
            accuracy, before, after, higher_is_better=True, ends=SpanF1().ends, margin=0.4, seed=0, resamples=50
        )
        assert found.low < found.value == 0.5 < found.high
        assert (found.verdict, found.p_value < 0.001) == ("worse", True)
        assert found.margin_p_value is not None
        assert found.margin_p_value > 0.5

    def test_it_holds_the_true_drop_where_a_sample_shows_no_difference(self) -> None:
        """Three in ten are of class 1; the target errs on 1.5 % of all, so that one sample in five misses it."""
        error, metric = 0.015, F1(classes=2)
        hits = 0.3 * (1 - error)
        true = 1 - 2 * hits / (0.3 + hits + 0.7 * error)
        held = []
        for seed in range(60):
            truth, place = np.random.default_rng(seed).random((2, 100))
            truth = (truth < 0.3).astype(np.int64)
            before = np.stack([truth, truth], axis=1)
            if (place >= error).all():
                held.append(covered(paired_drop_of(metric, before), true))
        assert len(held) > 5
        assert all(held)

    def test_where_enough_differs_resampling_alone_speaks(self) -> None:
        before, after = self._differing(FEW_DIFFERING + 1)
        metric = F1(classes=2)
        with_ends, without = (
            paired_drop(metric.value, before, after, higher_is_better=True, ends=ends, seed=0, resamples=200)
            for ends in (metric.ends, None)
        )
        assert with_ends == without

    def test_one_example_lost_leaves_no_smaller_loss_possible_than_none_lost(self) -> None:
        metric = F1(classes=2)
        highs = [
            paired_drop(metric.value, *self._differing(lost), higher_is_better=True, ends=metric.ends, seed=0).high
            for lost in range(5)
        ]
        assert highs == sorted(highs)

    def test_one_example_lost_is_no_surer_proof_of_being_no_worse_than_none_lost(self) -> None:
        metric = F1(classes=2)
        found = [
            paired_drop(
                metric.value, *self._differing(lost), higher_is_better=True, ends=metric.ends, seed=0, margin=0.04
            ).margin_p_value
            for lost in range(4)
        ]
        assert found == sorted(found)

    @staticmethod
    def _differing(lost: int) -> tuple[np.ndarray, np.ndarray]:
        """Evidence of F1 on 100 examples: the baseline is right throughout, the target misses the first of class 1."""
        truth = np.random.default_rng(0).integers(0, 2, 100)
        before, after = np.stack([truth, truth], axis=1), np.stack([truth, truth], axis=1)
        after[np.flatnonzero(truth)[:lost], 1] = 0
        return before, after

    def test_many_different_examples_are_looked_at_in_part_and_say_nearly_the_same(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        truth, noise = np.random.default_rng(0).normal(size=(2, 400))
        evidence, metric = Spearman().evidence(truth, truth + noise), Spearman()
        whole = paired_drop_of(metric, evidence)
        monkeypatch.setattr("evaluation.statistics.undivided.MOST_KINDS", 50)
        assert 0.7 * whole.high < paired_drop_of(metric, evidence).high <= whole.high

    def test_a_figure_that_no_decision_can_change_has_no_width(self) -> None:
        metric = Spearman()
        evidence = metric.evidence(np.ones(30), np.arange(30.0))
        assert (paired_drop_of(metric, evidence).low, paired_drop_of(metric, evidence).high) == (0.0, 0.0)


def paired_drop_of(metric: Metric, evidence: np.ndarray) -> Drop:
    """Of a target that decides like the baseline throughout."""
    return paired_drop(metric.value, evidence, evidence, higher_is_better=True, ends=metric.ends, seed=0, resamples=20)


class TestHolm:
    def test_a_family_of_one_stays_as_it_is(self) -> None:
        assert holm([0.03]) == [0.03]
        assert holm([]) == []

    def test_no_p_value_gets_smaller_and_their_order_stays(self) -> None:
        p_values = [0.04, 0.001, 0.9, 0.02]
        adjusted = holm(p_values)
        assert all(after >= before for before, after in zip(p_values, adjusted, strict=True))
        assert np.array_equal(np.argsort(adjusted, kind="stable"), np.argsort(p_values, kind="stable"))

    def test_twenty_targets_that_each_lost_much_are_all_found(self) -> None:
        random = np.random.default_rng(0)
        truth = random.integers(0, 2, 400)
        found = []
        for seed in range(20):
            wrong = random.random(400) < 0.30
            before, after = (np.stack([truth, each], axis=1) for each in (truth, np.where(wrong, 1 - truth, truth)))
            f1 = F1(classes=2).value
            found.append(paired_drop(f1, before, after, higher_is_better=True, seed=seed, resamples=500).p_value)
        assert all(0 < p_value < 0.01 for p_value in holm(found))

    def test_without_any_difference_a_false_alarm_among_many_is_as_rare_as_one_tests(self) -> None:
        random = np.random.default_rng(0)
        alarms = [min(holm(list(random.random(20)))) < 0.05 for _ in range(400)]
        assert np.mean(alarms) < 0.09


class TestIntervalOf:
    def test_covers_the_true_accuracy_95_times_in_100(self) -> None:
        random = np.random.default_rng(0)
        hits = [
            covered(interval_of(accuracy, right(0.8, 300, random), seed=seed, resamples=500), 0.8)
            for seed in range(300)
        ]
        assert 0.91 <= np.mean(hits) <= 0.985

    def test_covers_the_true_perplexity_though_texts_differ_in_length(self) -> None:
        hits = [
            covered(interval_of(perplexity, losses(0.0, seed=seed), seed=seed, resamples=500), np.exp(2.0))
            for seed in range(200)
        ]
        assert 0.90 <= np.mean(hits) <= 0.985

    def test_more_confidence_is_a_wider_interval(self) -> None:
        evidence, _ = paired_data(0, 200)
        wide, narrow = (interval_of(accuracy, evidence, seed=0, confidence=c) for c in (0.99, 0.8))
        assert wide.low < narrow.low < narrow.value < narrow.high < wide.high

    def test_resamples_are_the_same_however_they_are_divided(self, monkeypatch: pytest.MonkeyPatch) -> None:
        evidence = np.random.default_rng(0).integers(0, 2, (200, 2))
        metric = F1(classes=2).value
        at_once = interval_of(metric, evidence, seed=0)
        monkeypatch.setattr("evaluation.statistics.intervals._CHUNK_BYTES", 1)
        assert interval_of(metric, evidence, seed=0, resamples=2000) == at_once

    @pytest.mark.parametrize("examples", [10_000, 50_000])
    @pytest.mark.parametrize(
        ("value", "columns", "largest"),
        [
            (F1(classes=2).value, 2, 1),
            (F1().value, 3, 9),
            (Spearman().value, 2, 50_000),
            (lambda evidence: evidence.sum((-2, -1)), 4, 9),
        ],
    )
    def test_memory_is_bounded_whatever_the_number_of_examples(
        self, value: Value, columns: int, largest: int, examples: int
    ) -> None:
        evidence = np.random.default_rng(0).integers(0, largest, (examples, columns), endpoint=True)
        tracemalloc.start()
        paired_drop(value, evidence, evidence, higher_is_better=True, seed=0, resamples=120)
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak_bytes < 200 * 2**20


class TestExactTests:
    def test_mcnemar_counts_only_examples_that_divide_the_two(self) -> None:
        a = np.ones(20, int)
        b = np.array([0] * 5 + [1] * 15)
        assert mcnemar(a, b) == pytest.approx(2 * 0.5**5)
        more = np.ones(500, int)  # right for both: says nothing about the difference
        assert mcnemar(np.r_[a, more], np.r_[b, more]) == pytest.approx(2 * 0.5**5)

    def test_mcnemar_is_symmetric_and_one_without_a_difference(self) -> None:
        a, b = (evidence[:, 0] for evidence in paired_data(0, 100))
        assert mcnemar(a, b) == mcnemar(b, a) < 0.05
        assert mcnemar(a, a) == 1.0

    def test_the_bootstrap_and_mcnemar_agree_on_what_is_certain_and_what_is_not(self) -> None:
        a, b = paired_data(0, 300, drop=0.1)
        assert max(mcnemar(a[:, 0], b[:, 0]), drop_of(a, b).p_value) < 0.01
        example = np.arange(300)[:, None]
        a, b = (example >= 20).astype(int), (example < 280).astype(int)  # 20 errors each
        assert min(mcnemar(a[:, 0], b[:, 0]), drop_of(a, b).p_value) > 0.9

    def test_only_one_column_of_right_and_wrong_has_an_exact_test(self) -> None:
        assert right_or_wrong(np.array([[1], [0]]))
        assert not right_or_wrong(np.array([[1], [0.5]]))
        assert not right_or_wrong(np.array([[1, 0], [0, 1]]))
        with pytest.raises(DataError, match="b has other values than 0 and 1"):
            mcnemar(np.array([1, 0]), np.array([1, 2]))


class TestAgreement:
    def test_is_the_share_alike_with_an_interval_within_nothing_and_all(self) -> None:
        part = agreement((np.arange(100) < 90).astype(float), seed=0)
        assert part.value == 0.9
        assert 0.8 < part.low < 0.9 < part.high < 0.96
        whole = agreement(np.ones(100), seed=0)
        assert whole.value == whole.high == 1.0
        assert 0.95 < whole.low < 1.0  # a hundred examples can't show that two models are always alike

    def test_likeness_by_degrees_has_the_interval_of_its_mean(self) -> None:
        likeness = np.random.default_rng(0).uniform(0.5, 1, 400)
        found = agreement(likeness, seed=0)
        error = 1.96 * likeness.std() / 20
        assert found.value == pytest.approx(likeness.mean())
        assert (found.low, found.high) == pytest.approx((likeness.mean() - error, likeness.mean() + error), abs=0.003)

    def test_the_two_intervals_are_much_alike_where_both_can_be_had(self) -> None:
        alike = (np.random.default_rng(0).random(500) < 0.7).astype(float)
        nearly = alike * (1 - 1e-9)  # no longer 0 or 1
        exact, resampled = agreement(alike, seed=0), agreement(nearly, seed=0)
        assert (resampled.low, resampled.high) == pytest.approx((exact.low, exact.high), abs=0.01)


class TestLogitError:
    def test_is_the_norm_of_the_difference_in_units_of_the_spread(self) -> None:
        random = np.random.default_rng(0)
        before = 5.0 + random.normal(0, 2.0, (4000, 3))
        found = logit_error(before, before + random.normal(0, 0.2, before.shape), seed=0, resamples=200)
        assert found is not None
        assert found.value == pytest.approx(0.1, rel=0.03)
        assert found.low < found.value < found.high
        assert found.high - found.low < 0.01

    def test_neither_unit_nor_origin_of_the_scores_matters(self) -> None:
        random = np.random.default_rng(1)
        before, noise = random.normal(0, 1, (50, 2)), random.normal(0, 0.3, (50, 2))
        plain = logit_error(before, before + noise, seed=0, resamples=100)
        moved = logit_error(7 + 3 * before, 7 + 3 * (before + noise), seed=0, resamples=100)
        assert plain is not None
        assert moved is not None
        assert vars(moved) == pytest.approx(vars(plain))

    def test_the_same_scores_have_none_and_scores_without_spread_no_unit(self) -> None:
        scores = np.array(
            [[0.0], [1.0], [2.0]]
        )  # the middle one lies at the mean: a resample of it alone has no spread
        same = logit_error(scores, scores, seed=0)
        assert same == Interval(0.0, 0.0, 0.0)
        one_off = logit_error(scores, scores * 1.1, seed=0)
        assert one_off is not None
        assert np.isfinite([one_off.low, one_off.high]).all()
        assert logit_error(np.ones((3, 2)), np.zeros((3, 2)), seed=0) is None

    def test_the_interval_covers_the_true_error_95_times_in_100(self) -> None:
        hits = []
        for seed in range(200):
            random = np.random.default_rng(seed)
            before = random.normal(0, 1, (300, 1))
            found = logit_error(before, before + random.normal(0, 0.1, (300, 1)), seed=seed, resamples=300)
            hits.append(found is not None and covered(found, 0.1))
        assert 0.9 <= np.mean(hits) <= 0.99


class TestTimes:
    @pytest.mark.parametrize("percentile", [0, 25, 50, 95, 100])
    def test_the_value_is_the_percentile_of_all_calls_together(self, percentile: float) -> None:
        random = np.random.default_rng(0)
        rounds = [random.random(calls) for calls in (3, 20, 7, 11)]
        found = percentile_interval(rounds, percentile, seed=0)
        assert found.value == pytest.approx(np.percentile(np.concatenate(rounds), percentile))
        assert found.low <= found.value <= found.high

    def test_calls_that_share_a_round_do_not_count_as_independent(self) -> None:
        random = np.random.default_rng(0)
        few, many = (
            percentile_interval([np.full(calls, level) for level in random.random(8)], 50, seed=0) for calls in (3, 300)
        )
        assert many.high - many.low > 0.3 * (few.high - few.low)

    def test_constant_times_have_an_interval_without_width(self) -> None:
        assert percentile_interval([np.full(5, 3.0)] * 4, 95, seed=0) == Interval(3.0, 3.0, 3.0)


class TestVerdict:
    @pytest.mark.parametrize(
        ("low", "high", "expected"), [(0.9, 1.1, "tie"), (1.01, 1.2, "better"), (0.8, 0.99, "worse")]
    )
    def test_a_speed_up_is_judged_against_one(self, low: float, high: float, expected: str) -> None:
        assert verdict(low, high, no_difference=1.0, higher_is_better=True) == expected

    def test_an_interval_that_touches_no_difference_is_a_tie(self) -> None:
        assert verdict(0.0, 0.1, higher_is_better=False) == verdict(-0.1, 0.0, higher_is_better=False) == "tie"


class TestBootstrapPValue:
    def test_is_never_nothing_and_never_above_one(self) -> None:
        assert 0 < bootstrap_p_value(np.ones(999), 1.0, 1000) <= 1e-6
        assert bootstrap_p_value(np.zeros(999), 0.0, 1000) == 1.0

    def test_few_examples_can_show_no_more_than_exchanging_them_could(self) -> None:
        assert bootstrap_p_value(np.ones(999), 1.0, 6) == 2 / 2**6

    @pytest.mark.parametrize("resamples", [500, 2000, 20_000])
    def test_further_from_nothing_is_never_less_sure_and_there_is_no_leap(self, resamples: int) -> None:
        spread = np.random.default_rng(0).normal(size=resamples)
        found = np.array([bootstrap_p_value(spread + shift, shift, 1000) for shift in np.linspace(0.5, 7, 200)])
        assert (np.diff(found) <= 0).all()
        assert found[-1] < 1e-10
        usual = 2 * norm.sf(np.linspace(0.5, 7, 200))
        near = usual > 1e-4
        assert np.abs(np.log(found[near] / usual[near])).max() < 1.5  # ten resamples are counted to about a third


class TestWhatIsRefused:
    def test_what_is_not_finite_with_how_many(self) -> None:
        with pytest.raises(DataError, match="evidence: 2 of 4 are not finite"):
            interval_of(accuracy, np.array([[0.1], [np.nan], [np.inf], [0.4]]), seed=0)
        with pytest.raises(DataError, match="likeness: 1 of 2 are not finite"):
            agreement(np.array([1.0, np.nan]), seed=0)
        with pytest.raises(DataError, match="1 of 3 are not finite"):
            percentile_interval([np.array([1.0, np.nan]), np.array([1.0])], 50, seed=0)

    def test_a_metric_that_is_nan_on_some_resamples(self) -> None:
        def fragile(evidence: np.ndarray) -> np.ndarray:
            return np.where((evidence[..., 0] == 0).any(-1), accuracy(evidence), np.nan)

        with pytest.raises(DataError, match="on resamples"):
            interval_of(fragile, np.array([[0], [1], [1], [1], [1]]), seed=0)

    def test_a_figure_that_overflows(self) -> None:
        with pytest.raises(DataError, match="not finite"):
            interval_of(perplexity, np.array([[1e4, 1.0], [1e4, 1.0]]), seed=0)

    def test_shapes_that_differ(self) -> None:
        with pytest.raises(DataError, match=r"target.*4"):
            paired_drop(accuracy, np.zeros((3, 1)), np.zeros((4, 1)), higher_is_better=True, seed=0)
        with pytest.raises(DataError, match=r"wanted \(examples, columns\)"):
            interval_of(accuracy, np.zeros(3), seed=0)

    def test_too_little_to_say_how_sure_a_figure_is(self) -> None:
        with pytest.raises(DataError, match="1, wanted at least 2"):
            interval_of(accuracy, np.zeros((1, 1)), seed=0)
        with pytest.raises(DataError, match="at least 2"):
            agreement(np.zeros(1), seed=0)
        with pytest.raises(DataError, match="at least 2"):
            percentile_interval([np.ones(20)], 50, seed=0)
        with pytest.raises(DataError, match="1 of 2 hold no call"):
            percentile_interval([np.ones(20), np.ones(0)], 50, seed=0)
