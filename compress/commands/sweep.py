"""`compress sweep`: variants of one recipe, made side by side, measured in one sitting, told in one report."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import recipes
from compress.commands.device import resolved_device
from compress.commands.keep import measuring_code, told, write_recipe, write_result
from compress.commands.record import assembled, stage_gates
from compress.commands.subjects import REFERENCE, baseline_subjects, step_subjects
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
from evaluation.gates import judge
from evaluation.measurement import FILE_NAME, Comparison, Gate, Measurement, Run, Target, read_run, write_run
from evaluation.predictions import write_predictions
from evaluation.suite import Conditions, Sitting, Subject, measure
from reports.page import write_report

ENGINES = ("local",)
VARIANTS = "variants"
SCRATCH = ".scratch"
"""Where the baselines' graphs are kept while they are measured; the next sweep in the folder clears what is left."""

AnyRecord = TypeVar("AnyRecord", Measurement, Comparison)


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


@dataclass(frozen=True)
class _Made:
    """A variant whose stages are all done."""

    variant: Variant
    executed: Executed
    ending: Ending


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
) -> Iterator[_Made]:
    """The variants that were made, out of the store; of their models, the reference that they share is held alone."""
    reference = None
    for variant in variants:
        if endings[variant.name].fault:
            continue
        executed = execute(variant.recipe, file, store, device, lambda *_told: None)
        reference = reference or executed.reference
        assert reference.digest == executed.reference.digest, "variants differ in what is done to the reference alone"
        yield _Made(variant, _unread(replace(executed, reference=reference)), endings[variant.name])


def _unread(executed: Executed) -> Executed:
    """The same outcomes with no model read yet: what reads them through this value is free to be forgotten with it."""
    return replace(
        executed, prepared=tuple(map(replace, executed.prepared)), stages=tuple(map(replace, executed.stages))
    )


def _key(made: Sequence[_Made], faults: Mapping[str, str], request: Request, device: str) -> str:
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
    kept = [folder / "predictions" / f"{target.name}.npz" for target in run.targets]
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

    def write(self, variants: Sequence[Variant], made: Sequence[_Made], faults: Mapping[str, str], tell: Tell) -> Run:
        sitting = self._measured(made, tell)
        write_predictions(sitting.predictions, made[0].executed.splits.test, self.folder / "predictions")
        shutil.rmtree(self.folder / VARIANTS, ignore_errors=True)
        runs = {}
        for one in made:
            if one.variant.name in {target.name for target in sitting.targets}:
                runs[one.variant.name] = self._write_variant(one, sitting)
        reasons = {**faults, **{one.target: one.reason for one in sitting.skipped}}
        reasons = {name: _without_places(reason, self.file) for name, reason in reasons.items()}
        if not runs:
            raise CompressError("\n".join(["no variant could be measured", *_listed(reasons)]))
        rows = [_row(variant, made, runs.get(variant.name), reasons) for variant in variants]
        run = _whole(made, sitting, runs, rows, self._about())
        write_recipe(made[0].variant.recipe, self.file, self.folder)
        write_run(run, self.folder)  # last: its presence says that all the rest is there
        return run

    def _measured(self, made: Sequence[_Made], tell: Tell) -> Sitting:
        """The baselines and every variant's result, each compared with each before it."""
        recipe, executed = made[0].variant.recipe, made[0].executed
        conditions = Conditions(
            test=executed.splits.test,
            deploy=recipe.deploy,
            device=self.device,
            metrics=recipe.measure.metrics or executed.reference.task.metrics,
            seed=recipe.seed,
        )
        try:
            baselines, skipped = baseline_subjects(recipe, executed.reference, self.folder / SCRATCH, tell)
            subjects = [*baselines, *map(_subject, made)]
            compared = (REFERENCE, *recipe.measure.baselines, *(one.variant.name for one in made))
            sitting = measure(subjects, conditions, baselines=compared, progress=tell)
        finally:
            shutil.rmtree(self.folder / SCRATCH, ignore_errors=True)
        return replace(sitting, skipped=(*skipped, *sitting.skipped))

    def _write_variant(self, one: _Made, sitting: Sitting) -> Run:
        """The variant as a run of its own beside the same baselines: gates, model, card."""
        folder, recipe = self.folder / VARIANTS / one.variant.name, one.variant.recipe
        seconds, executed = time.monotonic() - self.started, _unread(one.executed)
        run = assembled(
            recipe, executed, _alone(sitting, one.variant.name), key=self.key, device=self.device, seconds=seconds
        )
        gates = [*stage_gates(executed), *judge(recipe.gates, run, reference=REFERENCE)]
        machine = {**run.environment, "stages_reused": one.ending.reused}
        name = f"{run.name} {one.variant.name}"
        run = run.model_copy(update={"name": name, "gates": gates, "environment": machine})
        write_recipe(recipe, self.file, folder)
        write_result(run, executed, folder / "model")
        write_run(run, folder)
        return run

    def _about(self) -> dict[str, Any]:
        return {"engine": self.request.engine, "jobs": self.request.jobs, "over": list(self.request.over)}


def _subject(one: _Made) -> Subject:
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


def _alone(sitting: Sitting, name: str) -> Sitting:
    """One variant's part of the sitting: beside the baselines alone, and as `result`."""
    kept = {target.name for target in sitting.targets if target.kind != "variant"} | {name}
    targets = [_as_result(target) if target.name == name else target for target in sitting.targets]
    comparisons = [row for row in sitting.comparisons if row.baseline in kept]
    return replace(
        sitting,
        targets=tuple(target for target in targets if target.kind != "variant"),
        measurements=tuple(_renamed(row, name) for row in sitting.measurements if row.target in kept),
        comparisons=tuple(_renamed(row, name) for row in comparisons if row.target in kept and row.baseline != name),
    )


def _as_result(target: Target) -> Target:
    return target.model_copy(update={"name": "result", "kind": "result"})


def _renamed(row: AnyRecord, name: str) -> AnyRecord:
    return row.model_copy(update={"target": "result"}) if row.target == name else row


def _whole(
    made: Sequence[_Made], sitting: Sitting, runs: Mapping[str, Run], rows: list[dict[str, Any]], about: dict[str, Any]
) -> Run:
    """The sweep as one run: what its variants share once, and what is theirs under their names."""
    first, *_ = runs.values()
    prepared = len(made[0].executed.prepared)
    lineage = [*first.lineage[:prepared]]
    lineage += [{**step, "variant": name} for name, run in runs.items() for step in run.lineage[prepared:]]
    series, recorded = _recorded(made)
    shared = {name: first.tables[name] for name in ("data", "source")}
    return first.model_copy(
        update={
            "name": made[0].variant.recipe.name,
            "environment": {**first.environment, **_reuse(rows)},
            "lineage": lineage,
            "targets": list(sitting.targets),
            "skipped": list(sitting.skipped),
            "measurements": list(sitting.measurements),
            "comparisons": list(sitting.comparisons),
            "gates": [_gate_of(name, gate) for name, run in runs.items() for gate in run.gates],
            "series": series,
            "tables": {VARIANTS: rows, "sweep": about, **recorded, "anatomy": _anatomies(runs), **shared},
        }
    )


def _recorded(made: Sequence[_Made]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Curves and tables of every stage; those of an outcome that variants share stand there once."""
    series: dict[str, Any] = {}
    tables: dict[str, Any] = {}
    seen: set[Path] = set()
    for one in made:
        for outcome in one.executed.outcomes:
            if outcome.folder in seen:
                continue
            seen.add(outcome.folder)
            of = "" if outcome in one.executed.prepared else f" ({one.variant.name})"
            for name, value in outcome.curves.items():
                (series if "x" in value else tables)[f"{outcome.name}.{name}{of}"] = value
    return series, tables


def _anatomies(runs: Mapping[str, Run]) -> list[dict[str, Any]]:
    """The reference's units, and those of each variant's result."""
    rows: list[dict[str, Any]] = []
    for name, run in runs.items():
        own = run.tables["anatomy"]
        if not rows:
            rows += [row for row in own if row["target"] == "reference"]
        rows += [{**row, "target": name} for row in own if row["target"] == own[-1]["target"]]
    return rows


def _gate_of(variant: str, gate: Gate) -> Gate:
    """A variant's gate among those of the others; a stage's own gates say whose they are."""
    detail = gate.detail if gate.target == "result" else f"{gate.target}: {gate.detail}"
    return gate.model_copy(update={"target": variant, "detail": detail})


def _reuse(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"stages_reused": sum(row["stages_reused"] for row in rows)}


def _row(variant: Variant, made: Sequence[_Made], run: Run | None, reasons: Mapping[str, str]) -> dict[str, Any]:
    """What the table of variants says of one: changes, how it ended, reuse, key figures."""
    ending = next((one.ending for one in made if one.variant.name == variant.name), Ending(variant.name))
    broken = [gate.name for gate in run.gates if not gate.passed] if run else []
    row: dict[str, Any] = {
        "variant": variant.name,
        "changes": dict(variant.changes),
        "status": "failed" if run is None else "gate failed" if broken else "done",
        "reason": ", ".join(broken) if run else reasons.get(variant.name, ""),
        "stages": ending.stages,
        "stages_reused": ending.reused,
    }
    for m in run.measurements if run else ():
        if m.target == "result" and m.name not in ("flops", "latency_p95_ms"):
            shape = f" {m.conditions['batch']}x{m.conditions['tokens']}" if "batch" in m.conditions else ""
            row[f"{m.name}{shape}"] = m.value
    return row
