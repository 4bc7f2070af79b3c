"""Milliseconds of calls, in interleaved blocks: CUDA events on a GPU, the wall clock elsewhere."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch

from bench.gpu.failure import failure
from bench.gpu.sitting import Effort, Sitting

Call = Callable[[], torch.Tensor]
Rounds = list[np.ndarray]


def time_interleaved(calls: Mapping[str, Call], sitting: Sitting) -> tuple[dict[str, Rounds], dict[str, str]]:
    """Milliseconds per call, one array per round and variant; and of variants that failed instead, the reason.

    Each round has one block of each variant in random order. A block: a pause, three calls that are not counted, then
    calls until its time or its number of calls is reached, but at least three. A variant that fails once is left out
    from then on, its times too; the others go on.
    """
    timed = _cuda_timer() if sitting.device.type == "cuda" else _wall_timer()
    order = np.random.default_rng(sitting.seed)
    names = list(calls)
    times: dict[str, Rounds] = {name: [] for name in names}
    failed: dict[str, str] = {}

    def add_block(name: str) -> None:
        times[name].append(_block(calls[name], timed, sitting.effort))

    def attempt(work: Callable[[], object], name: str) -> None:
        if name not in failed and (reason := failure(work)):
            failed[name] = reason

    for name in names:
        attempt(partial(_warm, calls[name], timed), name)
    for _ in range(sitting.effort.rounds):
        for index in order.permutation(len(names)):
            attempt(partial(add_block, names[index]), names[index])
    return {name: rounds for name, rounds in times.items() if name not in failed}, failed


def _warm(call: Call, timed: Callable[[Call], float]) -> None:
    for _ in range(5):
        timed(call)


def _block(call: Call, timed: Callable[[Call], float], effort: Effort) -> np.ndarray:
    was_on = gc.isenabled()
    gc.disable()  # a collection in the middle of a call would be charged to it
    try:
        time.sleep(effort.pause_seconds)
        for _ in range(3):
            timed(call)
        times: list[float] = []
        while len(times) < 3 or (len(times) < effort.block_calls and sum(times) < 1000 * effort.block_seconds):
            times.append(timed(call))
    finally:
        if was_on:
            gc.enable()
    return np.array(times)


def _cuda_timer() -> Callable[[Call], float]:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def timed(call: Call) -> float:
        torch.cuda.synchronize()
        start.record()
        call()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end))

    return timed


def _wall_timer() -> Callable[[Call], float]:
    def timed(call: Call) -> float:
        start = time.perf_counter_ns()
        call()
        return (time.perf_counter_ns() - start) / 1e6

    return timed
