"""Run the bench of measuring, write run.json and its page; the exit code is 3 where a promise is broken."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.measuring.part import Part, tell
from evaluation.measurement import FILE_NAME, Run, read_run, write_run

PARTS = ("aa", "planted", "alone", "many", "demo", "coverage")
"""Each a module of this package with a function `found(small, seed)` that gives a `Part`."""
ALL = ",".join(PARTS)
PUBLISHED = Path("reports/published/measuring")


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    options = _options(arguments)
    found = {}
    for name in options.only.split(","):
        tell(name)
        found[name] = import_module(f"bench.measuring.{name}").found(small=options.small, seed=options.seed)
    return _write(found, options)


def _write(found: Mapping[str, Part], options: argparse.Namespace) -> int:
    from compress.deploy import visible_cores
    from compress.provenance import code_digest, environment
    from reports.page import write_report

    today = datetime.now(UTC).strftime("%Y-%m-%d")
    machine = {**environment("cpu", visible_cores()), "date": today, "code": code_digest("evaluation.suite")}
    machine["command"] = "make bench-measuring"
    options.output.mkdir(parents=True, exist_ok=True)
    earlier = read_run(options.output) if (options.output / FILE_NAME).exists() and options.only != ALL else None
    recipe = {"seed": options.seed, "parts": options.only, "small": options.small}
    run = as_run(found, machine, recipe, earlier)
    write_run(run, options.output)
    print(f"report: {write_report([run], options.output)}")
    for gate in run.gates:
        value = "none" if gate.value is None else f"{gate.value:g}"
        print(f"{'kept  ' if gate.passed else 'BROKEN'} {gate.name}: {value}, wanted {gate.limit:g}; {gate.detail}")
    return 0 if all(gate.passed for gate in run.gates) else 3


def as_run(found: Mapping[str, Part], machine: dict[str, Any], recipe: dict[str, Any], earlier: Run | None) -> Run:
    """The parts as one run; of what was found earlier, whatever these parts say nothing of stays."""
    gates = [gate for part in found.values() for gate in part.gates]
    measurements = [row for part in found.values() for row in part.measurements]
    tables = {name: rows for part in found.values() for name, rows in part.tables.items()}
    tried = {
        gate.name: {"gate": gate.name, **{key: machine.get(key) for key in ("date", "code", "cpu")}} for gate in gates
    }
    if earlier is not None:
        before = {row["gate"]: row for row in earlier.tables.get("tried when", ())}
        tried = {gate.name: before.get(gate.name, {"gate": gate.name}) for gate in earlier.gates} | tried
        judged, named = {gate.name for gate in gates}, {row.name for row in measurements}
        gates = [gate for gate in earlier.gates if gate.name not in judged] + gates
        measurements = [row for row in earlier.measurements if row.name not in named] + measurements
        tables = {**earlier.tables, **tables}
    tables["tried when"] = list(tried.values())
    return Run(
        name="measuring",
        recipe=recipe,
        environment=machine,
        gates=gates,
        measurements=measurements,
        tables=tables,
    )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.measuring", description=__doc__)
    parser.add_argument(
        "--small", action="store_true", help="a tiny model and few sittings: tries the bench itself out"
    )
    parser.add_argument("--only", default=ALL, help=f"parts, the others stay as they were found before: {ALL}")
    parser.add_argument("--seed", type=int, default=13, help="decides the order of blocks, and every draw")
    parser.add_argument("--output", type=Path, default=None, help=f"the folder to write; {PUBLISHED} where left out")
    options = parser.parse_args(arguments)
    if options.small and options.output is None:
        parser.error("--small: looser promises are not to be published; name another folder with --output")
    options.output = options.output or PUBLISHED
    if unknown := set(options.only.split(",")) - set(PARTS):
        parser.error(f"--only: no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return options


if __name__ == "__main__":  # its worker processes import this file again
    sys.exit(main())
