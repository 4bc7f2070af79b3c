"""Judge a run by what its recipe promises: measured value, or the worse end of an interval, against a limit."""

from __future__ import annotations

from compress.recipe import Gates
from evaluation.measurement import NOT_FINITE, Comparison, Gate, Run


def margins(gates: Gates) -> dict[str, float]:
    """The quality drop that is allowed, by metric: what "no worse than that" is tested against."""
    quality = gates.max_quality_drop
    return {} if quality is None else {quality.metric: quality.drop}


def judge(gates: Gates, run: Run, *, reference: str) -> list[Gate]:
    """One `Gate` for each promise, and a failed one for each target of the run whose outputs are not all finite.

    A promise whose comparison was not measured is not kept: nothing shows that it was.

    Args:
        reference: the baseline that quality is measured against, the reference as its owner runs it.
    """
    judged = [
        Gate(
            name="finite_outputs",
            target=row.target,
            limit=0,
            value=row.value,
            passed=False,
            detail=f"of {row.count} examples, so many give outputs that are not finite; no other quality is measured",
        )
        for row in run.measurements
        if row.name == NOT_FINITE
    ]
    if (quality := gates.max_quality_drop) is not None:
        row = run.compared("result", reference, "quality_drop", metric=quality.metric)
        scale = ", as a fraction of its value" if row is not None and row.unit == "relative" else ""
        what = f"{quality.metric} against {reference}{scale}"
        judged.append(_judged("max_quality_drop", quality.drop, row, bound=quality.bound, highest=True, what=what))
    if (speed := gates.min_speedup) is not None:
        row = run.compared("result", speed.baseline, "speedup", batch=speed.shape.batch, tokens=speed.shape.tokens)
        what = f"at {speed.shape} against {speed.baseline}"
        judged.append(_judged("min_speedup", speed.ratio, row, bound=speed.bound, highest=False, what=what))
    if (size := gates.min_compression) is not None:
        row = run.compared("result", size.baseline, "compression_ratio")
        judged.append(
            _judged("min_compression", size.ratio, row, bound=None, highest=False, what=f"against {size.baseline}")
        )
    return judged


def _judged(name: str, limit: float, row: Comparison | None, *, bound: float | None, highest: bool, what: str) -> Gate:
    """A gate from its comparison; `highest` says that the limit is the most that is allowed."""
    if row is None:
        return Gate(name=name, limit=limit, value=None, passed=False, detail=f"{what}: not measured here")
    worse_end = row.high if highest else row.low
    value = worse_end if bound is not None and worse_end is not None else row.value
    passed = value <= limit if highest else value >= limit
    basis = "the worse end of the interval" if bound is not None else "the measured value"
    p_value = row.margin_p_value if bound is not None and row.margin == limit else None
    return Gate(name=name, limit=limit, value=value, passed=passed, detail=f"{what}, by {basis}", p_value=p_value)
