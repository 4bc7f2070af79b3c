"""Runs as `compress run` leaves them, made up in a moment: predictions, and a run.json that agrees with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tiny import tiny_split

from compress.data import Split
from compress.metric import metric_of
from evaluation.across.kept import Kept
from evaluation.measurement import Comparison, Measurement, Run, Target
from evaluation.quality.predictions import write_predictions

COUNT = 300
TEST = tiny_split("test", COUNT)
MACHINE = {"cpu": "a", "cores": 2, "os": "linux", "device": "cpu", "threads": 2, "packages": {"onnxruntime": "1.31"}}


def scores_of(test: Split, wrong: float, seed: int) -> np.ndarray:
    """Logits that err on a share of the examples."""
    assert test.labels is not None
    errs = np.random.default_rng(seed).random(len(test)) < wrong
    decided = np.where(errs, 1 - test.labels, test.labels)
    return np.stack([1.0 - decided, decided], axis=1) * 3


def made(
    home: Path,
    label: str,
    *,
    wrong: float = 0.1,
    test: Split = TEST,
    metrics: tuple[str, ...] = ("accuracy", "f1"),
    p50_ms: float = 10.0,
    reference_ms: float = 30.0,
    seed: int = 0,
    recipe: dict[str, Any] | None = None,
    machine: dict[str, Any] | None = None,
    task: str = "text-classification",
) -> Kept:
    """A run as `compress run` leaves it: a reference that errs on 0.05 and a result that errs on `wrong`."""
    predictions = {"torch-fp32": scores_of(test, 0.05, 99), "result": scores_of(test, wrong, seed)}
    write_predictions(predictions, test, home / label / "predictions", task=task)
    about = {"split": "test", "data": test.digest}
    on = {"runtime": "onnxruntime", "device": "cpu", "threads": 2, "batch": 1, "tokens": 16}
    rows, values = [], {}
    for target, scores in predictions.items():
        for name in metrics:
            metric = metric_of(name, "class", labels=test.label_names)
            value = float(metric.value(metric.evidence(test.labels, scores.argmax(axis=1))))
            values[target, name] = value
            rows.append(measured(target, name, value, unit="ratio", conditions=about, higher_is_better=True))
        rows.append(measured(target, "bytes", 1000.0, unit="bytes"))
        rows.append(measured(target, "parameters", 500.0, unit="parameters"))
        time_ms = reference_ms if target == "torch-fp32" else p50_ms
        rows.append(measured(target, "latency_p50_ms", time_ms, unit="ms", spread=0.02, conditions=on))
        rows.append(measured(target, "noise", 1.01, unit="ratio", conditions=on))
    drops = [
        Comparison(
            target="result",
            baseline="torch-fp32",
            name="quality_drop",
            value=values["torch-fp32", name] - values["result", name],
            conditions={"metric": name},
        )
        for name in metrics
    ]
    targets = [
        Target(name="torch-fp32", kind="baseline", title="", runtime="torch-fp32", form="torch"),
        Target(name="result", kind="result", title="", runtime="onnxruntime", form="onnx"),
    ]
    run = Run(
        name=label,
        recipe={"version": 1, "seed": seed, "model": {"task": "text-classification"}} | (recipe or {}),
        environment=MACHINE | (machine or {}),
        targets=targets,
        measurements=rows,
        comparisons=drops,
    )
    return Kept(label, run, home / label)


def measured(target: str, name: str, value: float, *, spread: float = 0.0, **rest: Any) -> Measurement:
    bounds = {"low": value * (1 - spread), "high": value * (1 + spread)} if spread else {}
    return Measurement(**{"target": target, "name": name, "value": value, "higher_is_better": False, **bounds, **rest})
