"""`compress run`: a recipe from its sources to a run folder with model, figures and report."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import recipes
from compress import catalog
from compress.baselines import BASELINES
from compress.bundle import Bundle
from compress.commands.device import resolved_device
from compress.errors import DataError, GateError
from compress.graph.build import build_graph
from compress.lineage import digest_of
from compress.progress import Tell, shown
from compress.provenance import code_digest, environment, versions
from compress.recipe import Recipe, read_recipe, to_yaml
from compress.release import write_model
from compress.runner import Executed, Runner
from compress.sources import Lock, Sources
from compress.stage import Form
from compress.store import Store, cache_root, held
from evaluation.gates import judge
from evaluation.measurement import FILE_NAME, Gate, Run, Target, read_run, write_run
from evaluation.predictions import write_predictions
from evaluation.suite import Conditions, Sitting, Subject, measure
from reports.card import model_card
from reports.page import write_report

REFERENCE = "torch-fp32"
"""The reference as its owner runs it: quality drops are measured against it."""


def run(recipe_name: str, output: Path | None, changes: Sequence[str], device: str | None, fresh: bool) -> Path:
    """Run a recipe and return the run folder.

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
            finished = _measured(recipe, executed, chosen, folder, tell, started)
        if recipe.report:
            tell("report", 0.0, "")
            write_report([finished], folder / "report", formats=recipe.report)
            tell("report", 1.0, "done")
    failed = [gate for gate in finished.gates if not gate.passed]
    if failed:
        raise GateError("\n".join([*(_told(gate) for gate in failed), f"everything is kept in {folder}"]))
    return folder


def _told(gate: Gate) -> str:
    value = "not measured" if gate.value is None else f"{gate.value:.4g}"
    return f"gate {gate.name} of {gate.target} failed: {value}, limit {gate.limit:.4g} ({gate.detail})"


def _finished(folder: Path, key: str) -> Run | None:
    """The run that the folder holds already, when nothing that it was made from has changed."""
    if not (folder / FILE_NAME).exists() or not (folder / "model").is_dir():
        return None
    try:
        run = read_run(folder)
    except DataError:
        return None  # cut short or written by another version: measured again
    return run if run.key == key else None


def _key(recipe: Recipe, executed: Executed, device: str) -> str:
    """Everything that the figures depend on."""
    return digest_of(
        {
            "recipe": recipe.resolved(),
            "models": [executed.reference.digest, *(outcome.bundle.digest for outcome in executed.stages)],
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
        subjects = [*_baselines(recipe, executed.reference, Path(scratch), tell), *_steps(recipe, executed)]
        sitting = measure(subjects, conditions, baselines=(REFERENCE, *recipe.measure.baselines), progress=tell)
    run = _assembled(recipe, executed, sitting, device, time.monotonic() - started)
    gates = [*_stage_gates(executed), *judge(recipe.gates, run, reference=REFERENCE)]
    run = run.model_copy(update={"gates": gates})

    (folder / "recipe.yaml").write_text(to_yaml(recipe.resolved()), encoding="utf-8")
    write_predictions(sitting.predictions, executed.splits.test, folder / "predictions")
    bundles = [executed.reference, *(outcome.bundle for outcome in executed.stages)]
    last_torch = [bundle for bundle in bundles if bundle.form is Form.TORCH][-1]
    stock = last_torch.family.fits_stock_class(last_torch.module)
    write_model(bundles, folder / "model", model_card(run, loads_in_stock_class=stock))
    write_run(run, folder)  # last: its presence says that all the rest is there
    return run


def _baselines(recipe: Recipe, reference: Bundle, scratch: Path, tell: Tell) -> list[Subject]:
    """The reference in each way that the recipe wants it measured."""
    subjects = []
    # Quality is always measured against the reference as its owner runs it, asked for or not.
    for name in dict.fromkeys((REFERENCE, *recipe.measure.baselines)):
        baseline = BASELINES[name]
        bundle, form = reference, "torch"
        if baseline.attention is not None:
            tell("baselines", 0.0, f"export {name}")
            graph = build_graph(reference, scratch / name / "model.onnx", attention=baseline.attention)
            bundle, form = replace(reference, model=graph), "onnx"
            tell("baselines", 1.0, "done")
        target = Target(name=name, kind="baseline", title=name, runtime=baseline.runtime, form=form)
        subjects.append(Subject(target, bundle))
    return subjects


def _steps(recipe: Recipe, executed: Executed) -> list[Subject]:
    """Each stage's outcome, the last one as `result`."""
    subjects = []
    for outcome in executed.stages:
        last = outcome is executed.stages[-1]
        runtime = recipe.deploy.runtime if outcome.bundle.form is Form.ONNX else REFERENCE
        target = Target(
            name="result" if last else outcome.name,
            kind="result" if last else "stage",
            title=outcome.step.stage,
            runtime=runtime,
            form=outcome.bundle.form.value,
            stage=outcome.name,
        )
        subjects.append(Subject(target, outcome.bundle))
    return subjects


def _assembled(recipe: Recipe, executed: Executed, sitting: Sitting, device: str, seconds: float) -> Run:
    series = {f"{o.name}.{name}": value for o in executed.outcomes for name, value in o.curves.items() if "x" in value}
    tables = {
        f"{o.name}.{name}": value for o in executed.outcomes for name, value in o.curves.items() if "x" not in value
    }
    tables["anatomy"] = _anatomy_rows(executed)
    tables["data"] = executed.splits.card
    machine = environment(device, recipe.deploy.thread_count)
    machine["date"] = datetime.now(UTC).strftime("%Y-%m-%d")
    machine["seconds"] = round(seconds, 1)
    machine["peak_memory_bytes"] = _peak_memory_bytes()
    return Run(
        name=recipe.name,
        key=_key(recipe, executed, device),
        recipe=recipe.resolved(),
        environment=machine,
        lineage=[vars(outcome.step) for outcome in executed.outcomes],
        targets=list(sitting.targets),
        skipped=list(sitting.skipped),
        measurements=list(sitting.measurements),
        comparisons=list(sitting.comparisons),
        series=series,
        tables=tables,
    )


def _stage_gates(executed: Executed) -> list[Gate]:
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
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
