"""What a run writes down besides its figures: how its models came about, on what machine, from what data."""

from __future__ import annotations

from datetime import UTC, datetime

from compress.license import stated_license
from compress.provenance import environment
from compress.recipe import Recipe
from compress.runner import Executed
from compress.weights import stored_weights
from evaluation.measurement import Gate, Run
from evaluation.sitting import Sitting
from evaluation.speed.energy import energy_note
from evaluation.speed.peak import host_bytes


def assembled(recipe: Recipe, executed: Executed, sitting: Sitting, *, key: str, device: str, seconds: float) -> Run:
    """The run without its gates' verdicts on the figures."""
    series = {f"{o.name}.{name}": value for o in executed.outcomes for name, value in o.curves.items() if "x" in value}
    tables = {
        f"{o.name}.{name}": value for o in executed.outcomes for name, value in o.curves.items() if "x" not in value
    }
    tables |= sitting.tables
    tables["anatomy"] = _anatomy_rows(executed)
    tables["data"] = executed.splits.card
    size_bytes, stored_as = stored_weights(executed.source.path)
    tables["source"] = {"source": executed.source.source, "digest": executed.source.digest}
    tables["source"] |= {"bytes": size_bytes, "stored as": stored_as} | stated_license(executed.source.path)
    machine = environment(device, recipe.deploy.thread_count)
    machine["date"] = datetime.now(UTC).strftime("%Y-%m-%d")
    machine["seconds"] = round(seconds, 1)
    machine["seconds_measuring"] = round(sitting.seconds, 1)
    machine["peak_memory_bytes"] = host_bytes()
    machine["energy"] = energy_note(device)
    machine["stages_reused"] = sum(outcome.reused for outcome in executed.outcomes)
    return Run(
        name=recipe.name,
        key=key,
        recipe=recipe.told(),
        environment=machine,
        lineage=[vars(outcome.step) for outcome in executed.outcomes],
        targets=list(sitting.targets),
        skipped=list(sitting.skipped),
        measurements=list(sitting.measurements),
        comparisons=list(sitting.comparisons),
        series=series,
        tables=tables,
    )


def stage_gates(executed: Executed) -> list[Gate]:
    """What the stages themselves found out about their outcomes."""
    return [Gate(target=outcome.name, **gate) for outcome in executed.outcomes for gate in outcome.gates]


def _anatomy_rows(executed: Executed) -> list[dict[str, object]]:
    """Units of every layer and axis, in the reference and after each stage that changed them."""
    rows: list[dict[str, object]] = []
    last = None
    for name, bundle in (("reference", executed.reference), *((o.name, o.bundle) for o in executed.stages)):
        if bundle.anatomy == last:
            continue
        last = bundle.anatomy
        rows += [
            {
                "target": name,
                "layer": group.layer,
                "axis": group.axis,
                "units": group.units,
                "unit_parameters": group.unit_parameters,
            }
            for group in bundle.anatomy.groups
        ]
    return rows
