"""`compress measure`: any model folders and ONNX files side by side, in one sitting."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from compress.bundle import Bundle, Form, OnnxGraph
from compress.commands.device import resolved_device
from compress.commands.keep import check_output
from compress.commands.options import DataOption, asked_rows, asked_shapes, place_of, refuse_absent
from compress.commands.subjects import conditions_of
from compress.data import Split
from compress.deploy import Deploy
from compress.errors import DataError, ModelError
from compress.external_data import check_external_data
from compress.folder import is_alone, load
from compress.graph.inspect import read_proto
from compress.inputs import example_inputs
from compress.metric import metrics_for
from compress.progress import shown
from compress.provenance import environment
from compress.recipe import Measure
from compress.runtime import runtime_of
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
    if output is not None:
        check_output(output, "what was measured")
    refuse_absent(request.data)
    bundles = _loaded(request.targets)
    deploy = Deploy(threads=request.threads, shapes=asked_shapes(request.latency))
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


def _loaded(targets: Sequence[str]) -> list[tuple[str, Bundle]]:
    """Each target and its name. An ONNX file by itself, of somebody else's making, is read as the first target is."""
    found: list[tuple[str, Bundle]] = []
    for target in dict.fromkeys(targets):
        alone = is_alone(Path(target)) and found
        found.append((_name(target), _beside(found[0][1], Path(target)) if alone else load(target)))
    return found


def _beside(bundle: Bundle, path: Path) -> Bundle:
    """The bundle around somebody else's ONNX file: its tokenizer, task and labels, but of its sizes nothing is known
    that the file does not say.

    Raises:
        ModelError: the file asks for inputs that the bundle's tokenizer does not give.
    """
    proto = read_proto(path)
    check_external_data(path, proto)
    given = example_inputs(bundle)
    constants = {tensor.name for tensor in proto.graph.initializer}
    lacking = {one.name for one in proto.graph.input} - constants - set(given)
    if lacking:
        wanted = ", ".join(sorted(lacking))
        raise ModelError(f"{path}: asks for {wanted}; the tokenizer gives {', '.join(given)}")
    return replace(bundle, model=OnnxGraph(path, "fp32"))


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


def _test_split(request: Request, task: Task, labels: tuple[str, ...]) -> Split:
    """A recipe's test split, or a whole table."""
    split = asked_rows(DataOption(request.data, request.columns, tuple(request.slices)), task, labels)
    if len(split) < 2:
        raise DataError(
            f"{request.data}: one row is left to measure on, wanted two or more to say how sure a figure is"
        )
    return split


def command_line(request: Request) -> str:
    """The command that asks for this again; files outside the folder it is typed in are told by name alone."""
    how = request.how
    options: dict[str, Any] = {
        "data": place_of(request.data),
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
    words = ["compress", "measure", *map(place_of, request.targets)]
    for name, value in options.items():
        for each in value if isinstance(value, list | tuple) else [value] if value is not None else []:
            words += [f"--{name}", str(each)]
    words += [] if how.footprint else ["--no-footprint"]
    words += [] if how.quote else ["--no-quote"]
    return shlex.join(words)


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
