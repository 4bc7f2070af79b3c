"""What measuring the demo took: read from its published run, whose sitting it was."""

from __future__ import annotations

from bench.measuring.many import FORM
from bench.measuring.part import TARGET, Part, tell
from evaluation.measurement import Gate, Measurement, read_run

SECONDS = 240.0


def found(**_: object) -> Part:
    """Seconds of measuring alone: no stage, and no export of a baseline."""
    run = read_run(FORM)
    seconds, targets = float(run.environment["seconds_measuring"]), len(run.targets)
    tell(f"measuring the demo: {seconds:.0f} s, {targets} targets")
    row = Measurement(
        target=TARGET,
        name="seconds_measuring",
        value=seconds,
        unit="s",
        count=1,
        higher_is_better=False,
        conditions={"run": run.name, "targets": targets, "date": run.environment.get("date")},
    )
    gate = Gate(
        name="measuring_the_demo",
        limit=SECONDS,
        value=seconds,
        passed=seconds <= SECONDS,
        target=TARGET,
        detail=f"seconds, {targets} targets at {len(run.recipe['deploy']['shapes'])} shapes and on real texts",
    )
    return Part([gate], [row])
