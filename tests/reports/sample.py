"""A realistic run, made up, for the tests of reports: three baselines, three stages, a result, everything recorded.

`old_run` is the same run as an older version wrote it: without noise, rounds, real texts, memory, flips or attribution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from evaluation.measurement import Comparison, Gate, Measurement, Run, Skipped, Target

Shape = tuple[int, int]

SHAPES: tuple[Shape, ...] = ((1, 16), (1, 128), (32, 128))
# name: kind, title, runtime, form, stage, parameters, bytes, accuracy, p50 in ms at each shape
TARGETS = {
    "torch-fp32": ("baseline", "PyTorch, fp32", "torch", "torch", None, 22.7e6, 90.9e6, 0.869, (10.6, 28.7, 655.0)),
    "torch-dynamic-int8": (
        "baseline",
        "PyTorch, dynamic int8",
        "torch",
        "torch",
        None,
        22.7e6,
        58.8e6,
        0.864,
        (8.9, 17.4, 371.0),
    ),
    "onnx-fp32": ("baseline", "ONNX, fp32", "onnxruntime-cpu", "onnx", None, 22.7e6, 91.2e6, 0.869, (3.5, 17.6, 548.0)),
    "01-distill": ("stage", "Distil to 3 layers", "torch", "torch", "distill", 17.4e6, 69.6e6, 0.864, (5.6, 15.0, 331)),
    "02-prune": ("stage", "Prune heads, ffn", "torch", "torch", "prune", 15.8e6, 63.2e6, 0.859, (5.4, 12.2, 246.0)),
    "03-export": (
        "stage",
        "Export to ONNX",
        "onnxruntime-cpu",
        "onnx",
        "export",
        15.8e6,
        63.4e6,
        0.859,
        (1.31, 6.58, 203.0),
    ),
    "result": (
        "result",
        "Quantize, dynamic int8",
        "onnxruntime-cpu",
        "onnx",
        "04-quantize",
        15.8e6,
        16.1e6,
        0.861,
        (0.62, 2.93, 88.4),
    ),
}
FILES = {
    "01-distill": "model.safetensors",
    "02-prune": "model.safetensors",
    "03-export": "onnx/model.onnx",
    "result": "onnx/model_int8.onnx",
}
PATH = ("torch-fp32", "01-distill", "02-prune", "03-export", "result")
NOISE = {(1, 16): 0.031, (1, 128): 0.014, (32, 128): 0.009}
ROUNDS = 16
BASELINES = ("torch-fp32", "torch-dynamic-int8", "onnx-fp32")
RECIPE = {
    "version": 1,
    "name": "reviews-trio",
    "seed": 13,
    "model": {
        "task": "text-classification",
        "source": ["pip:some-package==0.1.0!model", "hub:sentence-transformers/all-MiniLM-L6-v2@main"],
    },
    "deploy": {"runtime": "onnxruntime", "device": "cpu", "threads": 2, "precision": "int8"},
    "gates": {
        "max_quality_drop": {"metric": "accuracy", "drop": 0.03},
        "min_speedup": {"baseline": "torch-fp32", "shape": "1x128", "ratio": 6},
    },
}


def sample_run(name: str = "reviews-trio", *, faster: float = 1.0, drop: float = 0.0, min_speedup: float = 6.0) -> Run:
    """The run. `faster` divides the result's times, `drop` is taken off its accuracy, `min_speedup` is its gate."""
    return Run(
        name=name,
        recipe=RECIPE,
        environment=_environment(),
        lineage=_lineage(),
        targets=[
            Target(
                name=target, kind=kind, title=title, runtime=runtime, form=form, stage=stage, file=FILES.get(target, "")
            )
            for target, (kind, title, runtime, form, stage, *_) in TARGETS.items()
        ],
        skipped=[Skipped(target="openvino", reason="openvino is not installed")],
        measurements=[
            *(m for target in TARGETS for m in _measurements(target, faster, drop)),
            *(m for target in TARGETS for m in more_measurements(target, TARGETS, SHAPES)),
            *_noise(),
        ],
        comparisons=[
            *(c for target in TARGETS for base in BASELINES for c in _comparisons(target, base, faster, drop)),
            *(c for base, target in pairwise(PATH[1:]) for c in _comparisons(target, base, faster, drop)),
        ],
        gates=_gates(faster, drop, min_speedup),
        series=_series(),
        tables=_tables(),
    )


def old_run(name: str = "reviews-trio") -> Run:
    """The run as a version before issue 4 wrote it."""
    run = sample_run(name)
    known = ("accuracy", "f1", "parameters", "encoder_parameters", "bytes", "flops", "latency_p50_ms", "latency_p95_ms")
    new = {"flips", "flips_count", "slices", "parts", "02-prune.head_scores"}
    plain = {"noise": None, "adjusted_p_value": None, "unit": ""}
    return run.model_copy(
        update={
            "measurements": [m for m in run.measurements if m.name in known and m.conditions.get("inputs") != "texts"],
            "comparisons": [
                c.model_copy(update=plain | ({"count": None} if c.name == "speedup" else {}))
                for c in run.comparisons
                if c.baseline in BASELINES and c.conditions.get("inputs") != "texts"
            ],
            "gates": [gate.model_copy(update={"p_value": None}) for gate in run.gates],
            "tables": {name: table for name, table in run.tables.items() if name not in new},
        }
    )


def _measurements(target: str, faster: float, drop: float) -> list[Measurement]:
    _, _, runtime, _, _, parameters, size, accuracy, _ = TARGETS[target]
    accuracy -= drop if target == "result" else 0.0
    test = {"split": "test", "data": "sha256:5d1c", "runtime": runtime, "threads": 2, "seed": 13}
    found = [
        Measurement(
            target=target,
            name=metric,
            value=value,
            unit="ratio",
            low=value - 0.0211,
            high=value + 0.0203,
            count=1050,
            higher_is_better=True,
            conditions=test,
        )
        for metric, value in (("accuracy", accuracy), ("f1", accuracy - 0.0042))
    ]
    found.append(
        Measurement(
            target=target,
            name="calibration_error",
            value=0.931 - accuracy,
            unit="ratio",
            low=0.918 - accuracy,
            high=0.947 - accuracy,
            count=1050,
            higher_is_better=False,
            conditions=test,
        )
    )
    counted = {"parameters": parameters, "encoder_parameters": parameters - 11.7e6, "bytes": size}
    for quantity, value in counted.items():
        unit = "bytes" if quantity == "bytes" else "parameters"
        found.append(Measurement(target=target, name=quantity, value=value, unit=unit, higher_is_better=False))
    for batch, tokens in SHAPES:
        flops = batch * tokens * 2 * (parameters - 11.7e6)
        shape = {"batch": batch, "tokens": tokens}
        found.append(
            Measurement(
                target=target, name="flops", value=flops, unit="FLOPs", higher_is_better=False, conditions=shape
            )
        )
        median = _median(target, (batch, tokens), faster)
        for quantity, value in (("latency_p50_ms", median), ("latency_p95_ms", median * 1.07)):
            found.append(
                Measurement(
                    target=target,
                    name=quantity,
                    value=value,
                    unit="ms",
                    low=value * 0.985,
                    high=value * 1.017,
                    count=160 if batch == 1 else 48,
                    higher_is_better=False,
                    conditions=shape | {"threads": 2, "runtime": runtime, "device": "cpu"},
                )
            )
    return found


def more_measurements(
    target: str, targets: Mapping[str, tuple[Any, ...]], shapes: Sequence[Shape]
) -> list[Measurement]:
    """What issue 4 added: throughput, p99, real texts, load, memory, energy and cost."""
    runtime, size, medians = targets[target][2], targets[target][6], targets[target][8]
    ran_on = {"runtime": runtime, "device": "cpu", "threads": 2, "seed": 13, "processes": "one"}
    found = []

    def add(name: str, value: float, unit: str, count: int | None = None, **conditions: Any) -> None:
        ends = {"low": value * 0.98, "high": value * 1.03} if count else {}
        better = name == "throughput_per_s"
        found.append(
            Measurement(
                target=target,
                name=name,
                value=value,
                unit=unit,
                count=count,
                higher_is_better=better,
                conditions=conditions,
                **ends,
            )
        )

    for (batch, tokens), median in zip(shapes, medians, strict=True):
        at = {"batch": batch, "tokens": tokens}
        add("throughput_per_s", 980 * batch / median, "examples/s", 160, **at, **ran_on)
        if batch == 1:
            add("latency_p99_ms", median * 1.21, "ms", 1100, **at, **ran_on)
        add("peak_memory_bytes", 2.1e8 + 2 * size, "bytes", **at, of="host", includes="libraries")
        add("activation_bytes", 9.1e3 * batch * tokens, "bytes", **at)
        add("energy_joules", 0.011 * median, "J", 40, **at)
        add("cost_per_million", 0.047 * median / batch, "USD", **at, per_hour=0.17, currency="USD")
    for tokenization, added in (("apart", 0.0), ("included", 0.21)):
        median = medians[0] * 1.31 + added
        at = {"inputs": "texts", "batch": 1, "tokenization": tokenization, "mean_tokens": 23.4}
        add("latency_p50_ms", median, "ms", 640, **at, **ran_on)
        add("latency_p95_ms", median * 1.9, "ms", 640, **at, **ran_on)
        add("throughput_per_s", 930 / median, "examples/s", 640, **at, **ran_on)
    add("load_ms", size / 4e5 + 31, "ms", 5, includes="from disk to the first output", runtime=runtime)
    add("embedding_parameters", 11.7e6, "parameters")
    return found


def _noise() -> list[Measurement]:
    return [
        Measurement(
            target="torch-fp32",
            name="noise",
            value=1 + noise,
            unit="ratio",
            low=1 - 0.3 * noise,
            high=1 + 1.6 * noise,
            count=8,
            higher_is_better=False,
            conditions={"batch": batch, "tokens": tokens, "threads": 2},
        )
        for (batch, tokens), noise in NOISE.items()
    ]


def _comparisons(target: str, base: str, faster: float, drop: float) -> list[Comparison]:
    if target == base:
        return []
    lost = TARGETS[base][7] - TARGETS[target][7] + (drop if target == "result" else 0.0)
    pair = {"target": target, "baseline": base}
    found = [
        Comparison(
            **pair,
            name="quality_drop",
            value=lost,
            low=lost - 0.0121,
            high=lost + 0.0134,
            p_value=0.31,
            adjusted_p_value=0.62,
            unit="ratio",
            count=1050,
            verdict="worse" if lost > 0.0121 else "tie",
            conditions={"metric": "accuracy"},
        ),
        Comparison(
            **pair,
            name="quality_drop",
            value=-lost / 3,
            low=-lost / 3 - 0.008,
            high=-lost / 3 + 0.009,
            p_value=0.44,
            unit="ratio",
            count=1050,
            verdict="tie",
            conditions={"metric": "calibration_error"},
        ),
        Comparison(**pair, name="agreement", value=0.958, low=0.944, high=0.969, count=1050),
        Comparison(**pair, name="logit_error", value=0.113, low=0.104, high=0.121, unit="ratio", count=1050),
        Comparison(**pair, name="compression_ratio", value=TARGETS[base][6] / TARGETS[target][6]),
    ]
    for shape in SHAPES:
        ratio = _median(base, shape, faster) / _median(target, shape, faster)
        found.append(_speedup(pair, ratio, NOISE[shape], {"batch": shape[0], "tokens": shape[1]}))
    texts = (TARGETS[base][8][0] * 1.31 + 0.21) / (TARGETS[target][8][0] * 1.31 + 0.21)
    found.append(_speedup(pair, texts, 0.022, {"inputs": "texts", "batch": 1, "tokenization": "included"}))
    return found


def _speedup(pair: dict[str, str], ratio: float, noise: float, conditions: dict[str, Any]) -> Comparison:
    low, high = ratio * 0.97, ratio * 1.03
    verdict = "better" if low > 1 + noise else "worse" if high < 1 - noise else "tie"
    figures = {"value": ratio, "low": low, "high": high, "noise": noise, "count": ROUNDS, "verdict": verdict}
    return Comparison.model_validate({**pair, "name": "speedup", **figures, "conditions": conditions})


def _median(target: str, shape: tuple[int, int], faster: float) -> float:
    return TARGETS[target][8][SHAPES.index(shape)] / (faster if target == "result" else 1.0)


def _gates(faster: float, drop: float, min_speedup: float) -> list[Gate]:
    speedup = 28.7 / 2.93 * faster
    return [
        Gate(
            name="max_quality_drop",
            limit=0.03,
            value=0.008 + drop,
            passed=drop < 0.022,
            detail="accuracy on test",
            p_value=0.0021,
        ),
        Gate(
            name="min_speedup",
            limit=min_speedup,
            value=speedup,
            passed=speedup >= min_speedup,
            detail="over torch-fp32 at 1x128",
        ),
        Gate(name="parity", limit=1e-4, value=7e-7, passed=True, target="03-export", detail="left-padded, holed"),
    ]


def _series() -> dict[str, object]:
    steps = list(range(0, 240, 12))
    return {
        "01-distill.loss": {
            "x": steps,
            "y": [0.7 * 0.985**step + 0.2 for step in steps],
            "x_unit": "step",
            "y_unit": "loss",
        },
        "01-distill.dev_accuracy": {"x": [1, 2], "y": [0.842, 0.858], "x_unit": "epoch", "y_unit": "accuracy on dev"},
    }


def _tables() -> dict[str, object]:
    layers = {
        "reference": [(12, 1536)] * 6,
        "01-distill": [(12, 1536)] * 3,
        "02-prune": [(9, 992), (6, 1120), (10, 704)],
    }
    anatomy = [
        {"target": target, "layer": layer, "axis": axis, "units": units, "unit_parameters": size}
        for target, widths in layers.items()
        for layer, (heads, channels) in enumerate(widths)
        for axis, units, size in (("heads", heads, 49_280), ("ffn", channels, 769))
    ]
    dropped = {"score of zero": 37}
    card = {
        "tables": {"reviews": {"rows": 10568, "dropped": dropped, "source": "pip:texts==1!a", "digest": "sha256:9a"}},
        "splits": {
            "train": {"rows": 8447, "dropped": {}, "labels": {"negative": 4205, "positive": 4242}},
            "dev": {"rows": 1071, "dropped": {}, "labels": {"negative": 530, "positive": 541}},
            "test": {"rows": 1050, "dropped": {}, "labels": {"negative": 522, "positive": 528}},
        },
    }
    source = {"source": "pip:some-package==0.1.0!model", "digest": "sha256:77f0", "bytes": 45_467_104}
    source |= {"stored as": "F16"}
    scores = [
        {"layer": layer, "head": head, "score": 0.01 + 0.002 * ((7 * layer + 5 * head) % 12), "kept": head < kept}
        for layer, (kept, _) in enumerate(layers["02-prune"])
        for head in range(12)
    ]
    return {
        "anatomy": anatomy,
        "data": card,
        "source": source,
        "02-prune.head_scores": scores,
        "parts": _parts(),
        "flips": _flips(),
        "flips_count": [
            {"target": target, "baseline": "torch-fp32", "broken": 31, "mended": 23, "changed": 0, "count": 1050}
            for target in PATH[1:]
        ],
        "slices": _slices(),
    }


def _parts() -> list[dict[str, object]]:
    held = {"embedding": 11.7e6, "attention": 2.1e6, "ffn": 1.9e6, "head": 769.0, "other": 148e3}
    return [{"target": t, "part": part, "parameters": count} for t in PATH for part, count in held.items()]


def _flips() -> list[dict[str, object]]:
    texts = ("a film that <b>moves</b> & holds", "dull | and long", "neither here nor there")
    return [
        {
            "target": target,
            "baseline": "torch-fp32",
            "example": 17 * place,
            "text": text,
            "label": "positive",
            "before": "positive",
            "after": "negative",
            "confidence": 0.97 - 0.1 * place,
            "kind": "broken",
        }
        for target in ("02-prune", "result")
        for place, text in enumerate(texts)
    ]


def _slices() -> list[dict[str, object]]:
    found = (("label", "negative", 522, 0.041, 0.004), ("length", "7 to 12 characters", 260, 0.012, 0.4))
    rows: list[dict[str, object]] = [
        {
            "target": target,
            "baseline": "torch-fp32",
            "metric": "accuracy",
            "slice": what,
            "value": value,
            "count": count,
            "before": 0.87,
            "after": 0.87 - lost,
            "drop": lost,
            "low": lost - 0.02,
            "high": lost + 0.02,
            "p_value": p_value,
            "adjusted_p_value": 2 * p_value,
        }
        for target in ("02-prune", "result")
        for what, value, count, lost, p_value in found
    ]
    small = {"slice": "length", "value": "900 characters", "count": 3, "before": 1.0, "after": 0.667, "drop": 0.333}
    unsure = dict.fromkeys(("low", "high", "p_value", "adjusted_p_value"))
    return [*rows, {"target": "result", "baseline": "torch-fp32", "metric": "accuracy"} | small | unsure]


def _lineage() -> list[dict[str, object]]:
    sizes = [("finetune", 22.7e6, 22.7e6), ("distill", 22.7e6, 17.4e6), ("prune", 17.4e6, 15.8e6)]
    sizes += [("export", 15.8e6, 15.8e6), ("quantize", 15.8e6, 15.8e6)]
    return [
        {
            "name": f"{place:02}-{stage}",
            "stage": stage,
            "settings": {"epochs": 2},
            "seed": 13,
            "before": {"parameters": int(before), "bytes": int(before * 4)},
            "after": {"parameters": int(after), "bytes": int(after * (1.02 if stage == "quantize" else 4))},
            "digest_before": f"sha256:{place:x}{0x1F3A:063}",
            "digest_after": f"sha256:{place + 1:x}{0x1F3A:063}",
        }
        for place, (stage, before, after) in enumerate(sizes)
    ]


def _environment() -> dict[str, object]:
    return {
        "python": "3.11.9",
        "os": "Linux 6.1 x86_64",
        "cpu": "A made-up x86-64 CPU",
        "cores": 2,
        "threads": 2,
        "device": "cpu",
        "seconds": 608.0,
        "peak_memory_bytes": 2_485_993_472,
        "packages": {"torch": "2.13.0", "transformers": "5.23.0", "onnxruntime": "1.31.0"},
    }
