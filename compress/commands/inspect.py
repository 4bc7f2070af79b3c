"""`compress inspect`: what each part of a model costs, and what its attention heads look at and are worth."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.bundle import Bundle, Form
from compress.commands.device import resolved_device
from compress.commands.heads import Asked, Found, criterion_called, find_heads
from compress.commands.keep import check_output
from compress.commands.options import DataOption, asked_rows, asked_shapes, has_labels, place_of, refuse_absent
from compress.data import Split
from compress.deploy import Deploy, Shape, check_shapes
from compress.errors import DataError, ModelError
from compress.folder import load
from compress.inputs import made_up_inputs, timing_inputs
from compress.layer_times import layer_times
from compress.progress import Tell, shown
from compress.provenance import environment
from compress.runtime import Runtime, runtime_of
from compress.runtimes.threads import use_threads
from compress.runtimes.timing import clock_of, time_interleaved
from evaluation.measurement import Measurement, Run, Target
from evaluation.size.flops import work_of
from evaluation.size.layers import flop_rows, parameter_rows
from evaluation.speed.layers import latency_rows, whole_latency
from reports.inspection import in_terminal, write_inspection

if TYPE_CHECKING:
    import numpy as np

FILE_NAME = "inspect.json"
ROUNDS = 8
"""Of timing an ONNX file."""
_TOKENS = 128
_RUNTIMES = {Form.TORCH: "torch-fp32", Form.ONNX: "onnxruntime"}


@dataclass(frozen=True)
class Request:
    """What the user asked to be inspected, as typed."""

    model: str
    data: str | None
    columns: str | None
    latency: str | None
    device: str
    threads: int | None
    seed: int
    examples: int
    criterion: str
    trade_off: bool
    encoder_parameters: float


def inspect(request: Request, output: Path | None) -> Run:
    """Inspect the model; with `output`, also write `inspect.json`, its page and its charts there.

    Raises:
        CompressError: it is no model, the table is not as asked or too short, or a shape or criterion can't be had.
    """
    criterion_called(request.criterion)
    if output is not None:
        check_output(output, "what was found")
    if request.trade_off and request.data is None:
        raise DataError("--trade-off: needs --data with labels, to score heads by some rows and judge by the others")
    if request.columns and request.data is None:
        raise DataError(f"--columns {request.columns}: says what the columns of --data are, and there is no --data")
    refuse_absent(request.data)
    bundle = load(request.model)
    rows, labelled = _rows(request, bundle)
    shapes = _shapes(request.latency, bundle)
    sitting = _Sitting(bundle, request, Deploy(threads=request.threads, shapes=shapes), rows)
    found = Found.nothing()
    with shown() as tell:
        sitting.sizes(found)
        sitting.speed(found, tell)
        if rows is None:
            found.skip("heads", "what they look at and are worth needs --data")
        else:
            asked = Asked(
                rows,
                labelled,
                examples=request.examples,
                criterion=request.criterion,
                keep=request.encoder_parameters if request.trade_off else None,
                deploy=sitting.deploy,
                device=sitting.device,
                seed=request.seed,
            )
            find_heads(sitting.target.name, bundle, sitting.runtime, asked, found, tell)
    machine = environment(sitting.device, sitting.deploy.thread_count)
    run = Run(
        name="inspect",
        environment={**machine, "command": command_line(request)},
        targets=[sitting.target],
        skipped=found.skipped,
        measurements=found.measurements,
        tables={**found.tables, "conditions": found.conditions},
    )
    if output is not None:
        _write(run, output)
    return run


def to_text(run: Run) -> str:
    """The result as tables that read well in a terminal."""
    return in_terminal(run)


def command_line(request: Request) -> str:
    """The command that asks for this again; files outside the folder it is typed in are told by name alone."""
    options: dict[str, Any] = {
        "data": request.data and place_of(request.data),
        "columns": request.columns,
        "latency": request.latency,
        "threads": request.threads,
        "device": request.device,
        "seed": request.seed,
        "examples": request.examples if request.data else None,
        "criterion": request.criterion if request.data else None,
        "encoder-parameters": request.encoder_parameters if request.trade_off else None,
    }
    words = ["compress", "inspect", place_of(request.model)]
    for name, value in options.items():
        words += [f"--{name}", str(value)] if value is not None else []
    return shlex.join([*words, *(["--trade-off"] if request.trade_off else [])])


class _Sitting:
    """One model, where and how it runs, and what it is timed on."""

    def __init__(self, bundle: Bundle, request: Request, deploy: Deploy, rows: Split | None) -> None:
        self.bundle, self.deploy, self._rows, self._seed = bundle, deploy, rows, request.seed
        self.device = resolved_device(request.device)
        name, runtime = _name(request.model), _RUNTIMES[bundle.form]
        self.target = Target(name=name, kind="baseline", title=name, runtime=runtime, form=bundle.form.value)
        self.runtime: Runtime = runtime_of(runtime)
        if obstacle := self.runtime.obstacle(self.device):
            raise ModelError(f"{request.model}: {obstacle}")

    def sizes(self, found: Found) -> None:
        """Parameters and FLOPs, of the whole and part by part."""
        anatomy, on_graph = self.bundle.anatomy, self.bundle.form is Form.ONNX
        for name, count in (
            ("parameters", anatomy.parameters),
            ("encoder_parameters", anatomy.encoder_parameters),
            ("embedding_parameters", anatomy.rest_of("embeddings")),
        ):
            found.measurements.append(self._counted(name, count, "parameters"))
        found.tables["parameters"] = parameter_rows(anatomy)
        found.tables["flops"] = []
        for shape in self.deploy.shapes:
            flops, counted = anatomy.flops(shape.batch, shape.tokens), "anatomy"
            if on_graph:
                work = work_of(self.bundle, shape)
                flops, counted = work.flops, work.counted
            found.measurements.append(self._counted("flops", flops, "FLOPs", **_at(shape), counted=counted))
            found.tables["flops"] += flop_rows(anatomy, shape)
        found.conditions["flops"] = {"counted": "anatomy", "what": "matrix products; a multiply-accumulate as 2"}

    def speed(self, found: Found, tell: Tell) -> None:
        """Latency at every shape: of the whole, and of a torch model layer by layer."""
        ran_on = {"runtime": self.target.runtime, "device": self.device, "threads": self.deploy.thread_count}
        ran_on["tokens_are"] = "random" if self._rows is None else "of --data"
        if self.bundle.form is Form.ONNX:
            found.skip("latency by layer", "an ONNX file runs as one; name the model's folder to time its layers")
        else:
            found.tables["latency"] = []
            found.conditions["latency"] = {**ran_on, "precision": "float32", **_LAYER_TIMING}
        for place, shape in enumerate(self.deploy.shapes):
            tell("latency", place / len(self.deploy.shapes), str(shape))
            conditions = {**ran_on, **_at(shape)}
            rounds = self._time(shape, found)
            found.measurements += whole_latency(self.target.name, rounds, seed=self._seed, conditions=conditions)
        tell("latency", 1.0, "done")

    def _time(self, shape: Shape, found: Found) -> list[np.ndarray]:
        """Calls of the whole model; layers go into their table."""
        if self._rows is None:
            inputs = made_up_inputs(self.bundle, shape, seed=self._seed)
        else:
            inputs = timing_inputs(self.bundle, self._rows, shape)
        if self.bundle.form is Form.TORCH:
            import torch

            use_threads(self.deploy.thread_count)
            times = layer_times(self.bundle, inputs, torch.device(self.device))
            found.tables["latency"] += latency_rows(times, shape, seed=self._seed)
            return times.whole
        session = self.runtime.open(self.bundle, device=self.device, threads=self.deploy.thread_count)
        try:
            calls, clock = {"whole": session.bind(inputs)}, clock_of(self.device)
            return time_interleaved(calls, seed=self._seed, rounds=ROUNDS, clock=clock)["whole"]
        finally:
            session.close()

    def _counted(self, name: str, value: float, unit: str, **where: Any) -> Measurement:
        return Measurement(
            target=self.target.name, name=name, value=value, unit=unit, higher_is_better=False, conditions=where
        )


_LAYER_TIMING = {
    "how": "medians of calls with hooks around layers and their attention, in turns with calls without hooks",
    "attention": "the module of the attention, with its projections, and with its norm where that is in it",
    "ffn_and_norms": "the rest of the layer",
    "outside_layers": "the rest of the call with hooks: embeddings, masks, head, and what the hooks cost",
    "excluded": "tokenization; copying inputs to the device",
}


def _rows(request: Request, bundle: Bundle) -> tuple[Split | None, bool]:
    """What `--data` has, and whether heads can be scored and judged by it.

    Raises:
        DataError: a trade-off is asked for, and there are no labels.
        ModelError: a trade-off is asked for of what can't be cut.
    """
    if request.trade_off and bundle.form is Form.ONNX:
        raise ModelError(f"--trade-off: {request.model} is an ONNX file, which can't be cut; name the model's folder")
    if request.data is None:
        return None, False
    option = DataOption(request.data, request.columns)
    labelled = has_labels(option, bundle.task)
    if request.trade_off and not labelled:
        raise DataError(
            f"--trade-off: {request.data} has no labels to judge by; name their column: "
            "--columns text=COLUMN,label=COLUMN"
        )
    return asked_rows(option, bundle.task, bundle.labels, labelled=labelled), labelled


def _shapes(latency: str | None, bundle: Bundle) -> tuple[Shape, ...]:
    """What is asked for; or one text of usual length, or one picture."""
    is_image, longest = bundle.task.modality == "image", bundle.max_tokens
    usual = Shape(1, longest if is_image else min(_TOKENS, longest))
    shapes = (usual,) if latency is None else asked_shapes(latency)
    check_shapes(shapes, longest, only=is_image)
    return shapes


def _name(model: str) -> str:
    path = Path(model)
    return path.stem if path.suffix == ".onnx" else path.resolve().name


def _at(shape: Shape) -> dict[str, int]:
    return {"batch": shape.batch, "tokens": shape.tokens}


def _write(run: Run, folder: Path) -> None:
    """The document in one step: a reader sees the old file or the new one; then what shows it."""
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f"{FILE_NAME}.draft"
    draft.write_text(json.dumps(run.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(draft, folder / FILE_NAME)
    write_inspection(run, folder)
