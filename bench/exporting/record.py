"""What the cases left, as a run: figures, and the promises that they keep or break."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bench.exporting.cases import BFLOAT, CASES, FLOAT, HEADS, UNEVEN, WHOLE, Case
from compress.provenance import code_digest, environment
from evaluation.measurement import Comparison, Gate, Measurement, Run, Target
from evaluation.speed.rounds import beyond_noise, joint_floor, off_by, paired_ratio

FOLDER = "onnx-export"
SHAPE = "32x64"
SECONDS, COPIES, NEAR = 20.0, 4.0, 0.2
"""Of the float32 export by its command; of the model's bytes; of the speed-up that FLOPs promise."""
TWIN = " (again)"
Rounds = Sequence[np.ndarray]


def as_run(
    found: Mapping[str, Mapping[str, Any]], times: Mapping[str, Rounds], command_s: float, about: Mapping[str, Any]
) -> Run:
    """Every case's figures.

    Args:
        found: by case, what `making.made` says.
        times: of the whole and the uneven file and of the first one's twin, milliseconds of each call by rounds.
        command_s: of `compress export` of the float32 file, process and all.
    """
    cases = [case for case in CASES if case.name in found]
    measurements = [row for case in cases for row in _measured(case.name, found[case.name])]
    common = {"target": FLOAT.name, "unit": "s", "higher_is_better": False}
    measurements.append(Measurement(name="command_seconds", value=command_s, **common))
    speed = _speedup(times)
    return Run(
        name=FOLDER,
        environment={**environment("cpu", about["threads"]), "code": code_digest("compress.stages.export"), **about},
        targets=[
            Target(name=case.name, kind="stage", title=case.title, runtime="onnxruntime", form="onnx") for case in cases
        ],
        measurements=measurements,
        comparisons=[speed],
        gates=list(_gates(cases, found, speed, command_s)),
        tables={"files": [_row(case, found[case.name]) for case in cases]},
    )


def _measured(name: str, one: Mapping[str, Any]) -> Iterator[Measurement]:
    common = {"target": name, "higher_is_better": False}
    yield Measurement(name="bytes", value=one["bytes"], unit="bytes", **common)
    yield Measurement(name="seconds", value=one["seconds"], unit="s", **common)
    yield Measurement(name="peak_over_model", value=one["peak_bytes"] / one["model_bytes"], unit="ratio", **common)
    if one["logit_error"] is not None:
        yield Measurement(name="logit_error", value=one["logit_error"], unit="ratio", **common)


def _speedup(times: Mapping[str, Rounds]) -> Comparison:
    """Of the unevenly cut model over the whole one, both in int8."""
    noise = off_by(paired_ratio(times[WHOLE.name], times[WHOLE.name + TWIN]))
    ratio, floor = paired_ratio(times[WHOLE.name], times[UNEVEN.name]), joint_floor(noise, noise)
    batch, tokens = map(int, SHAPE.split("x"))
    return Comparison(
        target=UNEVEN.name,
        baseline=WHOLE.name,
        name="speedup",
        unit="ratio",
        noise=floor,
        count=len(times[UNEVEN.name]),
        verdict=beyond_noise(ratio, floor),
        conditions={"batch": batch, "tokens": tokens, "rounds": len(times[UNEVEN.name])},
        **vars(ratio),
    )


def _gates(
    cases: Sequence[Case], found: Mapping[str, Mapping[str, Any]], speed: Comparison, command_s: float
) -> Iterator[Gate]:
    for case in cases:
        every = found[case.name]["gates"]
        broken = [gate["detail"] for gate in every if not gate["passed"]]
        detail = "; ".join(broken) or f"{len(every)} gates: {', '.join(dict.fromkeys(one['name'] for one in every))}"
        passed = bool(every) and not broken
        yield Gate(name="export_gates", limit=0, value=len(broken), passed=passed, target=case.name, detail=detail)
        if case.megabytes is not None:
            size = found[case.name]["bytes"] / 1e6
            yield _at_most("megabytes", case.name, size, case.megabytes, f"{size:.1f} MB whole")
    yield _at_most("command_seconds", FLOAT.name, command_s, SECONDS, f"`compress export` takes {command_s:.1f} s")
    for case in (FLOAT, BFLOAT):  # what is quantized besides holds what was seen of texts as well
        copies = found[case.name]["peak_bytes"] / found[case.name]["model_bytes"]
        told = f"{copies:.2f} times the model's bytes above what imports hold"
        yield _at_most("peak_memory", case.name, copies, COPIES, told)
    promised = found[WHOLE.name]["flops"] / found[UNEVEN.name]["flops"]
    off = speed.value / promised - 1
    told = (
        f"{HEADS} heads: {speed.value:.2f}x ({speed.low:.2f} to {speed.high:.2f}) at {SHAPE}, {promised:.2f}x by FLOPs"
    )
    yield Gate(name="speedup_by_flops", limit=-NEAR, value=off, passed=off >= -NEAR, target=UNEVEN.name, detail=told)


def _at_most(name: str, target: str, value: float, limit: float, detail: str) -> Gate:
    return Gate(name=name, limit=limit, value=value, passed=value <= limit, target=target, detail=detail)


def _row(case: Case, one: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "file": case.name,
        "what": case.title,
        "MB": round(one["bytes"] / 1e6, 1),
        "logit error": round(one["logit_error"], 4) if one["logit_error"] is not None else "",
        "s": round(one["seconds"], 1),
        "times the model's bytes": round(one["peak_bytes"] / one["model_bytes"], 2),
        "GFLOP at 32x64": round(one["flops"] / 1e9, 1),
    }
