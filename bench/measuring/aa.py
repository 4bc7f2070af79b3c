"""A/A: the same model as two targets, again and again. Whatever is called faster or slower is called so falsely."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.measuring.part import TARGET, Part, tell
from bench.measuring.sample import ROUNDS, opened, sample_bundle, sitting_conditions
from evaluation.measurement import Comparison, Gate, Measurement
from evaluation.speed.speed import speed_comparisons, time_all

SITTINGS = 20
FALSE_SITTINGS = 1
"""Sittings of them in which anything may be called faster or slower, of two runtimes at two shapes."""
SHAPES = ("1x16", "1x128")
AGAIN = " again"


def found(*, small: bool, seed: int) -> Part:
    """Sittings with torch and onnxruntime, each as two targets with sessions of their own. Half of the usual rounds, as
    many as the demo's have at 1x128."""
    sittings, rounds = (2, 4) if small else (SITTINGS, ROUNDS // 2)
    rows: list[dict[str, Any]] = []
    with TemporaryDirectory(prefix="measuring-") as folder:
        bundles = sample_bundle(Path(folder), tiny=small)
        targets = {"torch": ("torch-fp32", bundles["torch"]), "onnxruntime": ("onnxruntime", bundles["onnx"])}
        for number in range(sittings):
            conditions = sitting_conditions(SHAPES, seed=seed + number, rounds=rounds)
            wanted = {name: target for one, target in targets.items() for name in (one, one + AGAIN)}
            with opened(wanted, conditions.threads, {}) as sitting:
                time_all(sitting, conditions, lambda *_told: None, texts=False)
                by_name = {one.name: one for one in sitting}
                for name in targets:
                    compared = speed_comparisons(by_name[name + AGAIN], by_name[name], conditions)
                    rows += [_row(number, name, comparison) for comparison in compared]
            tell(f"A/A {number + 1} of {sittings}: {_told(rows[-len(targets) * len(SHAPES) :])}")
    return _judged(rows, sittings)


def _row(number: int, runtime: str, comparison: Comparison) -> dict[str, Any]:
    return {
        "sitting": number + 1,
        "runtime": runtime,
        "shape": f"{comparison.conditions['batch']}x{comparison.conditions['tokens']}",
        "ratio": comparison.value,
        "low": comparison.low,
        "high": comparison.high,
        "noise": comparison.noise,
        "verdict": comparison.verdict,
    }


def _told(rows: Sequence[dict[str, Any]]) -> str:
    return ", ".join(f"{row['runtime']} {row['shape']} {row['ratio']:.3f} {row['verdict']}" for row in rows)


def _judged(rows: list[dict[str, Any]], sittings: int) -> Part:
    """One figure for each runtime and shape; the promise is judged by the sittings that any of them misled."""
    false: dict[tuple[str, str], int] = {}
    misled = {row["sitting"] for row in rows if row["verdict"] != "tie"}
    for row in rows:
        key = row["runtime"], row["shape"]
        false[key] = false.get(key, 0) + (row["verdict"] != "tie")
    told = ", ".join(f"{runtime} {shape}: {count}" for (runtime, shape), count in false.items())
    detail = f"sittings of {sittings} with a false verdict; false verdicts of {len(rows)}: {told}"
    measurements = [
        Measurement(
            target=TARGET,
            name="false_verdicts",
            value=count,
            unit="count",
            count=sittings,
            higher_is_better=False,
            conditions={"runtime": runtime, "shape": shape},
        )
        for (runtime, shape), count in false.items()
    ]
    gate = Gate(
        name="a_a_false_verdicts",
        limit=FALSE_SITTINGS,
        value=len(misled),
        passed=len(misled) <= FALSE_SITTINGS,
        target=TARGET,
        detail=detail,
    )
    return Part([gate], measurements, {"A/A sittings": rows})
