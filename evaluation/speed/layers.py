"""Latency layer by layer: medians of what hooks saw, each with the interval of its rounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from compress.deploy import Shape
from compress.layer_times import LayerTimes
from evaluation.measurement import Measurement
from evaluation.speed.percentiles import percentile_interval

WHOLE, ATTENTION, OTHERS, OUTSIDE = "layer", "attention", "ffn_and_norms", "outside_layers"
"""Parts of a row: a whole layer, the module of its attention, what else it does; and what is no layer's."""


def latency_rows(times: LayerTimes, shape: Shape, *, seed: int) -> list[dict[str, Any]]:
    """Three rows a layer that runs, and one of what is outside the layers. Each has a median of its own: those of a
    layer's parts add up to the layer's only nearly."""
    at = {"batch": shape.batch, "tokens": shape.tokens}
    layers = times.layers[0].shape[1]
    parts = {WHOLE: times.layers, ATTENTION: times.attention, OTHERS: times.others}
    rows = [
        {"layer": layer, "part": part, **at, **_median([block[:, layer] for block in rounds], seed)}
        for layer in range(layers)
        for part, rounds in parts.items()
    ]
    return [*rows, {"layer": None, "part": OUTSIDE, **at, **_median(times.outside, seed)}]


def whole_latency(
    target: str, rounds: Sequence[np.ndarray], *, seed: int, conditions: dict[str, Any]
) -> Iterator[Measurement]:
    """Median and 95th percentile of calls of the whole model, with nothing hooked in."""
    for name, percentile in (("latency_p50_ms", 50.0), ("latency_p95_ms", 95.0)):
        found = percentile_interval(rounds, percentile, seed=seed)
        yield Measurement(
            target=target,
            name=name,
            unit="ms",
            count=sum(map(len, rounds)),
            higher_is_better=False,
            conditions=conditions,
            **vars(found),
        )


def _median(rounds: Sequence[np.ndarray], seed: int) -> dict[str, Any]:
    found = percentile_interval(rounds, 50.0, seed=seed)
    count = sum(map(len, rounds))
    return {"latency_p50_ms": found.value, "low": found.low, "high": found.high, "count": count}
