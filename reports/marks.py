"""Records as marks of a chart: the value, its interval, and in words what a reader is told who points at it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from evaluation.measurement import Comparison, Measurement
from reports.number import Reading, drop_scale, read_comparison, read_measurement

if TYPE_CHECKING:
    from reports.charts.mark import Mark

_NOT_TOLD = ("data", "seed")  # digests and seeds stand in the table of all measurements


def mark_of(measurement: Measurement) -> Mark:
    """A measurement in its own unit."""
    return _mark(measurement, read_measurement(measurement))


def mark_of_comparison(comparison: Comparison, *, unit: str = "ratio") -> Mark:
    """A comparison as it is written: a quality drop in points or per cent. `unit` is as `read_comparison` has it."""
    mark = _mark(comparison, read_comparison(comparison, unit=unit))
    factor = drop_scale(comparison.unit or unit)[0] if comparison.name == "quality_drop" else 1.0
    return mark.scaled(1 / factor)


def conditions_of(conditions: Mapping[str, Any]) -> str:
    """Conditions in one line.

    >>> conditions_of({"batch": 1, "data": "sha256:77", "threads": 2})
    'batch 1, threads 2'
    """
    return ", ".join(f"{name} {value}" for name, value in conditions.items() if name not in _NOT_TOLD)


def _mark(record: Measurement | Comparison, reading: Reading) -> Mark:
    from reports.charts.mark import Mark

    conditions = conditions_of(record.conditions)
    words = (reading.figure, reading.interval, reading.count, conditions, reading.counted)
    return Mark(record.value, record.low, record.high, *words)
