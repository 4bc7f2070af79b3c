"""`compress measure`: any model folders and ONNX files side by side, in one sitting."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

import recipes
from compress.bundle import Bundle, Form
from compress.commands.device import resolved_device
from compress.commands.subjects import conditions_of
from compress.data import Split, load_data, whole_split
from compress.deploy import Deploy, Shape
from compress.errors import DataError, ModelError
from compress.folder import load
from compress.metric import metrics_for
from compress.progress import shown
from compress.provenance import environment
from compress.recipe import Measure, read_recipe
from compress.runtime import runtime_of
from compress.sources import Lock, Sources
from compress.store.store import cache_root
from compress.tables.table import TableSettings, read_table
from compress.task import Task
from evaluation.measurement import Run, Target, write_run
from evaluation.quality.predictions import FOLDER, write_predictions
from evaluation.sitting import Conditions, Processes, Sitting, Subject
from evaluation.speed.energy import energy_note
from evaluation.suite import measure as measure_subjects
from reports.page import write_report
from reports.table import results_table


@dataclass(frozen=True)
class Request:
    """What the user asked to be measured, as typed."""

    targets: Sequence[str]
    data: str
    latency: str
    runtimes: Sequence[str]
    columns: str | None
    device: str
    threads: int | None
    seed: int
    how: Measure
    """As a recipe's `measure` has it; its baselines are of no meaning here."""
    slices: Sequence[str] = ()
    """Columns of the table whose values the report judges apart."""


def settings_of(
    metrics: Sequence[str], rounds: int, processes: Processes, *, footprint: bool, quote: bool, price: str | None
) -> Measure:
    """The options of the command line as a recipe's `measure`.

    Args:
        price: of an hour of the machine, as `0.17USD`.

    Raises:
        DataError: an unknown metric, or a price that can't be read.
    """
    amount, currency = (price[:-3].strip(), price[-3:]) if price else (None, None)
    values = {"metrics": list(metrics), "rounds": rounds, "processes": processes, "footprint": footprint}
    try:
        return Measure.model_validate(
            values | {"quote": quote, "price": price and {"per_hour": amount, "currency": currency}}
        )
    except ValidationError as fault:
        first = fault.errors()[0]
        option = {"metrics": "--metric", "price": "--price"}.get(str(first["loc"][0]), f"--{first['loc'][0]}")
        raise DataError(f"{option} {first['input']}: {first['msg']}") from None


def measure(request: Request, output: Path | None) -> Run:
    """Measure every target; with `output`, also write `run.json`, the predictions and the report there.

    Raises:
        CompressError: a target is no model, the table is not as asked, or a shape can't be read.
    """
    bundles = [(_name(target), load(target)) for target in dict.fromkeys(request.targets)]
    deploy = Deploy(threads=request.threads, shapes=_shapes(request.latency))
    subjects = [subject for name, bundle in bundles for subject in _subjects(name, bundle, request.runtimes)]
    _refuse_idle(request.runtimes, subjects)
    subjects = _named_apart(subjects)
    first = subjects[0].bundle
    if any((one.bundle.task.name, one.bundle.labels) != (first.task.name, first.labels) for one in subjects):
        listed = "; ".join(f"{s.target.name}: {s.bundle.task.name}, {', '.join(s.bundle.labels)}" for s in subjects)
        raise ModelError(f"the targets do not share task and labels, so no example can be compared ({listed})")
    _refuse_unfitting(request.how.metrics, first.task)
    conditions = conditions_of(
        request.how,
        test=_test_split(request, first.task, first.labels),
        task=first.task,
        deploy=deploy,
        device=resolved_device(request.device),
        seed=request.seed,
    )
    with shown() as tell:
        names = [subject.target.name for subject in subjects]
        sitting = measure_subjects(subjects, conditions, baselines=names, progress=tell)
    run = _as_run(sitting, conditions, command_line(request))
    if output is not None:
        _write(run, sitting, conditions.test, first.task, output)
    return run


def to_text(run: Run) -> str:
    """The result as a table that reads well in a terminal and in Markdown."""
    skipped = [f"skipped {one.target}: {one.reason}" for one in run.skipped]
    return "\n".join([results_table(run), *skipped])


def _name(target: str) -> str:
    path = Path(target)
    return path.stem if path.suffix == ".onnx" else path.resolve().name


def _subjects(name: str, bundle: Bundle, runtimes: Sequence[str]) -> list[Subject]:
    """The target on each runtime that opens its form; on the plain one when none was asked for."""
    plain = {Form.TORCH: "torch-fp32", Form.ONNX: "onnxruntime"}[bundle.form]
    fitting = [runtime for runtime in runtimes if runtime_of(runtime).form is bundle.form] or [plain]
    return [
        Subject(
            Target(
                name=name if len(fitting) == 1 else f"{name}@{runtime}",
                kind="baseline",
                title=name,
                runtime=runtime,
                form=bundle.form.value,
            ),
            bundle,
        )
        for runtime in fitting
    ]


def _refuse_idle(runtimes: Sequence[str], subjects: Sequence[Subject]) -> None:
    """A runtime that was asked for and opens none of the targets would be dropped in silence."""
    for name in runtimes:
        if name not in {subject.target.runtime for subject in subjects}:
            wanted = "ONNX files" if runtime_of(name).form is Form.ONNX else "model folders with safetensors"
            raise ModelError(f"--runtime {name}: runs {wanted}, and no target is one")


def _refuse_unfitting(metrics: Sequence[str], task: Task) -> None:
    fitting = metrics_for(task.target)
    for name in metrics:
        if name not in fitting:
            raise DataError(f"--metric {name}: does not fit the task {task.name}; wanted one of {', '.join(fitting)}")


def _named_apart(subjects: Sequence[Subject]) -> list[Subject]:
    """Subjects whose names are all different: a number is added where two targets share one."""
    apart: list[Subject] = []
    taken: set[str] = set()
    for subject in subjects:
        name, number = subject.target.name, 2
        while name in taken:
            name, number = f"{subject.target.name}-{number}", number + 1
        taken.add(name)
        apart.append(Subject(subject.target.model_copy(update={"name": name}), subject.bundle))
    return apart


def _shapes(text: str) -> tuple[Shape, ...]:
    try:
        return tuple(dict.fromkeys(Shape.parse(part) for part in text.split(",")))
    except ValueError as fault:
        raise DataError(f"--latency {text}: {fault}") from None


def _test_split(request: Request, task: Task, labels: tuple[str, ...]) -> Split:
    """A recipe's test split, or a whole table."""
    path = Path(request.data)
    named = task.target in ("class", "classes", "tags")
    if path.suffix in (".yaml", ".yml") or request.data in recipes.names():
        for option, given in (("--columns", request.columns), ("--slices", request.slices)):
            if given:
                raise DataError(f"{option}: {request.data} is a recipe, whose tables say that themselves")
        file = recipes.find(request.data)
        recipe = read_recipe(file)
        sources = Sources(cache_root(), file.parent, Lock.read(Lock.beside(file)))
        split = load_data(recipe.data, sources, target=task.target, modality=task.modality).test
        if named and split.label_names != labels:
            raise DataError(f"{file}: its labels are {', '.join(split.label_names)}, the model's {', '.join(labels)}")
        return split
    settled = labels if named else None
    table = read_table(
        _table(request, settled),
        Sources(cache_root(), Path()),
        target=task.target,
        modality=task.modality,
        label_names=settled,
    )
    if len(table) < 2:
        raise DataError(
            f"{request.data}: one row is left to measure on, wanted two or more to say how sure a figure is"
        )
    return whole_split("test", table)


def _table(request: Request, names: Sequence[str] | None) -> TableSettings:
    """The table that was named on the command line; integers in its label column index the model's labels."""
    fields: dict[str, Any] = {"source": request.data}
    if names is not None:
        fields["label"] = {"column": "label", "names": list(names)}
    if request.columns:
        fields["columns"] = _columns(request.columns)
    if request.slices:
        fields["slices"] = list(request.slices)
    try:
        return TableSettings.model_validate(fields)
    except ValidationError as fault:
        first = fault.errors()[0]
        raise DataError(f"--data {request.data}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _columns(text: str) -> dict[str, str | int]:
    """`text=sentence,label=2` as roles to columns."""
    found: dict[str, str | int] = {}
    for part in text.split(","):
        role, equals, column = part.partition("=")
        if not equals or not role or not column:
            raise DataError(f"--columns {text}: wanted ROLE=COLUMN pairs, as text=sentence,label=label")
        found[role] = int(column) if column.isdigit() else column
    return found


def command_line(request: Request) -> str:
    """The command that asks for this again; files outside the folder it is typed in are told by name alone."""
    how = request.how
    options: dict[str, Any] = {
        "data": _place(request.data),
        "latency": request.latency,
        "runtime": request.runtimes,
        "columns": request.columns,
        "device": request.device,
        "threads": request.threads,
        "seed": request.seed,
        "processes": how.processes,
        "metric": how.metrics,
        "rounds": how.rounds,
        "slices": request.slices,
        "price": how.price and f"{how.price.per_hour}{how.price.currency}",
    }
    words = ["compress", "measure", *map(_place, request.targets)]
    for name, value in options.items():
        for each in value if isinstance(value, list | tuple) else [value] if value is not None else []:
            words += [f"--{name}", str(each)]
    words += [] if how.footprint else ["--no-footprint"]
    words += [] if how.quote else ["--no-quote"]
    return shlex.join(words)


def _place(text: str) -> str:
    return Path(text).name if Path(text).is_absolute() else text


def _as_run(sitting: Sitting, conditions: Conditions, command: str) -> Run:
    return Run(
        name="measure",
        environment={
            **environment(conditions.device, conditions.threads),
            "energy": energy_note(conditions.device),
            "command": command,
        },
        targets=list(sitting.targets),
        skipped=list(sitting.skipped),
        measurements=list(sitting.measurements),
        comparisons=list(sitting.comparisons),
        tables=dict(sitting.tables),
    )


def _write(run: Run, sitting: Sitting, test: Split, task: Task, folder: Path) -> None:
    write_predictions(sitting.predictions, test, folder / FOLDER, task=task.name, evidence=sitting.evidence)
    write_run(run, folder)
    write_report([run], folder / "report")
