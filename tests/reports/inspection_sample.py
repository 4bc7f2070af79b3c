"""What `compress inspect` may find of a made-up model of two layers and three heads: all there is, in round numbers."""

from __future__ import annotations

from typing import Any

from evaluation.measurement import Measurement, Run, Skipped, Target

ROLES = ("previous", "next", "first", "separator", "same", "rare")
SHAPES = ((1, 8), (2, 16))


def inspected(**tables: Any) -> Run:
    """The run; `tables` replace its own, and one that is None is left out."""
    whole = {"target": "thing", "higher_is_better": False}
    at = {"batch": 1, "tokens": 8, "threads": 1}
    measurements = [
        Measurement(**whole, name="parameters", value=7_000_000, unit="parameters"),
        Measurement(**whole, name="latency_p50_ms", value=4.2, unit="ms", low=4.0, high=4.5, count=80, conditions=at),
        Measurement(
            target="thing",
            name="accuracy",
            value=0.9,
            unit="ratio",
            low=0.87,
            high=0.92,
            count=600,
            higher_is_better=True,
        ),
    ]
    found = {**_tables(), **tables}
    return Run(
        name="inspect",
        environment={"cpu": "some processor", "threads": 1, "device": "cpu", "command": "compress inspect thing"},
        targets=[Target(name="thing", kind="baseline", title="thing", runtime="torch-fp32", form="torch")],
        skipped=[Skipped(target="something", reason="it can not be had here")],
        measurements=measurements,
        tables={name: table for name, table in found.items() if table is not None},
    )


def _tables() -> dict[str, Any]:
    places = [(layer, head) for layer in (0, 1) for head in (0, 1, 2)]
    parameters: list[dict[str, Any]] = []
    for layer in (0, 1):
        parameters += [
            {"layer": layer, "part": "attention", "parameters": 900_000, "axis": "heads", "units": 3, "heads": 3},
            {"layer": layer, "part": "ffn", "parameters": 2_000_000, "axis": "ffn", "units": 128},
            {"layer": layer, "part": "norms_and_biases", "parameters": 100_000},
        ]
    outside = {"embeddings": 900_000, "encoder_rest": 0, "head": 100_000}
    parameters += [{"layer": None, "part": part, "parameters": count} for part, count in outside.items()]
    return {
        "parameters": parameters,
        "flops": [row for shape in SHAPES for row in _flops(*shape)],
        "latency": [row for shape in SHAPES for row in _latency(*shape)],
        "head_scores": [
            {"layer": layer, "head": head, "score": 0.1 * place, "rank": 6 - place}
            for place, (layer, head) in enumerate(places)
        ],
        "head_roles": [
            {"layer": layer, "head": head, **dict.fromkeys(ROLES, 0.125 * place), "entropy_nats": 2.0 - 0.25 * place}
            for place, (layer, head) in enumerate(places)
        ],
        "head_counts": [_head_count(heads) for heads in (6, 4, 2)],
        "conditions": _conditions(),
    }


def _flops(batch: int, tokens: int) -> list[dict[str, Any]]:
    at = {"batch": batch, "tokens": tokens}
    rows = [
        {"layer": layer, "part": part, **at, "flops": 1_000_000 * batch * tokens}
        for layer in (0, 1)
        for part in ("attention", "ffn")
    ]
    return [*rows, {"layer": None, "part": "outside_layers", **at, "flops": 5_000 * batch}]


def _latency(batch: int, tokens: int) -> list[dict[str, Any]]:
    at = {"batch": batch, "tokens": tokens}
    parts = {"layer": 2.0, "attention": 0.75, "ffn_and_norms": 1.25}
    rows = [
        {"layer": layer, "part": part, **at, **_spread(ms * batch)} for layer in (0, 1) for part, ms in parts.items()
    ]
    return [*rows, {"layer": None, "part": "outside_layers", **at, **_spread(0.25)}]


def _spread(ms: float) -> dict[str, Any]:
    return {"latency_p50_ms": ms, "low": 0.9 * ms, "high": 1.1 * ms, "count": 80}


def _head_count(heads: int) -> dict[str, Any]:
    value = 0.8 + 0.01 * heads
    return {
        "heads": heads,
        "ffn_channels": 256 - 16 * heads,
        "parameters": 5_000_000,
        "encoder_parameters": 4_000_000,
        "encoder_parameters_fraction": 0.7,
        "units": {},
        "metric": "accuracy",
        "value": value,
        "low": value - 0.02,
        "high": value + 0.02,
        "unit": "ratio",
        "count": 600,
        "higher_is_better": True,
        "quality_drop": 0.9 - value,
        "quality_drop_low": 0.88 - value,
        "quality_drop_high": 0.92 - value,
        "quality_drop_unit": "ratio",
        "p_value": 0.01,
    }


def _conditions() -> dict[str, dict[str, Any]]:
    return {
        "flops": {"counted": "anatomy"},
        "latency": {
            "runtime": "torch-fp32",
            "device": "cpu",
            "threads": 1,
            "tokens_are": "random",
            "how": "medians of calls",
            "attention": "its module",
            "ffn_and_norms": "the rest of the layer",
            "outside_layers": "the rest of the call",
            "excluded": "tokenization",
        },
        "head_scores": {"criterion": "taylor", "examples": 256, "rank_correlation_of_halves": 0.9},
        "head_roles": {
            "texts": 256,
            "tokens": 6372,
            "uniform_attention_would_have": {**dict.fromkeys(ROLES, 0.04), "entropy_nats": 3.2},
            "rarity_counted_in_texts": 872,
            "texts_left_out_as_too_long": 0,
            "longest_tokens": 512,
        },
        "head_counts": {
            "encoder_parameters_target": 0.7,
            "criterion": "taylor",
            "scored_and_repaired_on_examples": 256,
            "judged_on_examples": 600,
        },
    }
