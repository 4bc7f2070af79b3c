"""The Pareto front of a run: which targets no other one beats in quality and cost at once, and what differs by chance.

A target is on the front when no other is at least as good in both and better in one. That is said of the measured
values; whether two neighbours truly differ is said by the paired interval between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from evaluation.measurement import Comparison, Measurement, Run, Target, Verdict
from reports import cast
from reports.table import Cell, Table, marked, measured, title_of

_TURNED: dict[Verdict | None, Verdict | None] = {"better": "worse", "worse": "better", "tie": "tie", None: None}


@dataclass(frozen=True)
class Cost:
    """Something that is paid for quality: a median latency at a shape, the size, or memory. Less is better.

    `comparison` is empty where targets are not compared in it.
    """

    title: str
    measurement: str
    comparison: str = ""
    conditions: dict[str, Any] = field(default_factory=dict)

    @property
    def scale(self) -> tuple[float, str]:
        """What its figures are divided by in a chart, and the unit that they are in then."""
        return (1e6, "MB") if self.measurement.endswith("bytes") else (1.0, "ms")


@dataclass(frozen=True)
class Place:
    """A target between quality and cost. `rival` is who it has to be compared with; None where there is nobody.

    On the front the rival is the next cheaper target there; behind it, the best of those that beat the target.
    """

    target: Target
    quality: Measurement
    cost: Measurement
    on_front: bool
    rival: Target | None


def costs_of(run: Run) -> list[Cost]:
    """The latency at each shape, then the size, then the peak memory at the headline's shape where it was measured."""
    times = [_latency(shape) for shape in cast.shapes_of(run)]
    return [*times, Cost("size", "bytes", "compression_ratio"), *_memory(run)]


def main_costs_of(run: Run) -> list[Cost]:
    """The latency at the headline's shape, the size, and the peak memory at that shape where it was measured."""
    shape = cast.headline_shape(run)
    return [*([_latency(shape)] if shape else []), Cost("size", "bytes", "compression_ratio"), *_memory(run)]


def front_table(run: Run, metric: str) -> Table | None:
    """Every target with its quality and main costs, and the costs on whose front it is."""
    costs = main_costs_of(run)
    found = {cost.title: places(run, metric, cost) for cost in costs}
    targets = [target for target in run.all_targets if run.measured(target.name, metric)]
    rows: list[list[Cell]] = []
    for target in targets:
        fronts = [cost.title for cost in costs if any(p.target == target and p.on_front for p in found[cost.title])]
        figures = [measured(run, target.name, cost.measurement, **cost.conditions) for cost in costs]
        rows.append([title_of(target), measured(run, target.name, metric), *figures, ", ".join(fronts) or "of none"])
    columns = ["target", metric, *(cost.title for cost in costs), "on the Pareto front"]
    caption = f"{metric} against latency, size and memory; on the front is what no other target beats in both"
    return marked(caption, columns, rows, targets) if rows and any(found.values()) else None


def places(run: Run, metric: str, cost: Cost) -> list[Place]:
    """Every target that has both figures, the cheapest first."""
    found = [
        (target, quality, paid)
        for target in run.all_targets
        if (quality := run.measured(target.name, metric))
        and (paid := run.measured(target.name, cost.measurement, **cost.conditions))
    ]
    found.sort(key=lambda each: each[2].value)
    points = [(_gain(quality), -paid.value) for _, quality, paid in found]
    front = non_dominated(points)
    listed = []
    for index, (target, quality, paid) in enumerate(found):
        if index in front:
            cheaper = [other for other in front if other < index]
            rival = cheaper[-1] if cheaper else None
        else:
            rival = max((other for other in front if _beats(points[other], points[index])), key=lambda o: points[o])
        listed.append(Place(target, quality, paid, index in front, None if rival is None else found[rival][0]))
    return listed


def non_dominated(points: Sequence[tuple[float, float]]) -> list[int]:
    """The indices of points that no other point beats; in both coordinates more is better. Equal points stay together.

    >>> non_dominated([(1, 1), (2, 0), (0, 0), (1, 1)])
    [0, 1, 3]
    """
    return [index for index, point in enumerate(points) if not any(_beats(other, point) for other in points)]


def between(run: Run, target: str, baseline: str, name: str, **conditions: Any) -> Comparison | None:
    """The comparison of two targets, whichever of them it was recorded for."""
    straight = run.compared(target, baseline, name, **conditions)
    if straight is not None:
        return straight
    recorded = run.compared(baseline, target, name, **conditions)
    return turned(recorded) if recorded is not None else None


def turned(comparison: Comparison) -> Comparison:
    """The same comparison, seen from its baseline.

    Differences change their sign, ratios are inverted; a drop that is relative, (b - a) / a, as a perplexity's, becomes
    (a - b) / b. All of these turn an interval's ends around.
    """
    assert comparison.name != "logit_error", "its unit is the spread of the one that it was recorded against"
    relative = comparison.unit == "relative"

    def seen(value: float | None) -> float | None:
        if value is None:
            return None
        if comparison.name == "quality_drop":
            return 1 / (1 + value) - 1 if relative else -value
        return value if comparison.name == "agreement" else 1 / value if value else None

    low, high = seen(comparison.high), seen(comparison.low)
    if comparison.name == "agreement":
        low, high = comparison.low, comparison.high
    changes = {"target": comparison.baseline, "baseline": comparison.target, "verdict": _TURNED[comparison.verdict]}
    return comparison.model_copy(update={**changes, "value": seen(comparison.value) or 0.0, "low": low, "high": high})


def _latency(shape: cast.Shape) -> Cost:
    return Cost(f"p50 at {shape}", "latency_p50_ms", "speedup", dict(shape.conditions))


def _memory(run: Run) -> list[Cost]:
    shape = cast.headline_shape(run)
    at = {**shape.conditions, "of": "host"} if shape else {}
    known = shape is not None and any(run.measured(t.name, "peak_memory_bytes", **at) for t in run.all_targets)
    return [Cost(f"peak memory at {shape}", "peak_memory_bytes", conditions=at)] if known else []


def _gain(quality: Measurement) -> float:
    return quality.value if quality.higher_is_better else -quality.value


def _beats(first: tuple[float, float], second: tuple[float, float]) -> bool:
    return first != second and first[0] >= second[0] and first[1] >= second[1]
