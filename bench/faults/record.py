"""What the bench found, as a `Run`: a gate a promise, a table a kind of fault, a figure with its count."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.faults.kills import Killed, Undisturbed
from bench.faults.plans import Planned
from bench.faults.sharing import Shared
from bench.faults.tally import Row
from evaluation.measurement import Gate, Measurement, Run

PLAN_SECONDS = 3.0
TARGET = "compress"


@dataclass
class Found:
    """Figures, gates and tables, as they come in."""

    gates: list[Gate] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)
    tables: dict[str, Any] = field(default_factory=dict)

    def refusals(self, name: str, what: str, rows: Sequence[Row], *, seconds: float | None) -> None:
        """Malformed input: all of it refused as wanted, each refusal within `seconds`."""
        tried, refused = sum(row.tried for row in rows), sum(row.refused for row in rows)
        times = [each for row in rows for each in row.seconds]
        conditions = {"kinds": len(rows), "still_valid": sum(row.valid for row in rows)}
        bad = next((f"{row.kind}: {row.objections[0]}" for row in rows if row.objections), "none")
        within = f"; each within {seconds:g} s" if seconds else ""
        found = f"; median {statistics.median(times):.3f} s, largest {max(times):.3f} s" if times else ""
        detail = f"{what}{within}{found}; first objection: {bad}"
        self._gate(f"malformed_{name}", tried, refused, refused == tried, detail)
        self._measure(f"malformed_{name}_refused", refused, "count", tried, True, conditions)
        self._times(f"refusal_of_{name}", times)
        self.tables[f"malformed {name}"] = [row.as_table_row() for row in rows]

    def kills(self, wanted: Undisturbed, killed: Sequence[Killed]) -> None:
        """Killed runs: all of them end with the very bytes of an undisturbed one."""
        same = sum(not one.fault and one.landed > 0 for one in killed)
        landed = sum(one.landed for one in killed)
        first = next((f"{', '.join(one.moments)}: {one.fault}" for one in killed if one.fault), "none")
        files = f"{len(wanted.digests)} weight and ONNX files each"
        in_training, in_write = sum(one.in_training for one in killed), sum(one.in_write for one in killed)
        detail = (
            f"killed with signal 9, resumed to the end; {landed} kills met a running process, {in_training} of them a "
            f"training with a checkpoint, {in_write} of them one that wrote a file; {files}; faults: {first}"
        )
        self._gate("killed_and_resumed", len(killed), same, same == len(killed), detail)
        conditions: dict[str, float] = {"kills": landed, "in_training": in_training, "in_write": in_write}
        conditions |= {"undisturbed_seconds": round(wanted.seconds, 2), "changes": wanted.writes}
        self._measure("killed_runs_byte_identical", same, "count", len(killed), True, conditions)
        self.tables["killed runs"] = [
            {
                "number": number,
                "moments": ", ".join(one.moments),
                "kills": one.landed,
                "in_training": one.in_training,
                "in_write": one.in_write,
                "finishing_seconds": round(one.seconds, 2),
                "fault": one.fault,
            }
            for number, one in enumerate(killed, start=1)
        ]

    def leaks(self, folders: Sequence[str], found: Sequence[str]) -> None:
        """What is given away tells nothing of the machine or of its user."""
        detail = f"looked through: {', '.join(folders)}; found: {'; '.join(found[:5]) or 'nothing'}"
        self._gate("leaks", 0, len(found), not found, detail)
        self._measure("leaks", len(found), "count", len(folders), False, {})

    def sharing(self, shared: Shared, at_once: int) -> None:
        """Recipes with one teacher and one store: one of them trains it."""
        fine = shared.trained == 1 and shared.reused == shared.recipes - 1 and not shared.failed
        detail = f"{shared.recipes} recipes, {at_once} at a time; {shared.reused} found it done; "
        detail += f"failed: {'; '.join(shared.failed) or 'none'}"
        self._gate("teacher_trained", 1, shared.trained, fine, detail)
        self._measure("teachers_trained", shared.trained, "count", shared.recipes, False, {"at_once": at_once})

    def plan(self, plans: Mapping[str, Planned]) -> None:
        """`compress plan`: quick, and it leaves no trace."""
        slowest = max(plan.median for plan in plans.values())
        fine = all(set(plan.codes) == {0} and not plan.changed for plan in plans.values())
        changed = [name for name, plan in plans.items() if plan.changed]
        detail = f"median of whole processes, {', '.join(plans)}; wrote: {', '.join(changed) or 'nothing'}"
        self._gate("plan_seconds", PLAN_SECONDS, round(slowest, 3), fine and slowest < PLAN_SECONDS, detail)
        for name, plan in plans.items():
            for kind, seconds in (("plan", plan.seconds), ("import", plan.start_seconds)):
                self._measure(
                    f"{kind}_seconds",
                    statistics.median(seconds),
                    "s",
                    len(seconds),
                    False,
                    {"model": name},
                    low=min(seconds),
                    high=max(seconds),
                )

    def as_run(self, environment: Mapping[str, Any], recipe: Mapping[str, Any], earlier: Run | None) -> Run:
        """The run; what was not tried this time stands as an earlier one found it. Each gate says of which code it is.

        Args:
            earlier: the run that is to be replaced, where there is one.
        """
        about = {"date": environment["date"], "code": environment["code"]}
        ages = {gate.name: {"gate": gate.name, **about} for gate in self.gates}
        gates, measurements, tables = list(self.gates), list(self.measurements), dict(self.tables)
        if earlier is not None:
            kept = [gate for gate in earlier.gates if gate.name not in ages]
            before = {row["gate"]: row for row in earlier.tables.get("tried when", ())}
            ages |= {gate.name: before.get(gate.name, {"gate": gate.name}) for gate in kept}
            named = {measurement.name for measurement in measurements}
            gates += kept
            measurements += [row for row in earlier.measurements if row.name not in named]
            tables = {**earlier.tables, **tables}
        tables["tried when"] = list(ages.values())
        return Run(
            name="faults",
            recipe=dict(recipe),
            environment=dict(environment),
            measurements=measurements,
            gates=gates,
            tables=tables,
        )

    def _times(self, name: str, seconds: Sequence[float]) -> None:
        if seconds:
            self._measure(f"{name}_seconds", statistics.median(seconds), "s", len(seconds), False, {"of": "median"})
            self._measure(f"{name}_seconds", max(seconds), "s", len(seconds), False, {"of": "largest"})

    def _gate(self, name: str, limit: float, value: float, passed: bool, detail: str) -> None:
        self.gates.append(Gate(name=name, limit=limit, value=value, passed=passed, target=TARGET, detail=detail))

    def _measure(
        self,
        name: str,
        value: float,
        unit: str,
        count: int,
        higher_is_better: bool,
        conditions: Mapping[str, Any],
        *,
        low: float | None = None,
        high: float | None = None,
    ) -> None:
        self.measurements.append(
            Measurement(
                target=TARGET,
                name=name,
                value=value,
                unit=unit,
                low=low,
                high=high,
                count=count,
                higher_is_better=higher_is_better,
                conditions=dict(conditions),
            )
        )
