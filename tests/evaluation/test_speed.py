"""Speed's laws: a twin is a tie, a slow variant is found, and drift that targets share does not enter a ratio."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny_bundle, tiny_split

from bench.measuring.sample import Slowed
from compress.deploy import Deploy, Shape
from compress.errors import DataError
from compress.runtimes.timing import Limits
from evaluation.measurement import Comparison, Measurement, Target
from evaluation.sitting import Conditions, Opened, Read, Subject
from evaluation.speed import speed
from evaluation.speed.rounds import beyond_noise, joint_floor, off_by, paired_ratio
from evaluation.speed.seat import TextPlayer, Texts, Tokenizing
from evaluation.speed.speed import speed_comparisons, speed_rows, time_all
from evaluation.statistics.intervals import Interval


def drifting(rounds: int, seed: int, *, slower: float = 1.0, calls: int = 10) -> tuple[list[Any], list[Any]]:
    """Two targets on a machine whose speed moves by half from round to round, and that is disturbed now and then."""
    random = np.random.default_rng(seed)
    pair: tuple[list[Any], list[Any]] = ([], [])
    for speed_now in random.uniform(1.0, 1.5, size=rounds):
        for times, factor in zip(pair, (1.0, slower), strict=True):
            disturbed = 2.0 if random.random() < 0.1 else 1.0
            times.append(10.0 * speed_now * factor * disturbed * random.lognormal(0.0, 0.02, size=calls))
    return pair


class TestPairedRatio:
    def test_a_target_against_itself_is_one_exactly(self):
        rounds, _ = drifting(16, seed=0)
        assert paired_ratio(rounds, rounds) == Interval(1.0, 1.0, 1.0)

    def test_drift_that_both_share_does_not_enter(self):
        one, other = drifting(16, seed=1, slower=1.2)
        random = np.random.default_rng(2)
        drift = random.uniform(0.2, 5.0, size=16)
        moved = [[block * now for block, now in zip(rounds, drift, strict=True)] for rounds in (one, other)]
        assert np.allclose(*([*vars(paired_ratio(a, b)).values()] for a, b in ((one, other), moved)))

    def test_a_few_disturbed_rounds_do_not_move_it(self):
        calm = [np.full(10, 1.0)] * 16
        stormy = [np.full(10, 50.0)] * 3 + calm[3:]
        assert paired_ratio(stormy, calm) == Interval(1.0, 1.0, 1.0)
        assert paired_ratio(calm, stormy) == Interval(1.0, 1.0, 1.0)

    @given(st.integers(0, 1000), st.integers(2, 20))
    @settings(max_examples=30, deadline=None)
    def test_turned_round_it_is_the_inverse(self, seed: int, rounds: int):
        one, other = drifting(rounds, seed)
        there, back = paired_ratio(one, other), paired_ratio(other, one)
        assert [there.value, there.low, there.high] == pytest.approx([1 / back.value, 1 / back.high, 1 / back.low])
        assert there.low <= there.value <= there.high

    @pytest.mark.parametrize("rounds", [8, 16])
    def test_its_interval_holds_the_truth_as_often_as_it_says(self, rounds: int):
        held = []
        for seed in range(400):
            found = paired_ratio(*drifting(rounds, seed, slower=1.1))
            held.append(found.low <= 1 / 1.1 <= found.high)
        assert 0.92 <= np.mean(held) <= 0.985

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ([[1.0]] * 2, [[1.0]] * 3),
            ([[1.0]], [[1.0]]),
            ([[1.0], []], [[1.0], [1.0]]),
            ([[1.0], [0.0]], [[1.0], [1.0]]),
            ([[1.0], [np.nan]], [[1.0], [1.0]]),
        ],
    )
    def test_rounds_that_can_not_be_paired_are_refused(self, one: list[Any], other: list[Any]):
        with pytest.raises(DataError, match="rounds of timing"):
            paired_ratio([np.array(block) for block in one], [np.array(block) for block in other])


class TestVerdicts:
    def test_of_twenty_sittings_of_one_model_at_most_one_is_called_different(self):
        wrong = sum(_verdict(seed, slower=1.0) != "tie" for seed in range(20))
        assert wrong <= 1

    def test_a_slow_down_of_a_tenth_is_found_nine_times_in_ten(self):
        found = sum(_verdict(seed, slower=1.1) == "worse" for seed in range(20))
        assert found >= 18

    def test_an_interval_has_to_clear_the_noise(self):
        slower = Interval(0.90, 0.88, 0.93)
        assert [beyond_noise(slower, noise) for noise in (0.0, 0.07, 0.08)] == ["worse", "worse", "tie"]

    def test_noise_is_a_distance_whichever_way(self):
        assert off_by(Interval(0.8, 0.7, 0.9)) == pytest.approx(off_by(Interval(1.25, 1.2, 1.3))) == pytest.approx(0.25)


def _verdict(seed: int, *, slower: float) -> str:
    one, other = drifting(16, seed, slower=slower)
    twin = drifting(16, 1000 + seed)
    return beyond_noise(paired_ratio(one, other), off_by(paired_ratio(*twin)))


class Sleepless:
    """A session whose call takes the time that it is told to, and no thread but this one."""

    weight_bytes = 1

    def __init__(self, ms: float) -> None:
        self.ms, self.read = ms, list[tuple[int, ...]]()
        self.shapes = set[tuple[int, ...]]()

    def outputs(self, inputs: Mapping[str, Any]) -> Any:
        self.shapes.add(inputs["input_ids"].shape)
        self.read.append(tuple(inputs["input_ids"][0].tolist()))
        return self.bind(inputs)()

    def bind(self, inputs: Mapping[str, Any]) -> Any:
        size = round(self.ms * 40)
        matrix = np.ones((size, size))
        return matrix.sum

    def close(self) -> None: ...


def sitting(
    *sessions: Any,
    processes: str = "one",
    rounds: int = 6,
    shapes: tuple[str, ...] = ("1x8",),
    runtimes: tuple[str, ...] = (),
) -> Any:
    """Targets with these sessions, timed; and the conditions."""
    bundle = tiny_bundle()
    conditions = Conditions(
        tiny_split("test", 30, seed=3), Deploy(threads=1, shapes=shapes), "cpu", (), 3, rounds, processes=processes
    )
    opened = []
    for place, session in enumerate(sessions):
        runtime = runtimes[place] if runtimes else "torch-fp32"
        target = Target(name=f"t{place}", kind="baseline", title="", runtime=runtime, form="torch")
        opened.append(Opened(Subject(target, bundle), session, {}))
    time_all(opened, conditions, lambda *_told: None)
    return opened, conditions


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "LIMITS", Limits(block_calls=6, pause_seconds=0.0, warmup_calls=1, fewest_calls=1))
    monkeypatch.setattr(speed, "TEXTS", 12)


def of(rows: list[Any], name: str, **conditions: Any) -> Any:
    """The one row of that name under these conditions."""
    [row] = [row for row in rows if row.name == name and conditions.items() <= row.conditions.items()]
    return row


@pytest.mark.usefixtures("quick")
class TestSitting:
    def test_a_session_that_waits_for_half_its_time_is_found_and_its_ratio_told(self):
        opened, conditions = sitting(Sleepless(20.0), Slowed(Sleepless(20.0), 0.5), rounds=12)
        ratio = of(speed_comparisons(opened[1], opened[0], conditions), "speedup", tokens=8)
        assert ratio.value == pytest.approx(1 / 1.5, rel=0.15)
        assert ratio.verdict == "worse"

    def test_everything_timed_has_every_figure_with_interval_and_count(self):
        opened, conditions = sitting(Sleepless(2.0), Sleepless(2.0), shapes=("1x8", "3x6"))
        for one in opened:
            rows = speed_rows(one, conditions)
            texts = [{"batch": batch, "tokenization": how} for batch in (1, 3) for how in ("apart", "included")]
            for at in ({"tokens": 8}, {"tokens": 6}, *texts):
                for name in ("latency_p50_ms", "latency_p95_ms", "throughput_per_s"):
                    row = of(rows, name, **at)
                    assert 0 < row.low <= row.value <= row.high
                    assert row.count > 0
                    assert row.conditions["processes"] == "one"
            assert (
                of(rows, "latency_p50_ms", batch=1, tokenization="apart").value
                < of(rows, "latency_p50_ms", batch=1, tokenization="included").value
            )
            about = of(rows, "latency_p50_ms", batch=3, tokenization="apart").conditions
            assert about["inputs"] == "texts"
            assert 5 <= about["mean_tokens"] <= 14
            assert "tokens" not in about

    def test_throughput_is_the_batch_over_the_mean_time(self):
        opened, conditions = sitting(Sleepless(2.0), shapes=("5x6",))
        calls = np.concatenate(opened[0].times[Shape(5, 6)])
        found = of(speed_rows(opened[0], conditions), "throughput_per_s", tokens=6)
        assert found.value == pytest.approx(5000 / calls.mean())

    def test_a_target_of_each_runtime_is_timed_twice_and_the_noise_of_both_sides_stands_beside_a_ratio(self):
        sessions = Sleepless(2.0), Sleepless(2.0), Sleepless(2.0)
        opened, conditions = sitting(*sessions, shapes=("1x8", "3x6"), runtimes=("torch-fp32", "torch-fp32", "other"))
        rows = [row for one in opened for row in speed_rows(one, conditions) if row.name == "noise"]
        assert {row.target for row in rows} == {"t0", "t2"}
        assert len(rows) == 2 * 6  # two shapes, and texts in both batches both ways
        assert all(row.low <= row.value <= row.high for row in rows)
        for target, sides in ((opened[1], ("t0", "t0")), (opened[2], ("t0", "t2"))):
            for ratio in speed_comparisons(target, opened[0], conditions):
                at = {k: v for k, v in ratio.conditions.items() if k in ("batch", "tokens", "tokenization")}
                floors = [of([row for row in rows if row.target == side], "noise", **at) for side in sides]
                assert ratio.noise == pytest.approx(joint_floor(*(row.value - 1 for row in floors)))

    def test_real_texts_are_read_in_every_batch_that_shapes_have(self):
        opened, conditions = sitting(Sleepless(0.1), shapes=("1x8", "5x8", "5x6"))
        batches = {key.batch for key in opened[0].times if isinstance(key, Read)}
        assert batches == {1, 5}
        rows = speed_rows(opened[0], conditions)
        for batch in (1, 5):
            calls = np.concatenate(opened[0].times[Read(batch, "included")])
            found = of(rows, "throughput_per_s", batch=batch, tokenization="included")
            assert found.value == pytest.approx(1000 * batch / calls.mean())

    def test_a_split_that_is_smaller_than_a_batch_is_repeated(self):
        opened, _ = sitting(Sleepless(0.1), shapes=("64x8",))
        assert {row for row, _ in opened[0].session.shapes} == {64}

    def test_timing_ends_once_its_seconds_are_over(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(speed, "SECONDS_A_ROUND", 0.0)
        opened, _ = sitting(Sleepless(0.1), rounds=20)
        assert {len(rounds) for rounds in opened[0].times.values()} == {speed.FEWEST_ROUNDS}

    def test_every_target_reads_the_same_texts_in_the_same_order(self):
        sessions = Sleepless(0.1), Sleepless(0.5)
        sitting(*sessions, rounds=6)
        first, second = (session.read for session in sessions)
        assert set(first) == set(second)
        assert len(set(second)) == 12
        blocks = np.array_split(np.arange(6 * 13), 6)  # twelve counted, after one that is not
        counted = [[second[-6 * 13 :][place] for place in block[1:]] for block in blocks]
        assert all(block == counted[0] for block in counted)
        assert len(first) - len(second) >= 6 * 13  # it sits there twice

    def test_a_text_that_is_counted_was_not_read_just_before(self):
        session, bundle = Sleepless(0.1), tiny_bundle()
        texts = Texts(tuple(f"w{number} w1" for number in range(10)), None, 8)
        limits = Limits(pause_seconds=0.0, warmup_calls=3)
        player = TextPlayer(texts, Tokenizing(bundle.processor, 8), session, limits)
        player.warm_up()
        player.per_block = 2
        for _ in range(7):
            session.read.clear()
            assert player.block().shape == (2, 2)
            assert len(set(session.read)) == len(session.read) == 5

    def test_a_tokenizer_without_padding_reads_batches_all_the_same(self):
        bundle = tiny_bundle()
        bare = copy.deepcopy(bundle.processor)
        bare.pad_token = None
        found = Tokenizing(bare, 8)(("w1 w2 w3", "w1"), None)
        assert found["input_ids"].shape == found["attention_mask"].shape
        assert found["attention_mask"].sum(axis=1).tolist()[0] > found["attention_mask"].sum(axis=1).tolist()[1]
        assert bare.pad_token is None

    def test_slow_texts_are_fewer_in_a_block_and_all_are_read_in_the_end(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(speed, "TEXT_BLOCK_SECONDS", 0.0)
        opened, _ = sitting(Sleepless(0.1), rounds=12)
        assert [len(block) for block in opened[0].times[Read(1, "apart")]] == [2] * 12
        assert len(set(opened[0].session.read)) == 12

    def test_a_99th_percentile_needs_ten_calls_beyond_it(self):
        opened, conditions = sitting(Sleepless(0.1))
        random = np.random.default_rng(0)
        for count, there in ((50, False), (70, True)):  # 8 and 11 or more beyond
            opened[0].times = {Shape(1, 8): [random.lognormal(size=count) for _ in range(16)]}
            opened[0].twin = {}
            names = {row.name for row in speed_rows(opened[0], conditions)}
            assert ("latency_p99_ms" in names) is there

    def test_a_model_of_pictures_is_timed_at_shapes_alone(self):
        bundle = tiny_bundle("vit")
        target = Target(name="t", kind="baseline", title="", runtime="torch-fp32", form="torch")
        asked = list[str]()

        class Seeing(Sleepless):
            def bind(self, inputs: Mapping[str, Any]) -> Any:
                asked.extend(inputs)
                return super().bind(inputs)

        split = _pictures()
        shapes = (f"2x{bundle.max_tokens}",)
        conditions = Conditions(split, Deploy(threads=1, shapes=shapes), "cpu", (), 3, 2)
        one = Opened(Subject(target, bundle), Seeing(0.1), {})
        time_all([one], conditions, lambda *_told: None)
        assert list(one.times) == [Shape(2, bundle.max_tokens)]
        assert set(asked) == {"pixel_values"}


def _pictures() -> Any:
    import io

    from PIL import Image

    from compress.data import Split

    made = []
    for shade in (10, 200):
        held = io.BytesIO()
        Image.new("RGB", (20, 20), (shade, shade, shade)).save(held, "png")
        made.append(held.getvalue())
    return Split("test", ("a", "b"), None, np.array([0, 1]), ("a", "b"), tuple(made))


def test_rows_are_records_that_run_json_takes():
    opened, conditions = [], Conditions(tiny_split("t", 4), Deploy(threads=1, shapes=("1x8",)), "cpu", (), 0, 2)
    for name in ("a", "b"):
        target = Target(name=name, kind="baseline", title="", runtime="x", form="torch")
        one = Opened(Subject(target, tiny_bundle()), Sleepless(1.0), {})
        one.times = {Shape(1, 8): [np.array([1.0, 2.0])] * 2}
        opened.append(one)
    [row] = speed_comparisons(opened[1], opened[0], conditions)
    assert Comparison.model_validate(row.model_dump()) == row
    assert row.noise is None  # nothing was timed twice
    assert all(Measurement.model_validate(m.model_dump()) == m for m in speed_rows(opened[0], conditions))
