"""A planted slow-down: each call of one target waits for a tenth of its own time. Measuring has to find it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.measuring.part import TARGET, Part, tell
from bench.measuring.sample import ROUNDS, Slowed, opened, sample_bundle, sitting_conditions
from evaluation.measurement import Gate, Measurement
from evaluation.speed.speed import speed_comparisons, time_all

SITTINGS = 10
FOUND = 9
SHARE = 0.10
SHAPE = "1x128"
SLOWED = " slowed"


def found(*, small: bool, seed: int) -> Part:
    """Sittings with torch and onnxruntime, each beside itself slowed down."""
    sittings, rounds = (2, 4) if small else (SITTINGS, ROUNDS)
    rows: list[dict[str, Any]] = []
    with TemporaryDirectory(prefix="measuring-") as folder:
        bundles = sample_bundle(Path(folder), tiny=small)
        targets = {"torch": ("torch-fp32", bundles["torch"]), "onnxruntime": ("onnxruntime", bundles["onnx"])}
        wanted = {name: target for one, target in targets.items() for name in (one, one + SLOWED)}
        wrap = {one + SLOWED: partial(Slowed, share=SHARE) for one in targets}
        for number in range(sittings):
            conditions = sitting_conditions([SHAPE], seed=seed + number, rounds=rounds)
            with opened(wanted, conditions.threads, wrap) as sitting:
                time_all(sitting, conditions, lambda *_told: None, texts=False)
                by_name = {one.name: one for one in sitting}
                for name in targets:
                    [compared] = speed_comparisons(by_name[name + SLOWED], by_name[name], conditions)
                    rows.append({"sitting": number + 1, "runtime": name, **_figures(compared)})
                    tell(f"planted {number + 1} of {sittings}: {name} {compared.value:.3f} {compared.verdict}")
    return _judged(rows, sittings)


def _figures(comparison: Any) -> dict[str, Any]:
    return {key: getattr(comparison, key) for key in ("value", "low", "high", "noise", "verdict")}


def _judged(rows: list[dict[str, Any]], sittings: int) -> Part:
    """One figure for each runtime; the promise is judged by the worse of them."""
    runtimes = list(dict.fromkeys(row["runtime"] for row in rows))
    hits = {name: sum(row["runtime"] == name and row["verdict"] == "worse" for row in rows) for name in runtimes}
    fewest, limit = min(hits.values()), round(FOUND * sittings / SITTINGS)
    told = ", ".join(f"{name}: {count}" for name, count in hits.items())
    detail = f"a slow-down of {1 + SHARE:.2f}x at {SHAPE} found in {sittings} sittings, the worse runtime; {told}"
    measurements = [
        Measurement(
            target=TARGET,
            name="planted_slow_downs_found",
            value=count,
            unit="count",
            count=sittings,
            higher_is_better=True,
            conditions={"runtime": name, "shape": SHAPE, "slow_down": 1 + SHARE},
        )
        for name, count in hits.items()
    ]
    gate = Gate(
        name="planted_slow_down",
        limit=limit,
        value=fewest,
        passed=fewest >= limit,
        target=TARGET,
        detail=detail,
    )
    return Part([gate], measurements, {"planted slow-downs": rows})
