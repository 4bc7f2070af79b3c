"""Together or alone: what interleaving does to a figure. Each runtime beside the others, and in a fresh process.

A machine's speed drifts by tens of per cent within minutes, so both ways take short turns: a few rounds with all
runtimes in this process, then a few of each runtime with nothing else running, in a process that runs nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bench.measuring.part import TARGET, Part, tell
from bench.measuring.sample import opened, sample_bundle, sitting_conditions
from compress.inputs import timing_inputs
from compress.runtime import runtime_of
from compress.runtimes.timing import take_turns
from evaluation.measurement import Gate, Measurement
from evaluation.sitting import Conditions, Opened
from evaluation.speed.apart import parcels
from evaluation.speed.rounds import paired_ratio
from evaluation.speed.speed import LIMITS, time_all
from evaluation.speed.worker import Worker

WITHIN = 0.10
SHAPES = ("1x16", "32x64")
PASSES = 12
ROUNDS_A_PASS = 3
RUNTIMES = {"torch-fp32": "torch", "onnxruntime": "onnx", "openvino": "onnx"}

Times = dict[tuple[str, str], dict[str, list[np.ndarray]]]
"""By runtime and shape, then `together` or `alone`: milliseconds of the calls of each pass."""


def found(*, small: bool, seed: int) -> Part:
    """The median of each runtime that is installed, together over alone, at each shape."""
    passes, rounds = (2, 2) if small else (PASSES, ROUNDS_A_PASS)
    shapes = ("1x8", "2x16") if small else SHAPES
    times: Times = {}
    with TemporaryDirectory(prefix="measuring-") as folder:
        bundles = sample_bundle(Path(folder), tiny=small)
        there = {name: form for name, form in RUNTIMES.items() if runtime_of(name).obstacle("cpu") is None}
        conditions = sitting_conditions(shapes, seed=seed, rounds=rounds)
        wanted = {name: (name, bundles[form]) for name, form in there.items()}
        with opened(wanted, conditions.threads, {}) as sitting, _workers(sitting, conditions) as workers:
            for number in range(passes):
                turn = replace(conditions, seed=seed + number)
                ways = [partial(_together, sitting), partial(_alone, sitting, workers)]
                for way in ways if number % 2 else reversed(ways):
                    way(turn, times)
                tell(f"together and alone: {number + 1} of {passes}")
    return _judged(times, missing=[name for name in RUNTIMES if name not in there])


@contextmanager
def _workers(sitting: Sequence[Opened], conditions: Conditions) -> Iterator[dict[str, Worker]]:
    """A fresh process for each runtime."""
    with ExitStack() as closing:
        packed = closing.enter_context(parcels(sitting, conditions, with_processor=False))
        workers = {}
        for one in sitting:
            parcel = packed[one.name]
            assert not isinstance(parcel, str), parcel
            workers[one.name] = Worker(one.name, parcel, LIMITS)
            closing.callback(workers[one.name].close)
        yield workers


def _together(sitting: Sequence[Opened], conditions: Conditions, times: Times) -> None:
    """All runtimes in this process, as a recipe's sitting times them."""
    time_all(sitting, conditions, lambda *_told: None, texts=False)
    for one in sitting:
        for shape, rounds in one.times.items():
            _note(times, one.name, str(shape), "together", rounds)


def _alone(sitting: Sequence[Opened], workers: Mapping[str, Worker], conditions: Conditions, times: Times) -> None:
    """One runtime after the other in its own process, all others idle."""
    for one in sitting:
        for shape in conditions.deploy.shapes:
            workers[one.name].take(timing_inputs(one.subject.bundle, conditions.test, shape))
            found = take_turns({one.name: workers[one.name]}, seed=conditions.seed, rounds=conditions.rounds)
            _note(times, one.name, str(shape), "alone", found[one.name])


def _note(times: Times, name: str, shape: str, how: str, rounds: Sequence[np.ndarray]) -> None:
    times.setdefault((name, shape), {}).setdefault(how, []).append(np.concatenate(rounds))


def _judged(times: Times, missing: list[str]) -> Part:
    """One ratio for each runtime and shape; the promise is judged by the one that lies farthest from 1."""
    rows = [
        {
            "runtime": name,
            "shape": shape,
            "together_ms": float(np.median(np.concatenate(ms["together"]))),
            "alone_ms": float(np.median(np.concatenate(ms["alone"]))),
            "passes": len(ms["alone"]),
            **vars(paired_ratio(ms["together"], ms["alone"])),
        }
        for (name, shape), ms in times.items()
    ]
    farthest = max(rows, key=lambda row: abs(row["value"] - 1))
    off = abs(farthest["value"] - 1)
    detail = f"medians together over alone, {farthest['passes']} passes; "
    detail += f"farthest: {farthest['runtime']} at {farthest['shape']}"
    detail += f"; not installed: {', '.join(missing)}" if missing else ""
    measurements = [
        Measurement(
            target=TARGET,
            name="together_over_alone",
            value=row["value"],
            unit="ratio",
            low=row["low"],
            high=row["high"],
            count=row["passes"],
            higher_is_better=False,
            conditions={"runtime": row["runtime"], "shape": row["shape"]},
        )
        for row in rows
    ]
    passed = off <= WITHIN and not missing  # the promise is of all three
    gate = Gate(name="together_and_alone", limit=WITHIN, value=off, passed=passed, target=TARGET, detail=detail)
    return Part([gate], measurements, {"together and alone": rows})
