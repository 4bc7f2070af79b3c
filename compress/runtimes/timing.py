"""Time several ways to run a model in one sitting, so that none is favoured: interleaved blocks.

Calling different runtimes in turn, call by call, distorts them all: the threads of each pool spin on for a while after
a call and take the cores from the next one. So each variant runs in blocks: a pause while the others' threads go to
sleep, some calls that are not counted, then the counted ones. Every round has one block of each variant, in random
order, so that a machine that warms up or slows down does so for all of them; round i of one variant can be paired with
round i of another.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

Call = Callable[[], object]

LONG_CALL_MS = 150.0
"""Above it, one uncounted call is pause and warm-up at once: other pools have long stopped spinning when it ends."""
_FEWEST_COUNTED = 3
_STABLE_WITHIN = 0.1  # relative; field timings on a shared machine scatter by about 8 %
_MOST_FIRST_CALLS = 30
_MOST_BLOCK_WARMUP = 10


class Clock(Protocol):
    """How a call is timed, and how to wait."""

    def time_ms(self, call: Call) -> float:
        """Make the call and return how long it took, in milliseconds, its work on the device included."""

    def pause(self, seconds: float) -> None:
        """Do nothing for so long."""


class WallClock:
    """Time as the caller sees it; for whatever is done when the call returns."""

    def time_ms(self, call: Call) -> float:
        start = time.perf_counter_ns()
        call()
        return (time.perf_counter_ns() - start) / 1e6

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)


class CudaClock:
    """Time on torch's current CUDA stream, between two events.

    A call that works on a stream of its own, as onnxruntime does, is timed rightly as long as it waits for its result.
    """

    def __init__(self) -> None:
        import torch

        self._cuda = torch.cuda
        self._start: Any = torch.cuda.Event(enable_timing=True)
        self._end: Any = torch.cuda.Event(enable_timing=True)

    def time_ms(self, call: Call) -> float:
        self._cuda.synchronize()  # what was queued before is not this call's work
        self._start.record()
        call()
        self._end.record()
        self._end.synchronize()
        return float(self._start.elapsed_time(self._end))

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)


def clock_of(device: str) -> Clock:
    """The clock that times work on a device rightly."""
    return CudaClock() if device == "cuda" else WallClock()


def time_interleaved(
    calls: Mapping[str, Call],
    *,
    seed: int,
    rounds: int = 8,
    block_seconds: float = 0.5,
    block_calls: int = 20,
    pause_seconds: float = 0.1,
    warmup_calls: int = 3,
    clock: Clock | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> dict[str, list[np.ndarray]]:
    """Milliseconds per call of each variant: one array per round, with one entry per counted call.

    First each variant is called until its times are stable. Then come the rounds. A block ends after `block_seconds`
    of counted calls or after `block_calls` of them, whichever is first, but never before three.

    Args:
        calls: what to time, by name. Each call returns when its result is there (or, with a `CudaClock`, is queued).
        seed: decides the order of the blocks within each round.
        rounds: blocks of each variant.
        pause_seconds: idle time before each block, until threads of the block before have stopped spinning.
        warmup_calls: calls at the start of each block that are not counted, at least; more, up to ten, until two in a
            row agree within 10 %. Above 150 ms per call it is one call, and no pause.
        clock: `WallClock` unless given.
        progress: told the fraction of the work that is done, and what is being timed.

    Raises:
        ValueError: `rounds` or `warmup_calls` is below 1.
    """
    if rounds < 1 or warmup_calls < 1:
        raise ValueError(f"rounds {rounds}, warmup_calls {warmup_calls}: wanted at least 1 of each")
    clock = clock or WallClock()
    tell = progress or _tell_nobody
    limits = _Limits(block_seconds, block_calls, pause_seconds, warmup_calls)
    order = np.random.default_rng(seed)
    names = list(calls)
    steps = len(names) * (rounds + 1)
    times: dict[str, list[np.ndarray]] = {name: [] for name in names}
    typical_ms: dict[str, float] = {}
    for step, name in enumerate(names):
        tell(step / max(steps, 1), f"warm up {name}")
        typical_ms[name] = _first_calls(calls[name], clock, block_seconds)
    for turn in range(rounds):
        for place, index in enumerate(order.permutation(len(names))):
            name = names[index]
            tell((len(names) * (turn + 1) + place) / steps, f"round {turn + 1} of {rounds}: {name}")
            with _no_garbage_collection():
                _warm_up(calls[name], clock, limits, typical_ms[name])
                times[name].append(_counted(calls[name], clock, limits))
            typical_ms[name] = float(np.median(times[name][-1]))
    tell(1.0, "timed")
    return times


@dataclass(frozen=True)
class _Limits:
    """How long a block lasts, and what comes before its first counted call."""

    block_seconds: float
    block_calls: int
    pause_seconds: float
    warmup_calls: int


def _tell_nobody(fraction: float, message: str) -> None:
    """No one watches."""


def _first_calls(call: Call, clock: Clock, budget_seconds: float) -> float:
    """Call until stable; return what one call then takes, in milliseconds."""
    clock.time_ms(call)  # may compile, or allocate: tells nothing about the next
    return _until_stable(call, clock, at_least=2, at_most=_MOST_FIRST_CALLS, budget_seconds=budget_seconds)


def _warm_up(call: Call, clock: Clock, limits: _Limits, typical_ms: float) -> None:
    """Let other variants' threads fall asleep and this one's wake up."""
    if typical_ms > LONG_CALL_MS:
        clock.time_ms(call)
        return
    clock.pause(limits.pause_seconds)
    most = max(limits.warmup_calls, _MOST_BLOCK_WARMUP)
    _until_stable(call, clock, at_least=limits.warmup_calls, at_most=most, budget_seconds=limits.block_seconds)


def _until_stable(call: Call, clock: Clock, *, at_least: int, at_most: int, budget_seconds: float) -> float:
    """Call until two calls in a row take the same time, give or take; return the last one's, in milliseconds."""
    times_ms: list[float] = []
    while len(times_ms) < at_most:
        times_ms.append(clock.time_ms(call))
        if len(times_ms) < at_least:
            continue
        if len(times_ms) > 1 and abs(times_ms[-1] - times_ms[-2]) <= _STABLE_WITHIN * times_ms[-2]:
            break
        if min(times_ms) * len(times_ms) >= 1000 * budget_seconds:  # the fastest: one call that compiles is no reason
            break
    return times_ms[-1]


def _counted(call: Call, clock: Clock, limits: _Limits) -> np.ndarray:
    times_ms: list[float] = []
    while len(times_ms) < _FEWEST_COUNTED or (
        len(times_ms) < limits.block_calls and sum(times_ms) < 1000 * limits.block_seconds
    ):
        times_ms.append(clock.time_ms(call))
    return np.array(times_ms)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """A collection in the middle of a call would be charged to it."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
