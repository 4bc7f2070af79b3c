"""The sitting as a run: figures, comparisons, and the promises that they keep or break."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.onnx.files import FLOAT, NNCF, PORTABLE, RESULT, SMALLEST, File
from bench.onnx.sitting import TWIN, Sat
from compress.deploy import Shape
from compress.provenance import code_digest, environment
from evaluation.measurement import Comparison, Gate, Measurement, Run, Skipped, Target
from evaluation.metrics.accuracy import Accuracy
from evaluation.speed.percentiles import percentile_interval
from evaluation.speed.rounds import LEAST_FLOOR, beyond_noise, joint_floor, off_by, paired_ratio
from evaluation.statistics.intervals import agreement, interval_of, logit_error, paired_drop

FOLDER = "onnx-minilm"
TORCH = "torch"
SMALL = "1x16"
ERROR, ALIKE, DROP = 0.05, 0.99, 0.01
MEGABYTES, MEGABYTES_INT4 = 23.5, 18.0


def as_run(
    sat: Sat,
    asked: Sequence[File],
    paths: Mapping[str, Path],
    faults: Mapping[str, str],
    labels: np.ndarray,
    about: Mapping[str, Any],
) -> Run:
    """Everything that the sitting says.

    Args:
        asked: the files that were to be measured; what is promised of others is not judged.
        paths: of the files that were measured.
        faults: why others could not be made.
        labels: of the test rows.
        about: the command, threads and model, for the environment.
    """
    files = [file for file in asked if file.name in paths]
    precisions = {file.precision for file in asked}
    noise = _noise(sat)
    measurements = [row for file in files for row in _measured(file, sat, paths[file.name], labels, about["threads"])]
    comparisons = [row for file in files for row in _quality(file, sat, labels)]
    ours = [file for file in files if file.name in (FLOAT, RESULT, PORTABLE, SMALLEST, "ours-dynamic")]
    comparisons += [row for file in ours for other in files for row in _speedups(file, other, sat, noise)]
    run = Run(
        name=FOLDER if len(precisions) > 1 else f"{FOLDER}-{min(precisions)}",
        environment={**environment("cpu", about["threads"]), "code": code_digest("compress.stages.quantize"), **about},
        targets=[_target(file) for file in files],
        skipped=[Skipped(target=name, reason=reason) for name, reason in faults.items()],
        measurements=[_whole(sat, labels), *measurements],
        comparisons=comparisons,
        tables={"files": [_row(file, sat, paths[file.name]) for file in files]},
    )
    shapes = list(sat.times)
    gates = list(_gates_of_float(run, shapes)) if "fp32" in precisions else []
    gates += _gates_of_int8(run, shapes) if "int8" in precisions else []
    return run.model_copy(update={"gates": gates})


def _target(file: File) -> Target:
    kind = "result" if file.name == RESULT else "baseline"
    return Target(name=file.name, kind=kind, title=file.title, runtime=file.runtime, form="onnx")


def _noise(sat: Sat) -> dict[Shape, float]:
    """How far a file's ratio to its own twin lay from 1: the farthest, at each shape."""
    return {
        shape: max(
            off_by(paired_ratio(times[name.removesuffix(TWIN)], times[name])) for name in times if name.endswith(TWIN)
        )
        for shape, times in sat.times.items()
    }


def _whole(sat: Sat, labels: np.ndarray) -> Measurement:
    return _accuracy(TORCH, sat.scores[TORCH], labels)


def _accuracy(name: str, scores: np.ndarray, labels: np.ndarray) -> Measurement:
    found = interval_of(Accuracy().value, _right(scores, labels), seed=0)
    return Measurement(
        target=name, name="accuracy", unit="ratio", count=len(labels), higher_is_better=True, **vars(found)
    )


def _right(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return Accuracy().evidence(labels, scores.argmax(axis=-1))


def _measured(file: File, sat: Sat, path: Path, labels: np.ndarray, threads: int) -> Iterator[Measurement]:
    size = sum(one.stat().st_size for one in _parts(path))
    yield Measurement(target=file.name, name="bytes", value=size, unit="bytes", higher_is_better=False)
    yield _accuracy(file.name, sat.scores[file.name], labels)
    for shape, times in sat.times.items():
        rounds = times[file.name]
        yield Measurement(
            target=file.name,
            name="latency_p50_ms",
            unit="ms",
            count=sum(map(len, rounds)),
            higher_is_better=False,
            conditions=_at(shape) | {"threads": threads, "runtime": file.runtime},
            **vars(percentile_interval(rounds, 50, seed=0)),
        )


def _parts(path: Path) -> list[Path]:
    """OpenVINO keeps the weights beside the graph."""
    return [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]


def _at(shape: Shape) -> dict[str, int]:
    return {"batch": shape.batch, "tokens": shape.tokens}


def _quality(file: File, sat: Sat, labels: np.ndarray) -> Iterator[Comparison]:
    """Against torch, on the same rows."""
    whole, scores = sat.scores[TORCH], sat.scores[file.name]
    common = {"target": file.name, "baseline": TORCH, "count": len(labels)}
    sides = _right(whole, labels), _right(scores, labels)
    drop = paired_drop(Accuracy().value, *sides, higher_is_better=True, seed=0)
    yield Comparison(name="quality_drop", unit="ratio", conditions={"metric": "accuracy"}, **common, **vars(drop))
    alike = agreement(whole.argmax(axis=-1) == scores.argmax(axis=-1), seed=0)
    yield Comparison(name="agreement", unit="ratio", **common, **vars(alike))
    if (moved := logit_error(whole, scores, seed=0)) is not None:
        yield Comparison(name="logit_error", unit="ratio", **common, **vars(moved))


def _speedups(file: File, other: File, sat: Sat, noise: Mapping[Shape, float]) -> Iterator[Comparison]:
    if file.name == other.name or file.precision != other.precision:
        return
    for shape, times in sat.times.items():
        ratio = paired_ratio(times[other.name], times[file.name])
        floor = joint_floor(noise[shape], noise[shape])
        yield Comparison(
            target=file.name,
            baseline=other.name,
            name="speedup",
            unit="ratio",
            noise=floor,
            count=len(times[file.name]),
            verdict=beyond_noise(ratio, floor),
            conditions=_at(shape) | {"rounds": len(times[file.name])},
            **vars(ratio),
        )


def _gates_of_float(run: Run, shapes: Sequence[Shape]) -> Iterator[Gate]:
    """What was promised of the float32 file."""
    for peer in ("transformers-fp32", "optimum-O3", "olive"):
        yield from _faster(run, FLOAT, (peer,), shapes, 1 - LEAST_FLOOR)


def _gates_of_int8(run: Run, shapes: Sequence[Shape]) -> Iterator[Gate]:
    """What was promised of files in int8."""
    small, large = ([shape for shape in shapes if (str(shape) == SMALL) is wanted] for wanted in (True, False))
    yield from _faster(run, RESULT, NNCF, small, 1.2, "_at_1x16")
    yield from _faster(run, RESULT, NNCF, large, 0.8)
    yield from _faster(run, RESULT, ("sentence-transformers-int8",), shapes, 1.25)
    yield from _faster(run, RESULT, ("transformers-int8",), shapes, 1.1)
    yield from _faster(run, PORTABLE, NNCF[:1], shapes, 1.0, "_in_openvino")
    for name, limit in (("logit_error", ERROR), ("quality_drop", DROP), ("agreement", ALIKE)):
        found = run.compared(RESULT, TORCH, name)
        assert found is not None, "our own file is always measured"
        value = found.high if name == "quality_drop" else found.value
        assert value is not None, "a drop has an interval"
        kept = value >= limit if name == "agreement" else value <= limit
        told = f"{found.value:.4f} ({found.low:.4f} to {found.high:.4f}), n = {found.count}"
        yield Gate(name=name, limit=limit, value=value, passed=kept, target=RESULT, detail=told)
    for target, limit in ((RESULT, MEGABYTES), (SMALLEST, MEGABYTES_INT4)):
        size = run.measured(target, "bytes")
        assert size is not None, "likewise"
        value = size.value / 1e6
        detail = f"{value:.1f} MB whole"
        yield Gate(name="megabytes", limit=limit, value=value, passed=value <= limit, target=target, detail=detail)


def _faster(
    run: Run, name: str, peers: Sequence[str], shapes: Sequence[Shape], limit: float, at: str = ""
) -> Iterator[Gate]:
    """The least speed-up at these shapes, over the fastest of these peers; without any, the promise is not kept."""
    gate = f"speedup_over_{peers[0]}{at}"
    found = [
        min(ratios, key=lambda one: one.value)
        for shape in shapes
        if (ratios := [c for peer in peers if (c := run.compared(name, peer, "speedup", **_at(shape))) is not None])
    ]
    if not found:
        reason = f"{peers[0]} could not be made or opened, so nothing is known"
        yield Gate(name=gate, limit=limit, value=None, passed=False, target=name, detail=reason)
        return
    least = min(found, key=lambda one: one.value)
    where = f"{least.conditions['batch']}x{least.conditions['tokens']}"
    detail = f"the least is {least.value:.2f}x ({least.low:.2f} to {least.high:.2f}) at {where}, over {least.baseline}"
    yield Gate(
        name=gate,
        limit=limit,
        value=least.value,
        passed=least.value >= limit,
        target=name,
        detail=detail,
    )


def _row(file: File, sat: Sat, path: Path) -> dict[str, Any]:
    """One line of the table: what it is, and the median of its rounds' medians at each shape."""
    times = {
        f"{shape}, ms": round(float(np.median([np.median(block) for block in sat.times[shape][file.name]])), 3)
        for shape in sat.times
    }
    size = sum(one.stat().st_size for one in _parts(path)) / 1e6
    return {"file": file.name, "what": file.title, "MB": round(size, 1), **times}
