"""What a run writes down besides its figures: how its models came about, on what machine, from what data."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

from compress.provenance import environment
from compress.recipe import Recipe
from compress.runner import Executed
from evaluation.measurement import Gate, Run
from evaluation.sitting import Sitting


def assembled(recipe: Recipe, executed: Executed, sitting: Sitting, *, key: str, device: str, seconds: float) -> Run:
    """The run without its gates' verdicts on the figures."""
    series = {f"{o.name}.{name}": value for o in executed.outcomes for name, value in o.curves.items() if "x" in value}
    tables = {
        f"{o.name}.{name}": value for o in executed.outcomes for name, value in o.curves.items() if "x" not in value
    }
    tables["anatomy"] = _anatomy_rows(executed)
    tables["data"] = executed.splits.card
    tables["source"] = {"source": executed.source.source, "digest": executed.source.digest}
    machine = environment(device, recipe.deploy.thread_count)
    machine["date"] = datetime.now(UTC).strftime("%Y-%m-%d")
    machine["seconds"] = round(seconds, 1)
    machine["peak_memory_bytes"] = _peak_memory_bytes()
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


def _peak_memory_bytes() -> int:
    """The most that this process ever held in memory, since it began."""
    import psutil

    if sys.platform == "win32":
        peak: int = psutil.Process().memory_info().peak_wset
        return peak
    if sys.platform == "linux":
        # The kernel's own mark of this program: what getrusage says is never less than what its parent held.
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")))
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
