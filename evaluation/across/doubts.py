"""Whether a run's figures agree with each other: those of a file that was edited by hand seldom do."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from evaluation.measurement import Comparison, Measurement, Run

Rows = Mapping[tuple[str, str], Measurement]
"""The first measurement of a target by a name."""

_ROUNDING = 1e-6
"""How far two ways to the same figure may differ, relative to it."""


def doubts(run: Run) -> list[str]:
    """What a run.json says that can't be, in sentences; none where nothing contradicts anything."""
    first = {(row.target, row.name): row for row in reversed(run.measurements)}
    return [*_bounds(run), *_names(run), *_drops(run, first), *_sizes(run, first)]


def _bounds(run: Run) -> Iterator[str]:
    """A figure lies within its own interval."""
    rows: list[Measurement | Comparison] = [*run.measurements, *run.comparisons]
    for row in rows:
        low = -math.inf if row.low is None else row.low
        high = math.inf if row.high is None else row.high
        slack = _ROUNDING * max(1.0, abs(row.value))
        if not low - slack <= row.value <= high + slack:
            yield f"{_called(row)} is {row.value:g}, outside of its own interval, {low:g} to {high:g}"


def _names(run: Run) -> Iterator[str]:
    """Whatever was measured is a target of the run."""
    known = {target.name for target in run.targets}
    if not known:
        return  # older files have no list of targets
    named = [row.target for row in run.measurements] + [
        n for row in run.comparisons for n in (row.target, row.baseline)
    ]
    for name in sorted(set(named) - known):
        yield f"there are figures of {name}, which is none of its targets"


def _drops(run: Run, first: Rows) -> Iterator[str]:
    """A quality drop is the difference of the two measurements."""
    for row in run.comparisons:
        metric = str(row.conditions.get("metric"))
        before, after = (first.get((name, metric)) for name in (row.baseline, row.target))
        if row.name != "quality_drop" or before is None or after is None:
            continue
        lost = before.value - after.value if after.higher_is_better else after.value - before.value
        if row.unit == "relative":
            lost = lost / before.value if before.value else math.nan
        if not math.isclose(row.value, lost, rel_tol=_ROUNDING, abs_tol=_ROUNDING):
            yield f"{_called(row)} is {row.value:g}, but {before.value:g} and {after.value:g} were measured"


def _sizes(run: Run, first: Rows) -> Iterator[str]:
    """A compression ratio is that of the two sizes."""
    for row in run.comparisons:
        before, after = (first.get((name, "bytes")) for name in (row.baseline, row.target))
        if row.name != "compression_ratio" or before is None or after is None or not after.value:
            continue
        if not math.isclose(row.value, before.value / after.value, rel_tol=_ROUNDING):
            yield f"{_called(row)} is {row.value:g}, but the sizes are {before.value:g} and {after.value:g} bytes"


def _called(row: Measurement | Comparison) -> str:
    where = f" ({row.conditions['batch']}x{row.conditions['tokens']})" if "tokens" in row.conditions else ""
    metric = f" of {row.conditions['metric']}" if "metric" in row.conditions else ""
    against = f" against {row.baseline}" if isinstance(row, Comparison) else ""
    return f"{row.name}{metric} of {row.target}{against}{where}"
