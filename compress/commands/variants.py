"""One sitting over many variants, as runs: each variant's own beside the baselines, and the whole sweep's."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from compress.runner import Executed
from compress.sweep import Variant
from compress.sweep_local import Ending
from evaluation.measurement import Comparison, Gate, Measurement, Run, Target
from evaluation.sitting import Sitting

VARIANTS = "variants"
"""The folder of the variants' own runs, and the table of them in `run.json`."""

_DETAILS = (
    "flops",
    "activation_bytes",
    "latency_p95_ms",
    "latency_p99_ms",
    "throughput_per_s",
    "noise",
    "peak_memory_bytes",
)
"""Figures that the table of variants leaves out, as it does those on real texts."""

AnyRecord = TypeVar("AnyRecord", Measurement, Comparison)


@dataclass(frozen=True)
class Made:
    """A variant whose stages are all done."""

    variant: Variant
    executed: Executed
    ending: Ending


def alone(sitting: Sitting, name: str) -> Sitting:
    """One variant's part of the sitting: beside the baselines alone, and as `result`."""
    kept = {target.name for target in sitting.targets if target.kind != "variant"} | {name}
    targets = [_as_result(target) if target.name == name else target for target in sitting.targets]
    comparisons = [row for row in sitting.comparisons if row.baseline in kept]
    return replace(
        sitting,
        targets=tuple(target for target in targets if target.kind != "variant"),
        measurements=tuple(_renamed(row, name) for row in sitting.measurements if row.target in kept),
        comparisons=tuple(_renamed(row, name) for row in comparisons if row.target in kept and row.baseline != name),
        tables={table: _rows_of(rows, kept, name) for table, rows in sitting.tables.items()},
    )


def _rows_of(rows: Sequence[Mapping[str, Any]], kept: Container[str], name: str) -> list[dict[str, Any]]:
    """The rows of a table whose target is kept; the variant's as the result's."""
    return [
        {**row, "target": "result" if row["target"] == name else row["target"]} for row in rows if row["target"] in kept
    ]


def _as_result(target: Target) -> Target:
    return target.model_copy(update={"name": "result", "kind": "result"})


def _renamed(row: AnyRecord, name: str) -> AnyRecord:
    return row.model_copy(update={"target": "result"}) if row.target == name else row


def whole(
    made: Sequence[Made], sitting: Sitting, runs: Mapping[str, Run], rows: list[dict[str, Any]], about: dict[str, Any]
) -> Run:
    """The sweep as one run: what its variants share once, and what is theirs under their names."""
    first, *_ = runs.values()
    prepared = len(made[0].executed.prepared)
    lineage = [*first.lineage[:prepared]]
    lineage += [{**step, "variant": name} for name, run in runs.items() for step in run.lineage[prepared:]]
    series, recorded = _recorded(made)
    shared = {name: first.tables[name] for name in ("data", "source")}
    return first.model_copy(
        update={
            "name": made[0].variant.recipe.name,
            "environment": {**first.environment, **_reuse(rows)},
            "lineage": lineage,
            "targets": list(sitting.targets),
            "skipped": list(sitting.skipped),
            "measurements": list(sitting.measurements),
            "comparisons": list(sitting.comparisons),
            "gates": [_gate_of(name, gate) for name, run in runs.items() for gate in run.gates],
            "series": series,
            "tables": {
                **sitting.tables,
                VARIANTS: rows,
                "sweep": about,
                **recorded,
                "anatomy": _anatomies(runs),
                **shared,
            },
        }
    )


def _recorded(made: Sequence[Made]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Curves and tables of every stage; those of an outcome that variants share stand there once."""
    series: dict[str, Any] = {}
    tables: dict[str, Any] = {}
    seen: set[Path] = set()
    for one in made:
        for outcome in one.executed.outcomes:
            if outcome.folder in seen:
                continue
            seen.add(outcome.folder)
            of = "" if outcome in one.executed.prepared else f" ({one.variant.name})"
            for name, value in outcome.curves.items():
                (series if "x" in value else tables)[f"{outcome.name}.{name}{of}"] = value
    return series, tables


def _anatomies(runs: Mapping[str, Run]) -> list[dict[str, Any]]:
    """The reference's units, and those of each variant's result."""
    rows: list[dict[str, Any]] = []
    for name, run in runs.items():
        own = run.tables["anatomy"]
        if not rows:
            rows += [row for row in own if row["target"] == "reference"]
        rows += [{**row, "target": name} for row in own if row["target"] == own[-1]["target"]]
    return rows


def _gate_of(variant: str, gate: Gate) -> Gate:
    """A variant's gate among those of the others; a stage's own gates say whose they are."""
    detail = gate.detail if gate.target == "result" else f"{gate.target}: {gate.detail}"
    return gate.model_copy(update={"target": variant, "detail": detail})


def _reuse(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"stages_reused": sum(row["stages_reused"] for row in rows)}


def row(variant: Variant, made: Sequence[Made], run: Run | None, reasons: Mapping[str, str]) -> dict[str, Any]:
    """What the table of variants says of one: changes, how it ended, reuse, key figures."""
    ending = next((one.ending for one in made if one.variant.name == variant.name), Ending(variant.name))
    broken = [gate.name for gate in run.gates if not gate.passed] if run else []
    row: dict[str, Any] = {
        "variant": variant.name,
        "changes": dict(variant.changes),
        "status": "failed" if run is None else "gate failed" if broken else "done",
        "reason": ", ".join(broken) if run else reasons.get(variant.name, ""),
        "stages": ending.stages,
        "stages_reused": ending.reused,
    }
    for m in run.measurements if run else ():
        if m.target == "result" and m.name not in _DETAILS and "inputs" not in m.conditions:
            shape = f" {m.conditions['batch']}x{m.conditions['tokens']}" if "tokens" in m.conditions else ""
            row[f"{m.name}{shape}"] = m.value
    return row
