"""Size: parameters, bytes, FLOPs and activation memory, which are counted, not sampled."""

from __future__ import annotations

from typing import Any

from evaluation.measurement import Comparison, Measurement
from evaluation.sitting import Conditions, Opened
from evaluation.size.flops import work_of
from evaluation.statistics.significance import verdict

_RUN_OTHERWISE = ("torch-compile", "torch-bf16", "torch-fp16", "torch-dynamic-int8")
"""Runtimes that make another program of a torch model than the one whose tensors are counted."""


def size_rows(one: Opened, conditions: Conditions) -> list[Measurement]:
    """Parameters and bytes of a target, and what a forward pass takes at every shape."""
    anatomy = one.subject.bundle.anatomy

    def counted(name: str, value: float, unit: str, **where: Any) -> Measurement:
        return Measurement(target=one.name, name=name, value=value, unit=unit, higher_is_better=False, conditions=where)

    rows = [
        counted("parameters", anatomy.parameters, "parameters"),
        counted("encoder_parameters", anatomy.encoder_parameters, "parameters"),
        counted("embedding_parameters", anatomy.rest_of("embeddings"), "parameters"),
        counted("bytes", one.weight_bytes, "bytes"),
    ]
    for shape in conditions.deploy.shapes:
        work, where = work_of(one.subject.bundle, shape), {"batch": shape.batch, "tokens": shape.tokens}
        rows.append(counted("flops", work.flops, "FLOPs", **where, counted=work.counted))
        if work.activation_bytes is not None and one.subject.target.runtime not in _RUN_OTHERWISE:
            rows.append(counted("activation_bytes", work.activation_bytes, "bytes", **where))
    return rows


def size_comparison(one: Opened, baseline: Opened) -> Comparison:
    """The compression ratio."""
    ratio = baseline.weight_bytes / one.weight_bytes
    return Comparison(
        target=one.name,
        baseline=baseline.name,
        name="compression_ratio",
        value=ratio,
        unit="ratio",
        verdict=verdict(ratio, ratio, no_difference=1.0, higher_is_better=True),
    )
