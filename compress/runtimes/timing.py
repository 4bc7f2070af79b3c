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
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float

Call = Callable[[], object]

LONG_CALL_MS = 150.0
"""Above it, one uncounted call is pause and warm-up at once: other pools have long stopped spinning when it ends."""
STABLE_WITHIN = 0.1
"""Relative: calls that differ by less are warm. Timings on a shared machine scatter by about 8 %."""
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


@dataclass(frozen=True)
class Limits:
    """How long a block lasts, and what comes before its first counted call.

    Attributes:
        block_seconds: of counted calls, after which a block ends.
        block_calls: counted calls, after which a block ends; whichever is first, but never before `fewest_calls`.
        pause_seconds: idle time before each block, until threads of the block before have stopped spinning.
        warmup_calls: calls at the start of each block that are not counted, at least; more, up to ten, until two in a
            row agree within 10 %. Above 150 ms per call it is one call, which is pause enough.
    """

    block_seconds: float = 0.5
    block_calls: int = 20
    pause_seconds: float = 0.1
    warmup_calls: int = 3
    fewest_calls: int = 3


class Player(Protocol):
    """One variant in a sitting, here or in another process: it makes its calls when it is its turn."""

    def warm_up(self) -> float:
        """Call until the times are stable; what one call then takes, in milliseconds."""

    def block(self) -> Float[np.ndarray, "call ..."]:
        """One turn: milliseconds of each counted call."""


class CallPlayer:
    """The same call again and again, in this process."""

    def __init__(self, call: Call, clock: Clock, limits: Limits) -> None:
        self._call = call
        self._clock = clock
        self._limits = limits
        self._typical_ms = 0.0

    def warm_up(self) -> float:
        self._typical_ms = _first_calls(self._call, self._clock, self._limits.block_seconds)
        return self._typical_ms

    def block(self) -> Float[np.ndarray, "call"]:
        with no_garbage_collection():
            _warm_up(self._call, self._clock, self._limits, self._typical_ms)
            times = _counted(self._call, self._clock, self._limits)
        self._typical_ms = float(np.median(times))
        return times


@dataclass(frozen=True)
class Enough:
    """When a sitting may end early: after so many rounds, once it has lasted so long."""

    rounds: int
    seconds: float


def take_turns(
    players: Mapping[str, Player],
    *,
    seed: int,
    rounds: int,
    enough: Enough | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> dict[str, list[np.ndarray]]:
    """What each player's blocks gave, one array per round. First each warms up; then come the rounds, each with one
    block of every player.

    Args:
        seed: decides the order of the blocks within each round.
        enough: ends it before all rounds are done.
        progress: told the fraction of the work that is done, and what is being timed.
    """
    tell = progress or _tell_nobody
    order = np.random.default_rng(seed)
    names = list(players)
    steps = len(names) * (rounds + 1)
    times: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for step, name in enumerate(names):
        tell(step / max(steps, 1), f"warm up {name}")
        players[name].warm_up()
    started = time.monotonic()
    for turn in range(rounds):
        if enough is not None and turn >= enough.rounds and time.monotonic() - started > enough.seconds:
            break
        for place, index in enumerate(order.permutation(len(names))):
            name = names[index]
            tell((len(names) * (turn + 1) + place) / steps, f"round {turn + 1} of {rounds}: {name}")
            times[name].append(players[name].block())
    tell(1.0, "timed")
    return times


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

    Args:
        calls: what to time, by name. Each call returns when its result is there (or, with a `CudaClock`, is queued).
        seed: decides the order of the blocks within each round.
        rounds: blocks of each variant.
        block_seconds, block_calls, pause_seconds, warmup_calls: as in `Limits`.
        clock: `WallClock` unless given.
        progress: told the fraction of the work that is done, and what is being timed.

    Raises:
        ValueError: `rounds` or `warmup_calls` is below 1.
    """
    if rounds < 1 or warmup_calls < 1:
        raise ValueError(f"rounds {rounds}, warmup_calls {warmup_calls}: wanted at least 1 of each")
    clock = clock or WallClock()
    limits = Limits(block_seconds, block_calls, pause_seconds, warmup_calls)
    players = {name: CallPlayer(call, clock, limits) for name, call in calls.items()}
    return take_turns(players, seed=seed, rounds=rounds, progress=progress)


def _tell_nobody(fraction: float, message: str) -> None:
    """No one watches."""


def _first_calls(call: Call, clock: Clock, budget_seconds: float) -> float:
    """Call until stable; return what one call then takes, in milliseconds."""
    clock.time_ms(call)  # may compile, or allocate: tells nothing about the next
    return _until_stable(call, clock, at_least=2, at_most=_MOST_FIRST_CALLS, budget_seconds=budget_seconds)


def _warm_up(call: Call, clock: Clock, limits: Limits, typical_ms: float) -> None:
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
        if len(times_ms) > 1 and abs(times_ms[-1] - times_ms[-2]) <= STABLE_WITHIN * times_ms[-2]:
            break
        if min(times_ms) * len(times_ms) >= 1000 * budget_seconds:  # the fastest: one call that compiles is no reason
            break
    return times_ms[-1]


def _counted(call: Call, clock: Clock, limits: Limits) -> np.ndarray:
    times_ms: list[float] = []
    while len(times_ms) < limits.fewest_calls or (
        len(times_ms) < limits.block_calls and sum(times_ms) < 1000 * limits.block_seconds
    ):
        times_ms.append(clock.time_ms(call))
    return np.array(times_ms)


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """A collection in the middle of a call would be charged to it."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
