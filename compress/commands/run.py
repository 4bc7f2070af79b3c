"""`compress run`: a recipe from its sources to a run folder with model, figures and report."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import recipes
from compress.commands.device import resolved_device
from compress.commands.keep import check_output, measuring_code, write_recipe, write_result
from compress.commands.record import assembled, stage_gates
from compress.commands.subjects import REFERENCE, baseline_subjects, conditions_of, step_subjects
from compress.errors import DataError
from compress.lineage import digest_of
from compress.progress import Tell, shown
from compress.provenance import environment, versions
from compress.recipe import Recipe, read_recipe
from compress.release import clear_drafts
from compress.runner import Executed, Runner
from compress.sources import Lock, Sources
from compress.store.inventory import limit_bytes, sweep
from compress.store.locks import held
from compress.store.refusals import writing
from compress.store.store import Store, cache_root
from evaluation.gates import judge, margins
from evaluation.measurement import FILE_NAME, Run, read_run, write_run
from evaluation.quality.predictions import FOLDER, write_predictions
from evaluation.suite import measure
from reports.page import write_report
from reports.table import results_table

SCRATCH = ".scratch"
"""Where a run keeps the baselines' graphs while it measures. The next run in the folder clears what is left of it."""


@dataclass(frozen=True)
class Done:
    """What a recipe left."""

    folder: Path
    run: Run
    page: Path | None
    """The report, where the recipe wants one."""


def run(recipe_name: str, output: Path | None, changes: Sequence[str], device: str | None, fresh: bool) -> Done:
    """Run a recipe; gates are judged and noted, and a failed one is for the caller to act on.

    Raises:
        CompressError: a fault of recipe, source, data, model or machine.
    """
    file = recipes.find(recipe_name)
    recipe = read_recipe(file, changes)
    folder = output or Path("runs") / recipe.name
    chosen = resolved_device(device or recipe.deploy.device)
    check_output(folder, "the run")
    limit_bytes()  # a limit that is none is said before any work
    with writing(folder, "the run folder"):
        folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        stack.enter_context(held(folder / ".lock", f"the run folder {folder}"))
        store = stack.enter_context(Store(cache_root()).in_use())
        tell = stack.enter_context(shown())
        stack.enter_context(writing(folder, "the run"))
        _sweep(folder, store)
        started = time.monotonic()
        sources = Sources(cache_root(), file.parent, Lock.read(Lock.beside(file)))
        executed = Runner(recipe, sources, store, chosen, fresh=fresh, progress=tell).execute()
        finished = None if fresh else _finished(folder, _key(recipe, executed, chosen))
        if finished is None:
            (folder / FILE_NAME).unlink(missing_ok=True)  # it would speak of what is about to be replaced
            write_recipe(recipe, executed, file, folder)
            finished = _measured(recipe, executed, chosen, folder, tell, started)
        page = None
        if recipe.report:
            tell("report", 0.0, "")
            page = write_report([finished], folder / "report", formats=recipe.report)
            tell("report", 1.0, "done")
    return Done(folder, finished, page)


def to_text(done: Done) -> str:
    """The result as a table, and where report and model lie."""
    places = [f"report: {done.page}"] if done.page is not None else []
    return "\n".join([results_table(done.run), *places, f"model:  {done.folder / 'model'}"])


def _sweep(folder: Path, store: Store) -> None:
    """Remove what runs that died left half made, here and in the store."""
    clear_drafts(folder)
    shutil.rmtree(folder / SCRATCH, ignore_errors=True)
    sweep(store)


def _finished(folder: Path, key: str) -> Run | None:
    """The run that the folder holds already, when nothing that it was made from has changed."""
    try:
        run = read_run(folder)
    except DataError:
        return None  # not there, cut short, or written by another version
    kept = [folder / FOLDER / f"{target.name}.npz" for target in run.targets]
    kept += [folder / "model" / target.file for target in run.targets if target.file]
    return run if run.key == key and all(file.exists() for file in kept) else None


def _key(recipe: Recipe, executed: Executed, device: str) -> str:
    """Everything that the figures depend on."""
    return digest_of(
        {
            "recipe": recipe.resolved(),
            "models": [executed.reference.digest, *(outcome.bundle.digest for outcome in executed.stages)],
            "outcomes": [[outcome.gates, outcome.curves] for outcome in executed.outcomes],
            "data": executed.splits.card,
            "test": executed.splits.test.digest,
            "machine": environment(device, recipe.deploy.thread_count),
            "code": measuring_code(__name__),
            "versions": versions(),
        }
    )


def _measured(recipe: Recipe, executed: Executed, device: str, folder: Path, tell: Tell, started: float) -> Run:
    """Measure, judge, and write everything into the run folder but the report."""
    conditions = conditions_of(
        recipe.measure,
        test=executed.splits.test,
        task=executed.reference.task,
        deploy=recipe.deploy,
        device=device,
        seed=recipe.seed,
        margins=margins(recipe.gates),
    )
    try:
        baselines, skipped = baseline_subjects(recipe, executed.reference, folder / SCRATCH, device, tell)
        subjects = [*baselines, *step_subjects(recipe, executed)]
        sitting = measure(subjects, conditions, baselines=(REFERENCE, *recipe.measure.baselines), progress=tell)
    finally:
        shutil.rmtree(folder / SCRATCH, ignore_errors=True)
    sitting = replace(sitting, skipped=(*skipped, *sitting.skipped))
    key, seconds = _key(recipe, executed, device), time.monotonic() - started
    run = assembled(recipe, executed, sitting, key=key, device=device, seconds=seconds)
    gates = [*stage_gates(executed), *judge(recipe.gates, run, reference=REFERENCE)]
    run = run.model_copy(update={"gates": gates})

    write_predictions(
        sitting.predictions,
        executed.splits.test,
        folder / FOLDER,
        task=executed.reference.task.name,
        evidence=sitting.evidence,
    )
    write_result(run, executed, folder / "model")
    write_run(run, folder)  # last: its presence says that all the rest is there
    return run
