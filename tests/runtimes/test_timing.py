"""Interleaved timing, with calls that take as long as the test says and a clock that waits for nothing."""

import gc
from collections.abc import Callable

import numpy as np
import pytest

from compress.runtimes.timing import (
    LONG_CALL_MS,
    CallPlayer,
    CudaClock,
    Enough,
    Limits,
    WallClock,
    take_turns,
    time_interleaved,
)


class FakeClock:
    """Each call returns how many milliseconds it takes. `log` keeps the calls and the pauses, in order."""

    def __init__(self) -> None:
        self.log: list[object] = []

    def time_ms(self, call: Callable[[], object]) -> float:
        ms = call()
        assert isinstance(ms, float)
        return ms

    def pause(self, seconds: float) -> None:
        assert seconds >= 0
        self.log.append("pause")


def named_calls(clock: FakeClock, **ms: float) -> dict[str, Callable[[], object]]:
    def make(name: str, takes: float) -> Callable[[], object]:
        def call() -> object:
            clock.log.append(name)
            return takes

        return call

    return {name: make(name, takes) for name, takes in ms.items()}


def block_order(log: list[object]) -> list[object]:
    return [log[place + 1] for place, entry in enumerate(log) if entry == "pause"]


def order_for(seed: int) -> list[object]:
    clock = FakeClock()
    time_interleaved(named_calls(clock, a=1.0, b=2.0, c=3.0), rounds=6, seed=seed, clock=clock)
    return block_order(clock.log)


def test_every_variant_has_one_block_in_every_round() -> None:
    order = order_for(seed=0)
    assert all(sorted(order[at : at + 3]) == ["a", "b", "c"] for at in range(0, len(order), 3))


def test_the_order_is_random_but_the_seed_decides_it() -> None:
    rounds = {tuple(order_for(seed=0)[at : at + 3]) for at in range(0, 18, 3)}
    assert len(rounds) > 1
    assert order_for(seed=0) == order_for(seed=0) != order_for(seed=1)


def test_results_have_one_array_per_round_in_milliseconds() -> None:
    clock = FakeClock()
    times = time_interleaved(named_calls(clock, a=1.0, b=2.0), rounds=4, block_calls=7, seed=0, clock=clock)
    assert list(times) == ["a", "b"]
    assert [list(block) for block in times["b"]] == [[2.0] * 7] * 4


@pytest.mark.parametrize(
    ("takes_ms", "counted"),
    [(1.0, 20), (50.0, 10), (400.0, 3)],  # the calls' limit, half a second, and never fewer than three
)
def test_a_block_ends_at_its_time_or_its_calls_but_never_before_three(takes_ms: float, counted: int) -> None:
    clock = FakeClock()
    times = time_interleaved(named_calls(clock, a=takes_ms), rounds=2, seed=0, clock=clock)
    assert [len(block) for block in times["a"]] == [counted] * 2


def test_warm_up_is_not_counted() -> None:
    clock = FakeClock()
    after_pause = {"calls": 0}

    def sleepy() -> float:
        """Slow for three calls after each pause, as a pool that has to wake up."""
        while "pause" in clock.log:
            clock.log.remove("pause")
            after_pause["calls"] = 0
        after_pause["calls"] += 1
        return {1: 9.0, 2: 5.0, 3: 3.0}.get(after_pause["calls"], 2.0)

    times = time_interleaved({"a": sleepy}, rounds=3, warmup_calls=4, seed=0, clock=clock)
    assert np.concatenate(times["a"]).max() == 2.0


def test_warm_up_goes_on_until_two_calls_agree() -> None:
    clock = FakeClock()
    first_calls, waking = [2.0] * 3, [9.0, 7.0, 5.0, 3.0, 2.0, 2.0]
    takes = iter([*first_calls, *waking, *[2.1] * 5])
    times = time_interleaved({"a": lambda: next(takes)}, rounds=1, warmup_calls=1, block_calls=5, seed=0, clock=clock)
    assert list(times["a"][0]) == [2.1] * 5


def test_a_call_that_never_settles_is_timed_all_the_same() -> None:
    clock = FakeClock()
    calls = {"made": 0}

    def ever_slower() -> float:
        calls["made"] += 1
        return 1.2 ** calls["made"]

    times = time_interleaved({"a": ever_slower}, rounds=1, seed=0, clock=clock, block_seconds=0.05)
    assert len(times["a"][0]) >= 3
    assert calls["made"] < 60


def test_a_long_call_is_warmed_up_once_and_without_a_pause() -> None:
    clock = FakeClock()
    time_interleaved(named_calls(clock, a=LONG_CALL_MS + 1), rounds=5, seed=0, clock=clock)
    first_calls, per_round = 4, 1 + 4
    assert "pause" not in clock.log
    assert len(clock.log) <= first_calls + 5 * per_round


def test_a_first_call_that_compiles_does_not_make_a_variant_a_long_one() -> None:
    clock = FakeClock()
    takes = iter([60_000.0] + [1.0] * 1000)
    time_interleaved({"a": lambda: next(takes)}, rounds=2, seed=0, clock=clock)
    assert clock.log == ["pause", "pause"]


def test_garbage_is_not_collected_within_a_block_and_collection_is_restored() -> None:
    states = []

    def call() -> float:
        states.append(gc.isenabled())
        return 1.0

    time_interleaved({"a": call}, rounds=1, seed=0, clock=FakeClock())
    assert not any(states[-20:])
    assert gc.isenabled()


@pytest.mark.parametrize("fault", [RuntimeError, KeyboardInterrupt])
def test_an_exception_passes_and_collection_is_restored(fault: type[BaseException]) -> None:
    def call() -> float:
        if not gc.isenabled():
            raise fault
        return 1.0

    with pytest.raises(fault):
        time_interleaved({"a": call}, rounds=1, seed=0, clock=FakeClock())
    assert gc.isenabled()


def test_collection_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        time_interleaved({"a": lambda: 1.0}, rounds=1, seed=0, clock=FakeClock())
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_progress_runs_from_nothing_to_all() -> None:
    fractions = []
    clock = FakeClock()
    calls = named_calls(clock, a=1.0, b=1.0)
    time_interleaved(calls, rounds=3, seed=0, clock=clock, progress=lambda *told: fractions.append(told[0]))
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)


@pytest.mark.parametrize(("seconds", "rounds"), [(0.0, 3), (60.0, 6)])
def test_a_sitting_that_lasts_long_enough_ends_early_with_whole_rounds(seconds: float, rounds: int) -> None:
    clock = FakeClock()
    limits = Limits(block_calls=2)
    players = {name: CallPlayer(call, clock, limits) for name, call in named_calls(clock, a=1.0, b=1.0).items()}
    times = take_turns(players, seed=0, rounds=6, enough=Enough(rounds=3, seconds=seconds))
    assert [len(times[name]) for name in players] == [rounds, rounds]


def test_no_rounds_and_no_warm_up_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        time_interleaved({}, rounds=0, seed=0)
    with pytest.raises(ValueError, match="at least 1"):
        time_interleaved({}, warmup_calls=0, seed=0)


def test_the_wall_clock_counts_milliseconds() -> None:
    clock = WallClock()
    assert 5.0 <= clock.time_ms(lambda: clock.pause(0.005)) < 500.0


def test_the_cuda_clock_waits_for_the_device() -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    clock = CudaClock()
    matrix = torch.ones(4096, 4096, device="cuda")
    clock.time_ms(lambda: matrix @ matrix)
    one = clock.time_ms(lambda: matrix @ matrix)
    ten = clock.time_ms(lambda: [matrix @ matrix for _ in range(10)])
    assert ten > 4 * one > 0
