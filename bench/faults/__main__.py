"""Run the fault bench, write run.json and its page; the exit code is 3 where a promise is broken."""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from bench.faults import artifacts, files, kills, plans, processes, recipes, sharing, stock, weights
from bench.faults.cell import Cell, Plant
from bench.faults.graphs import WORDS as GRAPH_WORDS
from bench.faults.record import Found
from bench.faults.sample import ROOT, Sample, make_sample
from bench.faults.tally import Row, tallied

PARTS = ("recipes", "files", "kills", "leaks", "sharing", "plan")
ALL = ",".join(PARTS)


@dataclass(frozen=True)
class Effort:
    """How much is tried."""

    recipes: int = 500
    processes: int = 20
    """Malformed recipes that are planned by a process of their own as well."""
    options: int = 60
    files: int = 500
    kills: int = 50
    sharing: int = 10
    at_once: int = 3
    plans: int = 7
    sweep: bool = True
    """Whether a sweep's folder is looked through for leaks as well."""


SMALL = Effort(recipes=40, processes=1, options=10, files=60, kills=1, sharing=2, at_once=2, plans=2, sweep=False)


def main(arguments: Sequence[str] | None = None, plant: Plant | None = None) -> int:
    """The exit code. `plant` breaks the program where trials run, to see that the bench notices."""
    options = _options(arguments)
    effort = SMALL if options.small else Effort()
    effort = effort if options.kills is None else Effort(**{**vars(effort), "kills": options.kills})
    parts = options.only.split(",")
    found = Found()
    with tempfile.TemporaryDirectory(prefix="faults-") as scratch:
        sample = make_sample(Path(scratch, "sample"), options.seed)
        if "plan" in parts:
            found.plan({"tiny": plans.planned(sample, effort.plans)})
        if "recipes" in parts:
            _recipes(found, sample, effort, options.seed, plant)
        if {"files", "kills", "leaks"} & set(parts):
            undisturbed = kills.undisturbed(sample)
            _tell(f"undisturbed run: {undisturbed.seconds:.1f} s, {undisturbed.writes} changes of files")
            if "files" in parts:
                rows = refused_files(sample, effort.files, options.seed, plant)
                found.refusals(
                    "files", "exit code 2 or a clear skip, no traceback, nothing written", rows, seconds=None
                )
            if "kills" in parts:
                tried = kills.tried(undisturbed, sample, effort.kills, options.seed, _tell, options.workers)
                found.kills(undisturbed, tried)
            if "leaks" in parts:  # last, as it leaves more than a run in the sample
                found.leaks(*artifacts.leaked(sample, swept=effort.sweep))
        if "sharing" in parts:
            apart = make_sample(Path(scratch, "shared"), options.seed)
            found.sharing(sharing.shared(apart, effort.sharing, effort.at_once, _tell), effort.at_once)
    return _write(found, options, effort)


def refused_recipes(sample: Sample, count: int, seed: int, plant: Plant | None = None) -> list[Row]:
    """Rows of malformed recipes: the sample's, and those that the toolkit ships."""
    bases = {sample.recipe.name: sample.recipe.read_text(encoding="utf-8"), **recipes.shipped(ROOT / "recipes")}
    with Cell(sample.home, [("plan", sample.recipe.name)], plant) as cell:
        trials = recipes.mutations(bases, Random(f"{seed} recipes"))
        return tallied(cell, trials, count, recipes.objection, _tell, recipes.is_valid)


def refused_files(sample: Sample, count: int, seed: int, plant: Plant | None = None) -> list[Row]:
    """Rows of malformed files; the sample's recipe must have been run."""
    warm = [("plan", sample.recipe.name), weights.WORDS, GRAPH_WORDS, ("report", sample.run.name), *stock.ALL]
    with Cell(sample.home, warm, plant) as cell:
        trials = files.mutations(sample.home, Random(f"{seed} files"))
        return tallied(cell, trials, count, files.objection, _tell)


def _recipes(found: Found, sample: Sample, effort: Effort, seed: int, plant: Plant | None) -> None:
    what = "exit code 2, a message with line and column, no traceback, nothing written"
    rows = refused_recipes(sample, effort.recipes, seed, plant)
    found.refusals("recipes", f"{what}; in a process that has its imports behind it", rows, seconds=recipes.SECONDS)
    with Cell(sample.home, [("plan", sample.recipe.name)], plant) as cell:
        trials = recipes.options(Random(f"{seed} options"))
        rows = tallied(cell, trials, effort.options, recipes.objection, _tell)
    found.refusals("options", "exit code 2, the place or the option named, no traceback", rows, seconds=recipes.SECONDS)
    rows, start = processes.refused(sample, effort.processes, seed), statistics.median(plans.starts(sample, 3))
    what += f"; with the start of a process and its imports, which take {start:.2f} s by themselves"
    found.refusals("recipes in processes", what, rows, seconds=processes.SECONDS)


def _write(found: Found, options: argparse.Namespace, effort: Effort) -> int:
    from compress.provenance import code_digest, environment
    from evaluation.measurement import FILE_NAME, read_run, write_run
    from reports.page import write_report

    today = datetime.now(UTC).strftime("%Y-%m-%d")
    machine = {**environment("cpu", 1), "date": today, "code": code_digest("compress.commands.run")}
    machine["command"] = "make bench-faults"
    options.output.mkdir(parents=True, exist_ok=True)
    earlier = read_run(options.output) if (options.output / FILE_NAME).exists() and options.only != ALL else None
    run = found.as_run(machine, {"seed": options.seed, "parts": options.only, **vars(effort)}, earlier)
    write_run(run, options.output)
    print(f"report: {write_report([run], options.output)}")
    for gate in run.gates:
        print(
            f"{'kept  ' if gate.passed else 'BROKEN'} {gate.name}: {gate.value:g}, wanted {gate.limit:g}; {gate.detail}"
        )
    return 0 if all(gate.passed for gate in run.gates) else 3


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.faults", description=__doc__)
    parser.add_argument("--small", action="store_true", help="a few of each")
    parser.add_argument("--only", default=ALL, help=f"parts, the others stay as they were found before: {ALL}")
    parser.add_argument("--kills", type=int, help="how many runs are killed")
    parser.add_argument("--workers", type=int, default=2, help="how many killed runs go on at a time")
    parser.add_argument("--seed", type=int, default=13, help="decides every mutation and moment")
    parser.add_argument("--output", type=Path, default=Path("reports/published/faults"), help="the folder to write")
    options = parser.parse_args(arguments)
    if unknown := set(options.only.split(",")) - set(PARTS):
        parser.error(f"--only: no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return options


def _tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
