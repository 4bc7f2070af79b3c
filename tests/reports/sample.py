"""A realistic run, made up, for the tests of reports: three baselines, three stages, a result, everything recorded."""

from __future__ import annotations

from evaluation.measurement import Comparison, Gate, Measurement, Run, Skipped, Target

SHAPES = ((1, 16), (1, 128), (32, 128))
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
        measurements=[m for target in TARGETS for m in _measurements(target, faster, drop)],
        comparisons=[c for target in TARGETS for base in BASELINES for c in _comparisons(target, base, faster, drop)],
        gates=_gates(faster, drop, min_speedup),
        series=_series(),
        tables=_tables(),
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
            count=1050,
            verdict="worse" if lost > 0.0121 else "tie",
            conditions={"metric": "accuracy"},
        ),
        Comparison(**pair, name="agreement", value=0.958, low=0.944, high=0.969, count=1050),
        Comparison(**pair, name="compression_ratio", value=TARGETS[base][6] / TARGETS[target][6]),
    ]
    for shape in SHAPES:
        ratio = _median(base, shape, faster) / _median(target, shape, faster)
        found.append(
            Comparison(
                **pair,
                name="speedup",
                value=ratio,
                low=ratio * 0.97,
                high=ratio * 1.03,
                verdict="better" if ratio > 1.03 else "worse" if ratio < 0.97 else "tie",
                conditions={"batch": shape[0], "tokens": shape[1]},
            )
        )
    return found


def _median(target: str, shape: tuple[int, int], faster: float) -> float:
    return TARGETS[target][8][SHAPES.index(shape)] / (faster if target == "result" else 1.0)


def _gates(faster: float, drop: float, min_speedup: float) -> list[Gate]:
    speedup = 28.7 / 2.93 * faster
    return [
        Gate(name="max_quality_drop", limit=0.03, value=0.008 + drop, passed=drop < 0.022, detail="accuracy on test"),
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
    source = {"source": "pip:some-package==0.1.0!model", "digest": "sha256:77f0"}
    return {"anatomy": anatomy, "data": card, "source": source}


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
