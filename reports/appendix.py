"""Every record of a run as a row with its conditions: what figures elsewhere on the page lead to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from evaluation.measurement import Comparison, Measurement, Run
from reports import cast
from reports.anchor import anchor_of
from reports.number import Reading, read_comparison, read_measurement, read_p_value
from reports.outline import Block, Fold, Grid, Paragraph
from reports.table import Cell, Table, table_of

_DIGITS_OF_DIGEST = 12


def record_blocks(run: Run) -> Iterator[Block]:
    """All measurements and all comparisons, folded; conditions that all of them share are told once, above."""
    if not run.measurements and not run.comparisons:
        return
    shared = _shared([*run.measurements, *run.comparisons])
    if shared:
        yield Paragraph(f"Wherever it plays a part: {_told(shared)}.", "note")
    if run.measurements:
        title = f"{len(run.measurements)} figures; in full precision they are in summary.csv"
        yield Fold(title, (Grid(_measurements(run.measurements, shared)),))
    if run.comparisons:
        yield Fold(f"{len(run.comparisons)} comparisons", (Grid(_comparisons(run, shared)),))


def _measurements(measurements: Sequence[Measurement], shared: dict[str, Any]) -> Table:
    rows: list[list[Cell]] = []
    for m in measurements:
        reading = read_measurement(m)
        count = "" if m.count is None else Reading(f"{m.count:,}")
        rows.append([m.target, m.name, _rest(m, shared), Reading(reading.figure), reading.interval, count, m.unit])
    columns = ["target", "name", "conditions", "value", "95 % interval", "count", "unit"]
    return table_of("All measurements", columns, rows, anchors=_anchors(measurements))


def _comparisons(run: Run, shared: dict[str, Any]) -> Table:
    rows: list[list[Cell]] = []
    for c in run.comparisons:
        reading = read_comparison(c, unit=cast.loss_unit(run, str(c.conditions.get("metric", ""))))
        row: list[Cell] = [c.target, c.baseline, c.name, _rest(c, shared), Reading(reading.figure), reading.interval]
        row += ["" if c.count is None else Reading(f"{c.count:,}"), read_p_value(c.p_value)]
        row += [read_p_value(c.adjusted_p_value), "" if c.noise is None else Reading(f"{100 * c.noise:.2g} %")]
        rows.append([*row, c.verdict or ""])
    columns = ["target", "baseline", "name", "conditions", "value", "95 % interval", "count", "p-value"]
    columns += ["adjusted p-value", "noise", "verdict"]
    return table_of("All comparisons", columns, rows, anchors=_anchors(run.comparisons))


def _anchors(records: Sequence[Measurement | Comparison]) -> list[str]:
    """A name for each row; the first of records that are of the same has it, as it is the one that is shown."""
    seen: set[str] = set()
    names = []
    for record in records:
        name = anchor_of(record)
        names.append("" if name in seen else name)
        seen.add(name)
    return names


def _shared(records: Sequence[Measurement | Comparison]) -> dict[str, Any]:
    """Conditions that have one value in every record that states them, and are stated by several."""
    values: dict[str, list[Any]] = {}
    for record in records:
        for name, value in record.conditions.items():
            values.setdefault(name, []).append(value)
    return {name: found[0] for name, found in values.items() if len(found) > 1 and all(v == found[0] for v in found)}


def _rest(record: Measurement | Comparison, shared: dict[str, Any]) -> str:
    return _told({name: value for name, value in record.conditions.items() if name not in shared})


def _told(conditions: dict[str, Any]) -> str:
    return ", ".join(f"{name} {_short(value)}" for name, value in conditions.items())


def _short(value: Any) -> str:
    text = str(value)
    digest = text.removeprefix("sha256:")
    return text if digest == text else digest[:_DIGITS_OF_DIGEST]
