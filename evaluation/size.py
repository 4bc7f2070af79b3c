"""Size: parameters, bytes and FLOPs, which are counted, not sampled."""

from __future__ import annotations

from typing import Any

from evaluation import statistics
from evaluation.measurement import Comparison, Measurement
from evaluation.sitting import Conditions, Opened


def size_rows(one: Opened, conditions: Conditions) -> list[Measurement]:
    anatomy = one.subject.bundle.anatomy

    def counted(name: str, value: float, unit: str, **where: Any) -> Measurement:
        return Measurement(target=one.name, name=name, value=value, unit=unit, higher_is_better=False, conditions=where)

    return [
        counted("parameters", anatomy.parameters, "parameters"),
        counted("encoder_parameters", anatomy.encoder_parameters, "parameters"),
        counted("bytes", one.session.weight_bytes, "bytes"),
        *(
            counted("flops", anatomy.flops(s.batch, s.tokens), "FLOPs", batch=s.batch, tokens=s.tokens)
            for s in conditions.deploy.shapes
        ),
    ]


def size_comparison(one: Opened, baseline: Opened) -> Comparison:
    """The compression ratio."""
    ratio = baseline.session.weight_bytes / one.session.weight_bytes
    return Comparison(
        target=one.name,
        baseline=baseline.name,
        name="compression_ratio",
        value=ratio,
        unit="ratio",
        verdict=statistics.verdict(ratio, ratio, no_difference=1.0, higher_is_better=True),
    )
