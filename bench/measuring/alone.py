"""Together or alone: what interleaving does to a figure. Each runtime beside the others, and in a fresh process."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bench.measuring.part import TARGET, Part, tell
from bench.measuring.sample import opened, sample_bundle, sitting_conditions
from compress.inputs import timing_inputs
from compress.runtime import runtime_of
from compress.runtimes.timing import take_turns
from evaluation.apart import parcels
from evaluation.measurement import Gate, Measurement
from evaluation.sitting import Conditions, Opened
from evaluation.speed import LIMITS, time_all
from evaluation.worker import Worker

WITHIN = 0.10
SHAPES = ("1x16", "32x64")
PASSES = 3
"""Of both ways in turns: a machine that slows down meanwhile does so for both."""
RUNTIMES = {"torch-fp32": "torch", "onnxruntime": "onnx", "openvino": "onnx"}


def found(*, small: bool, seed: int) -> Part:
    """The median of each runtime that is installed, together over alone, at each shape."""
    passes, rounds = (1, 2) if small else (PASSES, 8)
    shapes = ("1x8", "2x16") if small else SHAPES
    medians: dict[tuple[str, str], dict[str, list[float]]] = {}
    with TemporaryDirectory(prefix="measuring-") as folder:
        bundles = sample_bundle(Path(folder), tiny=small)
        there = {name: form for name, form in RUNTIMES.items() if runtime_of(name).obstacle("cpu") is None}
        for number in range(passes):
            conditions = sitting_conditions(shapes, seed=seed + number, rounds=rounds)
            wanted = {name: (name, bundles[form]) for name, form in there.items()}
            with opened(wanted, conditions.threads, {}) as sitting:
                time_all(sitting, conditions, lambda *_told: None, texts=False)
                for one in sitting:
                    for shape, times in one.times.items():
                        _note(medians, one.name, str(shape), "together", float(np.median(np.concatenate(times))))
            for one in sitting:
                for shape, ms in _alone(one, conditions).items():
                    _note(medians, one.name, shape, "alone", ms)
            tell(f"together and alone: {number + 1} of {passes}")
    return _judged(medians, passes, missing=[name for name in RUNTIMES if name not in there])


def _alone(one: Opened, conditions: Conditions) -> dict[str, float]:
    """The target's median at each shape in a process that runs nothing else."""
    with parcels([one], conditions, with_processor=False) as packed:
        parcel = packed[one.name]
        assert not isinstance(parcel, str), parcel
        worker = Worker(one.name, parcel, LIMITS)
        try:
            medians = {}
            for shape in conditions.deploy.shapes:
                worker.take(timing_inputs(one.subject.bundle, conditions.test, shape))
                times = take_turns({one.name: worker}, seed=conditions.seed, rounds=conditions.rounds)
                medians[str(shape)] = float(np.median(np.concatenate(times[one.name])))
        finally:
            worker.close()
    return medians


def _note(medians: dict[Any, dict[str, list[float]]], name: str, shape: str, how: str, ms: float) -> None:
    medians.setdefault((name, shape), {}).setdefault(how, []).append(ms)


def _judged(medians: dict[tuple[str, str], dict[str, list[float]]], passes: int, missing: list[str]) -> Part:
    """One ratio for each runtime and shape; the promise is judged by the one that lies farthest from 1."""
    rows = [
        {
            "runtime": name,
            "shape": shape,
            "together_ms": median(ms["together"]),
            "alone_ms": median(ms["alone"]),
            "ratio": median(a / b for a, b in zip(ms["together"], ms["alone"], strict=True)),
        }
        for (name, shape), ms in medians.items()
    ]
    farthest = max(rows, key=lambda row: abs(row["ratio"] - 1))
    off = abs(farthest["ratio"] - 1)
    detail = f"medians together over alone, {passes} passes; farthest: {farthest['runtime']} at {farthest['shape']}"
    detail += f"; not installed: {', '.join(missing)}" if missing else ""
    measurements = [
        Measurement(
            target=TARGET,
            name="together_over_alone",
            value=row["ratio"],
            unit="ratio",
            count=passes,
            higher_is_better=False,
            conditions={"runtime": row["runtime"], "shape": row["shape"]},
        )
        for row in rows
    ]
    passed = off <= WITHIN and not missing  # the promise is of all three
    gate = Gate(name="together_and_alone", limit=WITHIN, value=off, passed=passed, target=TARGET, detail=detail)
    return Part([gate], measurements, {"together and alone": rows})
