"""`compress run`: a recipe from its sources to a run folder with model, figures and report."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import recipes
from compress import catalog
from compress.bundle import Form
from compress.commands.device import resolved_device
from compress.commands.record import assembled, stage_gates
from compress.commands.subjects import REFERENCE, baseline_subjects, step_subjects
from compress.errors import DataError, GateError
from compress.lineage import digest_of
from compress.progress import Tell, shown
from compress.provenance import code_digest, environment, versions
from compress.recipe import Recipe, read_recipe, to_yaml
from compress.release import write_model
from compress.runner import Executed, Runner
from compress.sources import Lock, Sources, moved
from compress.store import Store, cache_root, held
from evaluation.gates import judge
from evaluation.measurement import FILE_NAME, Gate, Run, read_run, write_run
from evaluation.predictions import write_predictions
from evaluation.suite import Conditions, measure
from reports.card import model_card
from reports.page import write_report


def run(
    recipe_name: str, output: Path | None, changes: Sequence[str], device: str | None, fresh: bool
) -> tuple[Path, Path | None]:
    """Run a recipe and return the run folder and its report, where the recipe wants one.

    Raises:
        CompressError: a fault of recipe, source, data, model or machine.
        GateError: everything was done and written, and a gate failed.
    """
    file = recipes.find(recipe_name)
    recipe = read_recipe(file, changes)
    folder = output or Path("runs") / recipe.name
    chosen = resolved_device(device or recipe.deploy.device)
    folder.mkdir(parents=True, exist_ok=True)
    with held(folder / ".lock", f"the run folder {folder}"), shown() as tell:
        started = time.monotonic()
        sources = Sources(cache_root(), file.parent, Lock.read(Lock.beside(file)))
        executed = Runner(recipe, sources, Store(cache_root()), chosen, fresh=fresh, progress=tell).execute()
        finished = None if fresh else _finished(folder, _key(recipe, executed, chosen))
        if finished is None:
            (folder / FILE_NAME).unlink(missing_ok=True)  # it would speak of what is about to be replaced
            _write_recipe(recipe, file, folder)
            finished = _measured(recipe, executed, chosen, folder, tell, started)
        page = None
        if recipe.report:
            tell("report", 0.0, "")
            page = write_report([finished], folder / "report", formats=recipe.report)
            tell("report", 1.0, "done")
    failed = [gate for gate in finished.gates if not gate.passed]
    if failed:
        raise GateError("\n".join([*(_told(gate) for gate in failed), f"everything is kept: {page or folder}"]))
    return folder, page


def _write_recipe(recipe: Recipe, file: Path, folder: Path) -> None:
    """The resolved recipe and its lock file, so that the run can be done again from the run folder."""
    values = recipe.resolved()
    owners = [values["model"], *values["data"]["tables"].values()]
    for owner in owners:
        source = owner["source"]
        here = [moved(one, file.parent, folder) for one in ([source] if isinstance(source, str) else source)]
        owner["source"] = here[0] if isinstance(source, str) else here
    (folder / "recipe.yaml").write_text(to_yaml(values), encoding="utf-8")
    if Lock.beside(file).exists():
        shutil.copyfile(Lock.beside(file), Lock.beside(folder / "recipe.yaml"))


def _told(gate: Gate) -> str:
    value = "no value" if gate.value is None else f"{gate.value:.4g}"
    return f"gate {gate.name} of {gate.target} failed: {value}, limit {gate.limit:.4g} ({gate.detail})"


def _finished(folder: Path, key: str) -> Run | None:
    """The run that the folder holds already, when nothing that it was made from has changed."""
    try:
        run = read_run(folder)
    except DataError:
        return None  # not there, cut short, or written by another version
    kept = [folder / "predictions" / f"{target.name}.npz" for target in run.targets]
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
            "code": [code_digest(module) for module in ("evaluation.suite", "compress.commands.run", *_by_name())],
            "versions": versions(),
        }
    )


def _by_name() -> list[str]:
    """Modules that measuring finds by name, so that no import leads to them."""
    return [module for kind in ("metrics", "runtimes", "tasks") for module in catalog.modules(kind)]


def _measured(recipe: Recipe, executed: Executed, device: str, folder: Path, tell: Tell, started: float) -> Run:
    """Measure, judge, and write everything into the run folder but the report."""
    conditions = Conditions(
        test=executed.splits.test,
        deploy=recipe.deploy,
        device=device,
        metrics=recipe.measure.metrics or executed.reference.task.metrics,
        seed=recipe.seed,
    )
    with tempfile.TemporaryDirectory(prefix="compress-") as scratch:
        baselines, skipped = baseline_subjects(recipe, executed.reference, Path(scratch), tell)
        subjects = [*baselines, *step_subjects(recipe, executed)]
        sitting = measure(subjects, conditions, baselines=(REFERENCE, *recipe.measure.baselines), progress=tell)
    sitting = replace(sitting, skipped=(*skipped, *sitting.skipped))
    key, seconds = _key(recipe, executed, device), time.monotonic() - started
    run = assembled(recipe, executed, sitting, key=key, device=device, seconds=seconds)
    gates = [*stage_gates(executed), *judge(recipe.gates, run, reference=REFERENCE)]
    run = run.model_copy(update={"gates": gates})

    write_predictions(sitting.predictions, executed.splits.test, folder / "predictions")
    bundles = [executed.reference, *(outcome.bundle for outcome in executed.stages)]
    last_torch = [bundle for bundle in bundles if bundle.form is Form.TORCH][-1]
    stock = last_torch.family.fits_stock_class(last_torch.module)
    write_model(bundles, folder / "model", model_card(run, loads_in_stock_class=stock))
    write_run(run, folder)  # last: its presence says that all the rest is there
    return run
