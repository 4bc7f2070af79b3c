"""A recipe: what to compress, how, for what deployment, and what is promised. Read with every fault at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import yaml
from pydantic import AfterValidator, Field, ValidationError

from compress import catalog
from compress.baselines import BASELINES
from compress.bundle import Form
from compress.changes import landed, with_changes
from compress.choices import StageChoice, name_of
from compress.data import DataSettings
from compress.deploy import Deploy, Shape
from compress.errors import RecipeError
from compress.graph.target import Target, kernels_of, why_not
from compress.metric import metrics_for
from compress.places import Document, Key, Place, read_yaml
from compress.price import Price
from compress.runtime import runtime_of
from compress.settings import Settings, one_of
from compress.sources import SourceField, told
from compress.task import Task, task_of

if TYPE_CHECKING:
    from compress.stage import Sight, Stage

TaskName = Annotated[str, one_of("task", catalog.names("tasks"))]
MetricName = Annotated[str, one_of("metric", catalog.names("metrics"))]
BaselineName = Annotated[str, one_of("baseline", BASELINES)]


def _bound_that_is_measured(value: float | None) -> float | None:
    if value not in (None, 0.95):
        raise ValueError(f"the intervals of a run are of 95 %: wanted 0.95, got {value}")
    return value


Bound = Annotated[
    float | None,
    Field(description="0.95: judge the worse end of the 95 % interval instead"),
    AfterValidator(_bound_that_is_measured),
]


class ModelSettings(Settings):
    """The model that goes in."""

    task: TaskName = Field(description="what the model is for")
    source: SourceField = Field(description="path, hub: or pip: source; a list is tried in order")


ROUNDS = 48
"""Of timing, unless a recipe says otherwise; `make bench-measuring` tries what they find and how often they err."""
FEWEST_ROUNDS = 6
"""Fewer give no interval of 95 %."""
SECONDS_A_ROUND = 0.3
"""Once a sitting was timed for so long, for each target and each round that is asked for, what is left gets the fewest
rounds."""


class Measure(Settings):
    """What is measured besides the stages: the strong, ordinary ways to run the reference."""

    baselines: tuple[BaselineName, ...] = Field(("torch-fp32", "torch-dynamic-int8", "onnx-fp32"), min_length=1)
    metrics: tuple[MetricName, ...] = Field((), description="left empty: the task's own")
    rounds: int = Field(
        ROUNDS,
        ge=2,
        le=1000,
        description="of timing at most: in each, every target has a turn; a round takes 3 s at most",
    )
    processes: Literal["one", "apart"] = Field(
        "one", description="time all targets in one process, or each in one of its own, which take turns"
    )
    footprint: bool = Field(
        True, description="load time, peak memory and energy; takes a fresh process for each target"
    )
    quote: bool = Field(
        True, description="show the texts of examples that flipped; false where they are not to be shown"
    )
    price: Price | None = Field(None, description="what the machine costs: a million requests then have a cost")


class QualityGate(Settings):
    """The most quality that may be lost on the test split, in the metric's units; of perplexity, as a fraction."""

    metric: MetricName
    drop: float = Field(gt=0)
    bound: Bound = None


class SpeedGate(Settings):
    """The least speed-up over a baseline at a shape."""

    baseline: BaselineName
    shape: Shape
    ratio: float = Field(gt=0)
    bound: Bound = None


class SizeGate(Settings):
    """The least compression of a baseline's weight files."""

    baseline: BaselineName
    ratio: float = Field(gt=0)


class Gates(Settings):
    """What the recipe promises; a broken promise ends the run with exit code 3, everything kept."""

    max_quality_drop: QualityGate | None = None
    min_speedup: SpeedGate | None = None
    min_compression: SizeGate | None = None


class Recipe(Settings):
    """Everything that a run does, as data."""

    version: Literal[1]
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="names the run's folder")
    seed: int = Field(13, ge=0, lt=2**31)
    model: ModelSettings
    data: DataSettings
    prepare: tuple[StageChoice, ...] = ()
    deploy: Deploy = Deploy()
    stages: tuple[StageChoice, ...] = Field(min_length=1)
    measure: Measure = Measure()
    gates: Gates = Gates()
    report: tuple[Literal["html", "markdown"], ...] = ("html", "markdown")

    @property
    def sources(self) -> dict[str, list[str]]:
        """Each source that is read, the model's first, by the place that names it: what is tried, in order."""
        wanted = {"model.source": self.model.source}
        wanted |= {f"data.tables.{name}.source": table.source for name, table in self.data.read.items()}
        return {place: [source] if isinstance(source, str) else source for place, source in wanted.items()}

    @property
    def precision_made(self) -> str | None:
        """Of the weights in the graph that the stages leave; None where nothing is exported."""
        stages = {name_of("stages", stage): stage for stage in self.stages}
        if "export" not in stages:
            return None
        last: Any = stages.get("quantize", stages["export"])
        return getattr(last, "precision", "fp32")

    def resolved(self) -> dict[str, Any]:
        """The recipe as plain values, every default spelled out; reading it back gives an equal recipe."""
        return self.model_dump(mode="json", by_alias=True)

    def told(self) -> dict[str, Any]:
        """The resolved recipe as figures tell it to others: without absolute paths."""
        values = self.resolved()
        for owner in (values["model"], *values["data"]["tables"].values()):
            source = owner["source"]
            owner["source"] = told(source) if isinstance(source, str) else [told(one) for one in source]
        return values


AnySettings = TypeVar("AnySettings", bound=Settings)


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong, and where."""

    path: tuple[Key, ...]
    message: str


def read_recipe(file: Path, changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe, with `changes` of the form PATH=VALUE made first.

    Raises:
        RecipeError: one line for every fault: file, line, column, what came, what was wanted.
    """
    document = read_yaml(file)
    if not isinstance(document.values, dict):
        raise RecipeError(
            f"{file}:1:1: wanted a mapping with keys such as version, name, model; got {document.values!r}"
        )
    values = with_changes(document.values, changes)
    faults: list[Fault] = []
    recipe: Recipe | None = None
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as fault:
        faults += [_restated(error) for error in _without_echoes(fault.errors(include_url=False))]
    faults += _chain_faults(values)
    faults += _faults_between_sections(values)
    if recipe is not None and not faults:
        faults += _unmade(recipe)
    if faults or recipe is None:
        changed = dict(landed(values, changes))
        raise RecipeError(_listing(file, document, values, faults, changed))
    return recipe


def to_yaml(values: Mapping[str, Any]) -> str:
    """A resolved recipe as YAML, keys in the order of the schema."""
    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=120)


def _without_echoes(errors: Sequence[Any]) -> list[Any]:
    """The errors without those that only count entries of a list whose entries are refused themselves."""
    places = [error["loc"] for error in errors]
    return [
        error
        for error in errors
        if error["type"] != "too_short"
        or not any(len(place) > len(error["loc"]) and place[: len(error["loc"])] == error["loc"] for place in places)
    ]


def _restated(error: Any) -> Fault:
    """A pydantic error in our words: what came is added where that is short."""
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "missing":
        return Fault(error["loc"], f"the key {error['loc'][-1]!r} is missing")
    short = isinstance(error["input"], str | int | float | bool)
    if short and error["type"] != "unknown_key" and repr(error["input"]) not in message:
        message = f"{message[0].lower()}{message[1:]}, got {error['input']!r}"
    return Fault(error["loc"], message)


def _chain_faults(values: Mapping[str, Any]) -> Iterator[Fault]:
    """Stages whose input is not what the stage before leaves; looked for even where settings are faulty."""
    known = catalog.names("stages")
    for section in ("prepare", "stages"):
        form, precision_before = Form.TORCH, ""
        listed = values.get(section)
        for index, entry in enumerate(listed if isinstance(listed, list) else []):
            name = next(iter(entry), None) if isinstance(entry, dict) else entry
            if name not in known:
                continue
            stage = catalog.load("stages", str(name))
            if section == "prepare" and stage.produces is not Form.TORCH:
                yield Fault((section, index), f"{name} under `prepare`: the reference has to stay a torch model")
            elif section == "prepare" and "reference" in _sights(stage, entry):
                yield Fault((section, index), f"{name} under `prepare`: it learns from the reference, not made yet")
            elif stage.consumes is not form:
                yield Fault((section, index), _why_not(str(name), stage.consumes))
            elif precision_before:
                reason = f"{name} starts from float32: leave out `precision: {precision_before}` before it"
                yield Fault((section, index), reason)
            form = stage.produces
            settings = entry[name] if isinstance(entry, dict) else None
            made = settings.get("precision") if form is Form.ONNX and isinstance(settings, dict) else None
            precision_before = made if made in ("fp16", "bf16") else ""


def _sights(stage: Any, entry: Any) -> Sequence[Sight]:
    """What a stage looks at; where that follows from its settings, and these are faulty, nothing is known of it."""
    if isinstance(stage.sees, tuple):
        return stage.sees
    try:
        settled: Stage = stage.model_validate((next(iter(entry.values())) if isinstance(entry, dict) else None) or {})
    except ValidationError:
        return ()
    return settled.sees


def _why_not(name: str, wants: Form) -> str:
    if wants is Form.ONNX:
        return (
            f"{name} works on an exported graph, and what reaches it here is a torch model: put `export` before it. "
            "onnxruntime's integer kernels are what will run, and a torch model quantized first can't be exported"
        )
    return f"{name} works on a torch model, and what reaches it here is an ONNX graph: put it before `export`"


def _faults_between_sections(values: Mapping[str, Any]) -> Iterator[Fault]:
    """Faults between `deploy`, `measure` and `gates`, as far as each of them can be read by itself."""
    deploy = _section(values, "deploy", Deploy)
    measured = _section(values, "measure", Measure)
    gates = _section(values, "gates", Gates)
    if deploy is not None and runtime_of(deploy.runtime).form is not Form.ONNX:
        yield Fault(("deploy", "runtime"), f"{deploy.runtime!r} runs torch models; wanted one for ONNX graphs")
    task = _task(values)
    if task is not None:
        yield from _unfitting(task, measured, gates)
    if gates is None:
        return
    if measured is not None:
        yield from _unmeasured(gates, measured, task.metrics if task else ())
    shape = gates.min_speedup.shape if gates.min_speedup else None
    if deploy is not None and shape is not None and shape not in deploy.shapes:
        listed = ", ".join(str(one) for one in deploy.shapes)
        yield Fault(("gates", "min_speedup", "shape"), f"{shape} is not among deploy.shapes ({listed})")


def _unmade(recipe: Recipe) -> Iterator[Fault]:
    """A precision that no stage makes; where nothing is exported, it says what others will make of the result."""
    made = recipe.precision_made
    if made is None:
        return
    yield from _unfit_for_target(recipe, made)
    if recipe.deploy.precision == "fp32":
        return
    if made != (wanted := recipe.deploy.precision):
        instead = "leave out `quantize` and " if made in ("int8", "int4") else ""
        mends = {
            "int8": "add `quantize` after `export`",
            "int4": "add `quantize: {method: weight_int4}` after `export`",
            **{name: f"{instead}set `export: {{precision: {name}}}`" for name in ("fp16", "bf16")},
        }
        reason = f"the result has {made}: {mends[wanted]}, or leave it out"
        yield Fault(("deploy", "precision"), f"no stage makes {wanted!r}, {reason}")


def _unfit_for_target(recipe: Recipe, made: str) -> Iterator[Fault]:
    """What is exported for a target that can't run what is made of it, or is not written so that it can be made."""
    index = [name_of("stages", stage) for stage in recipe.stages].index("export")
    place: tuple[Key, ...] = ("stages", index, "export")
    target: Target | None = getattr(recipe.stages[index], "target", None)
    if target is not None and (reason := why_not(target, made)):
        yield Fault((*place, "target"), reason)
    elif target not in (None, "cpu") and kernels_of(target, made) != kernels_of(target, recipe.deploy.precision):
        yield Fault(
            ("deploy", "precision"),
            f"is {recipe.deploy.precision!r}, by which `export` writes its graph for {target}, but `quantize` makes "
            f"{made} of it, which needs another graph: set {made!r}",
        )


def _section(values: Mapping[str, Any], key: str, kind: type[AnySettings]) -> AnySettings | None:
    """One section of a recipe; None when it has faults, which are listed already."""
    try:
        return kind.model_validate(values.get(key, {}))
    except ValidationError:
        return None


def _task(values: Mapping[str, Any]) -> Task | None:
    """The recipe's task; None when it is not known."""
    model = values.get("model")
    name = model.get("task") if isinstance(model, dict) else None
    return task_of(name) if name in catalog.names("tasks") else None


def _unfitting(task: Task, measured: Measure | None, gates: Gates | None) -> Iterator[Fault]:
    """Metrics that can't judge what the task decides."""
    fitting = metrics_for(task.target)
    asked: list[tuple[tuple[Key, ...], str]] = []
    if measured is not None:
        asked += [(("measure", "metrics", place), name) for place, name in enumerate(measured.metrics)]
    if gates is not None and gates.max_quality_drop:
        asked.append((("gates", "max_quality_drop", "metric"), gates.max_quality_drop.metric))
    for path, name in asked:
        if name not in fitting:
            wanted = ", ".join(fitting)
            yield Fault(path, f"{name!r} does not fit the task {task.name}; wanted one of {wanted}")


def _unmeasured(gates: Gates, measured: Measure, of_task: tuple[str, ...]) -> Iterator[Fault]:
    """Gates on what is not measured."""
    for name in ("min_speedup", "min_compression"):
        gate = getattr(gates, name)
        if gate and gate.baseline not in measured.baselines:
            listed = ", ".join(measured.baselines)
            yield Fault(("gates", name, "baseline"), f"{gate.baseline!r} is not among measure.baselines ({listed})")
    metrics = measured.metrics or of_task
    if gates.max_quality_drop and metrics and gates.max_quality_drop.metric not in metrics:
        wanted, listed = gates.max_quality_drop.metric, ", ".join(metrics)
        yield Fault(("gates", "max_quality_drop", "metric"), f"{wanted!r} is not among measure.metrics ({listed})")


def _listing(
    file: Path, document: Document, values: Any, faults: Sequence[Fault], changed: Mapping[tuple[Key, ...], str]
) -> str:
    """Every fault on a line of its own, in the order of the file; what `--set` put in is told by that option."""
    placed: list[tuple[Place, str, str]] = []
    for fault in faults:
        _, place = document.place(fault.path)
        name = ".".join(str(key) for key in _keys_in(values, fault.path)) or "recipe"
        new = len(_keys_in(document.values, fault.path)) < len(fault.path)  # the file has no such place
        option = next((text for keys, text in changed.items() if _is_of(fault.path, keys, new=new)), None)
        where = f"{file}:{place}" if option is None else f"--set {option}"
        placed.append((place, where, f"{name}: {fault.message}"))
    placed.sort(key=lambda item: (item[0].line, item[0].column))
    return "\n".join(f"{where}: {text}" for where, text in dict.fromkeys((where, text) for _, where, text in placed))


def _is_of(path: Sequence[Key], keys: Sequence[Key], *, new: bool) -> bool:
    """Whether a fault at `path` is of what `--set` put at `keys`: there or below it, or in a block made for it."""
    return tuple(path[: len(keys)]) == tuple(keys) or (new and tuple(keys[: len(path)]) == tuple(path))


def _keys_in(values: Any, path: Sequence[Key]) -> list[Key]:
    """The components of `path` that are keys of `values`; validators add others."""
    found: list[Key] = []
    for key in path:
        if (isinstance(values, dict) and key in values) or (isinstance(values, list) and key in range(len(values))):
            values = values[key]  # type: ignore[index]  # an index of a list is in that range, so it is a number
            found.append(key)
    return found


def stage_name(position: int, stage: Any, *, prepare: bool = False) -> str:
    """How run folders and reports call a stage: `01-distill`, or `p1-finetune` where it prepares the reference.

    >>> from compress.stages.quantize import Quantize
    >>> stage_name(4, Quantize())
    '04-quantize'
    """
    name = name_of("stages", stage)
    return f"p{position}-{name}" if prepare else f"{position:02d}-{name}"
