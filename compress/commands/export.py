"""`compress export`: a model that went through no recipe, as an ONNX file that has passed every gate."""

from __future__ import annotations

import shlex
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

from compress.bundle import Bundle, Form
from compress.commands.options import DataOption, asked_rows, asked_shapes, place_of, refuse_absent
from compress.data import Split
from compress.deploy import Deploy, Shape, check_shapes
from compress.errors import DataError, ModelError
from compress.folder import load
from compress.garbage import uncollected
from compress.graph import target as targets
from compress.license import stated_license
from compress.lineage import Lineage
from compress.progress import Tell, shown
from compress.provenance import environment
from compress.release import write_model
from compress.runtimes.onnxruntime import sums_are_whole
from compress.stage import Context, Stage
from compress.stages.export import Export
from compress.stages.quantize import Quantize
from compress.step import applied, sizes
from compress.store.refusals import check_place, writing
from compress.weights import stored_weights
from evaluation.measurement import Comparison, Gate, Measurement, Run, Target, write_run
from reports.card import model_card
from reports.headline import source_note
from reports.table import results_table

Method = Literal["dynamic_int8", "static_int8", "weight_int8", "weight_int4"]
CALIBRATION = 512
"""Rows of `--data` that are read, at most."""
_METHODS: dict[str, Method] = {"int8": "dynamic_int8", "int4": "weight_int4"}
"""By precision, what is made of it where nothing is asked for."""
SOURCE = "source"
FIRST = "01-export"
_CLIPPED = (
    "This CPU adds products of 8-bit integers in 16 bits, where large ones are clipped: the file is less true here "
    "than on a CPU with VNNI. --reduce-range makes one that is the same on both."
)


@dataclass(frozen=True)
class Request:
    """What the user asked to be exported, as typed."""

    model: str
    precision: Literal["fp32", "fp16", "bf16", "int8", "int4"]
    attention: Literal["fused", "plain", "fastest"]
    method: Method | None = None
    """How integers are made; left out: dynamic_int8 and weight_int4."""
    target: targets.Target | None = None
    reduce_range: bool = False
    data: str | None = None
    columns: str | None = None
    latency: str | None = None
    """Where forms are timed, if the fastest is wanted."""
    threads: int | None = None
    seed: int = 13


@dataclass
class _Done:
    """What the stages left, the source first, and what they found out."""

    bundles: list[Bundle]
    gates: list[Gate] = field(default_factory=list)
    tables: dict[str, Any] = field(default_factory=dict)

    def record(self, stage: str, name: str, value: Any) -> None:
        self.tables[f"{stage}.{name}"] = value

    def check(self, stage: str, **gate: Any) -> None:
        self.gates.append(Gate(target=stage, **gate))


def export(request: Request, folder: Path) -> Run:
    """Write the model folder with its graphs, `run.json` and card; return what the file holds and the gates found, of
    which a failed one is for the caller to act on.

    Raises:
        CompressError: it is no model with weights, or the table is not as asked.
    """
    started = time.monotonic()
    _refuse_idle(request)
    _refuse_taken(folder)
    refuse_absent(request.data)
    with uncollected():
        bundle = load(request.model)
    if bundle.form is Form.ONNX:
        raise ModelError(f"{request.model}: is an ONNX graph already; export starts from a folder with safetensors")
    if not bundle.lineage.source_digest:  # a folder of somebody else's: what went in is all that is known
        bundle = replace(bundle, lineage=Lineage(place_of(request.model), bundle.digest))
    deploy, rows = _deploy(request, bundle), _rows(request, bundle)
    with writing(folder, "the exported model"), shown() as tell, tempfile.TemporaryDirectory() as scratch:
        done = _apply(_stages(request), bundle, _context(request, rows, deploy, Path(scratch)), tell)
        run = _as_run(request, deploy, done, time.monotonic() - started)
        stock = bundle.family.fits_stock_class(bundle.module)
        write_model(done.bundles, folder, model_card(run, loads_in_stock_class=stock))
        write_run(run, folder)
    return run


def command_line(request: Request) -> str:
    """The command that asks for this again; files outside the folder it is typed in are told by name alone."""
    words = ["compress", "export", place_of(request.model), "--precision", request.precision]
    words += ["--attention", request.attention]
    words += ["--reduce-range"] if request.reduce_range else []
    for name in ("target", "method", "data", "columns", "latency", "threads"):
        value = getattr(request, name)
        words += [f"--{name}", place_of(str(value))] if value is not None else []
    return shlex.join([*words, "--seed", str(request.seed)])


def to_text(run: Run) -> str:
    """The result as a table, what has to be known of it, and each gate with what it counted."""
    notes = [note.text for note in source_note(run)]
    for row in run.tables.get(f"{FIRST}.attention_forms", ()):
        notes.append(f"{row['form']} attention took {row['latency_ms']:.3g} ms a call, over the shapes asked for")
    notes += [str(run.environment["integers"])] if "integers" in run.environment else []
    gates = [f"passed {gate.name} ({gate.target}): {gate.detail}" for gate in run.gates if gate.passed]
    return "\n".join([results_table(run), *notes, *gates])


def _refuse_idle(request: Request) -> None:
    """An option that would change nothing."""
    if request.target and (reason := targets.why_not(request.target, request.precision)):
        raise DataError(f"--precision {reason}")
    if request.method and (makes := request.method.rpartition("_")[2]) != request.precision:
        raise DataError(f"--method {request.method}: is a way to {makes}; add --precision {makes}")
    plain = request.precision in ("fp32", "bf16", "int8") and request.method in (None, "dynamic_int8")
    chosen = request.attention == "fastest" or not plain
    if chosen and request.data and request.data.endswith((".yaml", ".yml")):
        reason = "what is made follows from it here, and of a recipe it is the test split; name a table of other texts"
        raise DataError(f"--data {request.data}: {reason}")
    if request.reduce_range and (request.precision != "int8" or request.method == "weight_int8"):
        raise DataError("--reduce-range: is of dynamic_int8 and static_int8, whose weights are multiplied as they are")
    if request.precision in _METHODS and request.data is None:
        raise DataError(
            f"--precision {request.precision}: needs --data, a few hundred texts such as the model will read, on which "
            "answers before and after are compared; labels are not looked at"
        )
    if request.columns and request.data is None:
        raise DataError(f"--columns {request.columns}: says what the columns of --data are, and there is no --data")
    if request.attention == "fastest":
        if request.target not in (None, "cpu"):
            raise DataError(f"--attention fastest: is timed on this CPU, and the target is {request.target}")
        if request.data is None:
            raise DataError("--attention fastest: needs --data, whose texts both forms are timed on")
    elif request.latency or request.threads:
        raise DataError("--latency and --threads: say where forms are timed, and need --attention fastest")
    elif request.precision in ("fp32", "bf16") and request.data is not None:
        raise DataError(f"--data: nothing reads it for {request.precision}, unless --attention is fastest")


def _refuse_taken(folder: Path) -> None:
    """The folder is written as a whole, so nothing may be in its place that would be lost."""
    check_place(folder, "the exported model")
    if folder.exists() and any(folder.iterdir()):
        raise DataError(f"{folder}: is not empty, and would be replaced as a whole; choose a new or an empty folder")


def _deploy(request: Request, bundle: Bundle) -> Deploy:
    settled: dict[str, Any] = {"threads": request.threads, "precision": request.precision}
    if request.attention != "fastest":
        return Deploy(**settled)
    asked = asked_shapes(request.latency) if request.latency else (Shape(1, min(128, bundle.max_tokens)),)
    check_shapes(asked, bundle.max_tokens, only=bundle.task.modality == "image")
    return Deploy(**settled, shapes=asked)


def _rows(request: Request, bundle: Bundle) -> Split | None:
    if request.data is None:
        return None
    option = DataOption(request.data, request.columns)
    rows = asked_rows(option, bundle.task, bundle.labels, labelled=False)
    if not len(rows):
        raise DataError(f"{request.data}: no row is left to read, wanted a few hundred")
    return rows.take(CALIBRATION)


def _stages(request: Request) -> list[Stage]:
    if request.precision in ("int8", "int4"):
        method = request.method or _METHODS[request.precision]
        return [
            Export(attention=request.attention, target=request.target),
            Quantize(method=method, reduce_range=request.reduce_range or None),
        ]
    return [Export(attention=request.attention, precision=request.precision, target=request.target)]


def _apply(stages: Sequence[Stage], bundle: Bundle, context: Context, tell: Tell) -> _Done:
    """Each stage on what the one before it left, as a recipe's runner does it, but that nothing is kept for others."""
    done = _Done([bundle])
    for position, stage in enumerate(stages, start=1):
        name = f"{position:02}-{type(stage).__name__.lower()}"
        place = context.scratch / name
        place.mkdir()
        own = replace(
            context,
            scratch=place,
            record=partial(done.record, name),
            check=partial(done.check, name),
            progress=partial(tell, name),
        )
        done.bundles.append(applied(name, stage, done.bundles[-1], own))
        tell(name, 1.0, "done")
    return done


def _context(request: Request, rows: Split | None, deploy: Deploy, scratch: Path) -> Context:
    """What stages that neither train nor judge may look at."""
    import torch

    nothing = Split("none", (), None, None, ())
    torch.set_num_threads(deploy.thread_count)
    return Context(nothing, nothing, rows or nothing, deploy, torch.device("cpu"), request.seed, scratch)


def _as_run(request: Request, deploy: Deploy, done: _Done, seconds: float) -> Run:
    source, *exported = done.bundles
    folder = Path(request.model)
    size_bytes, stored_as = stored_weights(folder)
    names = [SOURCE, *(bundle.lineage.steps[-1].name for bundle in exported[:-1]), "result"]
    return Run(
        name=Path(request.model).resolve().name,
        recipe={"model": {"task": source.task.name, "source": place_of(request.model)}},
        environment={
            **environment("cpu", deploy.thread_count),
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "seconds": round(seconds, 1),
            "command": command_line(request),
            **({"integers": _CLIPPED} if _may_clip(request) and not sums_are_whole() else {}),
        },
        lineage=[vars(step) for step in exported[-1].lineage.steps],
        targets=[_target(name, bundle) for name, bundle in zip(names, done.bundles, strict=True)],
        measurements=[row for name, bundle in zip(names, done.bundles, strict=True) for row in _counted(name, bundle)],
        comparisons=[_compression(name, bundle, source) for name, bundle in zip(names[1:], exported, strict=True)],
        gates=done.gates,
        tables=done.tables | {"source": {"bytes": size_bytes, "stored as": stored_as} | stated_license(folder)},
    )


def _may_clip(request: Request) -> bool:
    """Whether products are of integers whose sums depend on the CPU."""
    return request.precision == "int8" and request.method != "weight_int8" and not request.reduce_range


def _target(name: str, bundle: Bundle) -> Target:
    """The torch model as it came, or a graph that was made of it."""
    if bundle.form is Form.TORCH:
        return Target(name=name, kind="baseline", title="source", runtime="torch-fp32", form="torch")
    step = bundle.lineage.steps[-1]
    return Target(
        name=name,
        kind="result" if name == "result" else "stage",
        title=step.stage,
        runtime="onnxruntime",
        form="onnx",
        stage=step.name,
        file=f"onnx/{bundle.graph.file_name}",
    )


def _counted(name: str, bundle: Bundle) -> list[Measurement]:
    counts = sizes(bundle)
    unit = {"bytes": "bytes"}
    return [
        Measurement(target=name, name=what, value=count, unit=unit.get(what, "parameters"), higher_is_better=False)
        for what, count in counts.items()
    ]


def _compression(name: str, bundle: Bundle, source: Bundle) -> Comparison:
    ratio = sizes(source)["bytes"] / sizes(bundle)["bytes"]
    return Comparison(target=name, baseline=SOURCE, name="compression_ratio", value=ratio, unit="ratio")
