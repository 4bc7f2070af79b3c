"""`compress sweep`: variants of one recipe, made side by side, measured in one sitting, told in one report."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import recipes
from compress.commands.device import resolved_device
from compress.commands.keep import check_output, measuring_code, told, write_recipe, write_result
from compress.commands.record import assembled, stage_gates
from compress.commands.subjects import REFERENCE, baseline_subjects, conditions_of, step_subjects
from compress.commands.variants import VARIANTS, Made, alone, row, whole
from compress.errors import CompressError, DataError, GateError
from compress.lineage import digest_of
from compress.progress import Tell, shown
from compress.provenance import environment, versions
from compress.runner import Executed
from compress.store.inventory import limit_bytes
from compress.store.inventory import sweep as clear_leftovers
from compress.store.locks import held
from compress.store.refusals import writing
from compress.store.store import Store, cache_root
from compress.sweep import Variant, read_variants
from compress.sweep_local import Ending, execute, make_all
from evaluation.gates import judge, margins
from evaluation.measurement import FILE_NAME, Run, read_run, write_run
from evaluation.quality.predictions import FOLDER, write_predictions
from evaluation.sitting import Sitting, Subject
from evaluation.suite import measure
from reports.page import write_report

ENGINES = ("local",)
SCRATCH = ".scratch"
"""Where the baselines' graphs are kept while they are measured; the next sweep in the folder clears what is left."""


@dataclass(frozen=True)
class Request:
    """What the user asked for, as typed."""

    recipe: str
    over: Sequence[str]
    changes: Sequence[str]
    device: str | None
    engine: str
    jobs: int


@dataclass(frozen=True)
class Swept:
    """What a sweep left: its folder, its page where the recipe wants one, and why variants failed, by name."""

    folder: Path
    page: Path | None
    faults: Mapping[str, str]


def sweep(request: Request, output: Path | None) -> Swept:
    """Make every variant, measure all of them with the baselines in one sitting, and report.

    A variant that fails is marked with its reason, and does not stop the others.

    Raises:
        CompressError: a fault of the recipe, of an option or of the machine; or no variant could be made.
        GateError: everything was done and written, and a gate failed.
    """
    if request.engine not in ENGINES:
        raise CompressError(f"--engine {request.engine}: this version knows {', '.join(ENGINES)}")
    file = recipes.find(request.recipe)
    variants = read_variants(file, request.over, request.changes)
    first = variants[0].recipe
    folder = output or Path("sweeps") / first.name
    device = resolved_device(request.device or first.deploy.device)
    with _workplace(folder) as (store, tell):
        started = time.monotonic()
        endings = make_all(variants, file, store, device, request.jobs, tell)
        faults = {name: ending.fault for name, ending in endings.items() if ending.fault}
        if len(faults) == len(variants):
            raise CompressError("\n".join(["no variant could be made", *_listed(faults)]))
        made = list(_found(variants, endings, file, store, device))
        key = _key(made, faults, request, device)
        run = _finished(folder, key)
        if run is None:
            (folder / FILE_NAME).unlink(missing_ok=True)  # it would speak of what is about to be replaced
            run = _Writer(request, file, folder, device, key, started).write(variants, made, faults, tell)
        page = None
        if first.report:
            tell("report", 0.0, "")
            page = write_report([run], folder / "report", formats=first.report)
            tell("report", 1.0, "done")
    failed = [gate for gate in run.gates if not gate.passed]
    if failed:
        kept = f"everything is kept: {page or folder}"
        raise GateError("\n".join([*map(told, failed), *_listed(faults), kept]))
    return Swept(folder, page, faults)


@contextmanager
def _workplace(folder: Path) -> Iterator[tuple[Store, Tell]]:
    """The sweep's folder, held and cleared of what a dead process left; the store, and where progress is told."""
    check_output(folder, "the sweep")
    limit_bytes()  # a limit that is none is said before any work
    with writing(folder, "the sweep folder"):
        folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        stack.enter_context(held(folder / ".lock", f"the sweep folder {folder}"))
        store = stack.enter_context(Store(cache_root()).in_use())
        tell = stack.enter_context(shown())
        stack.enter_context(writing(folder, "the sweep"))
        shutil.rmtree(folder / SCRATCH, ignore_errors=True)
        clear_leftovers(store)
        yield store, tell


def _listed(faults: Mapping[str, str]) -> Iterator[str]:
    return (f"{name} failed: {fault}" for name, fault in faults.items())


def _found(
    variants: Sequence[Variant], endings: Mapping[str, Ending], file: Path, store: Store, device: str
) -> Iterator[Made]:
    """The variants that were made, out of the store; of their models, the reference that they share is held alone."""
    reference = None
    for variant in variants:
        if endings[variant.name].fault:
            continue
        executed = execute(variant.recipe, file, store, device, lambda *_told: None)
        reference = reference or executed.reference
        assert reference.digest == executed.reference.digest, "variants differ in what is done to the reference alone"
        yield Made(variant, _unread(replace(executed, reference=reference)), endings[variant.name])


def _unread(executed: Executed) -> Executed:
    """The same outcomes with no model read yet: what reads them through this value is free to be forgotten with it."""
    return replace(
        executed, prepared=tuple(map(replace, executed.prepared)), stages=tuple(map(replace, executed.stages))
    )


def _key(made: Sequence[Made], faults: Mapping[str, str], request: Request, device: str) -> str:
    """Everything that the figures depend on."""
    first = made[0]
    return digest_of(
        {
            "recipes": {one.variant.name: one.variant.recipe.resolved() for one in made},
            "over": list(request.over),
            "failed": sorted(faults),
            "reference": first.executed.reference.digest,
            "models": [[outcome.step.digest_after for outcome in one.executed.stages] for one in made],
            "outcomes": [[[o.gates, o.curves] for o in one.executed.outcomes] for one in made],
            "data": first.executed.splits.card,
            "test": first.executed.splits.test.digest,
            "machine": environment(device, first.variant.recipe.deploy.thread_count),
            "code": measuring_code(__name__),
            "versions": versions(),
        }
    )


def _finished(folder: Path, key: str) -> Run | None:
    """The sweep that the folder holds already, when nothing that it was made from has changed."""
    try:
        run = read_run(folder)
    except DataError:
        return None  # not there, cut short, or written by another version
    kept = [folder / FOLDER / f"{target.name}.npz" for target in run.targets]
    kept += [folder / VARIANTS / target.name / "model" / target.file for target in run.targets if target.file]
    return run if run.key == key and all(file.exists() for file in kept) else None


@dataclass(frozen=True)
class _Writer:
    """Measures the variants and writes the sweep's folder, but for the report."""

    request: Request
    file: Path
    folder: Path
    device: str
    key: str
    started: float

    def write(self, variants: Sequence[Variant], made: Sequence[Made], faults: Mapping[str, str], tell: Tell) -> Run:
        sitting = self._measured(made, tell)
        executed = made[0].executed
        write_predictions(
            sitting.predictions,
            executed.splits.test,
            self.folder / FOLDER,
            task=executed.reference.task.name,
            evidence=sitting.evidence,
        )
        shutil.rmtree(self.folder / VARIANTS, ignore_errors=True)
        runs = {}
        for one in made:
            if one.variant.name in {target.name for target in sitting.targets}:
                runs[one.variant.name] = self._write_variant(one, sitting)
        reasons = {**faults, **{one.target: one.reason for one in sitting.skipped}}
        reasons = {name: _without_places(reason, self.file) for name, reason in reasons.items()}
        if not runs:
            raise CompressError("\n".join(["no variant could be measured", *_listed(reasons)]))
        rows = [row(variant, made, runs.get(variant.name), reasons) for variant in variants]
        run = whole(made, sitting, runs, rows, self._about())
        write_recipe(made[0].variant.recipe, made[0].executed, self.file, self.folder)
        write_run(run, self.folder)  # last: its presence says that all the rest is there
        return run

    def _measured(self, made: Sequence[Made], tell: Tell) -> Sitting:
        """The baselines and every variant's result, each compared with each before it."""
        recipe, executed = made[0].variant.recipe, made[0].executed
        conditions = conditions_of(
            recipe.measure,
            test=executed.splits.test,
            task=executed.reference.task,
            deploy=recipe.deploy,
            device=self.device,
            seed=recipe.seed,
            margins=margins(recipe.gates),
        )
        try:
            baselines, skipped = baseline_subjects(
                recipe, executed.reference, self.folder / SCRATCH, conditions.device, tell
            )
            subjects = [*baselines, *map(_subject, made)]
            compared = (REFERENCE, *recipe.measure.baselines, *(one.variant.name for one in made))
            sitting = measure(subjects, conditions, baselines=compared, progress=tell)
        finally:
            shutil.rmtree(self.folder / SCRATCH, ignore_errors=True)
        return replace(sitting, skipped=(*skipped, *sitting.skipped))

    def _write_variant(self, one: Made, sitting: Sitting) -> Run:
        """The variant as a run of its own beside the same baselines: gates, model, card."""
        folder, recipe = self.folder / VARIANTS / one.variant.name, one.variant.recipe
        seconds, executed = time.monotonic() - self.started, _unread(one.executed)
        run = assembled(
            recipe, executed, alone(sitting, one.variant.name), key=self.key, device=self.device, seconds=seconds
        )
        gates = [*stage_gates(executed), *judge(recipe.gates, run, reference=REFERENCE)]
        machine = {**run.environment, "stages_reused": one.ending.reused}
        name = f"{run.name} {one.variant.name}"
        run = run.model_copy(update={"name": name, "gates": gates, "environment": machine})
        write_recipe(recipe, executed, self.file, folder)
        write_result(run, executed, folder / "model")
        write_run(run, folder)
        return run

    def _about(self) -> dict[str, Any]:
        return {"engine": self.request.engine, "jobs": self.request.jobs, "over": list(self.request.over)}


def _subject(one: Made) -> Subject:
    """The variant's last outcome, under the variant's name."""
    last = step_subjects(one.variant.recipe, _unread(one.executed))[-1]
    title = ", ".join(f"{path}={value}" for path, value in one.variant.changes)
    target = last.target.model_copy(update={"name": one.variant.name, "kind": "variant", "title": title})
    return Subject(target, last.bundle)


def _without_places(reason: str, file: Path) -> str:
    """A reason with nothing of where things lie on this machine."""
    known = {file.resolve().parent: "the recipe's folder", Path.cwd(): "this folder", cache_root(): "the store"}
    for place, name in sorted(known.items(), key=lambda each: -len(str(each[0]))):  # the longest first
        reason = reason.replace(str(place), name)
    return reason.replace(str(Path.home()), "~")
