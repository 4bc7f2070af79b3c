"""What is measured and how: the reference in its usual forms, every stage's outcome, and the sitting's conditions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from compress.baselines import BASELINES, Baseline, obstacle_to
from compress.bundle import Bundle, Form, OnnxGraph
from compress.data import Split
from compress.deploy import Deploy
from compress.graph.build import build_graph
from compress.graph.half import float16
from compress.graph.target import kernels_of, target_of
from compress.inputs import probes
from compress.progress import Tell
from compress.recipe import Measure, Recipe
from compress.runner import Executed
from compress.task import Task
from evaluation.measurement import Skipped, Target
from evaluation.sitting import Conditions, Subject

REFERENCE = "torch-fp32"
"""The reference as its owner runs it: quality drops are measured against it."""


def baseline_subjects(
    recipe: Recipe, reference: Bundle, scratch: Path, device: str, tell: Tell
) -> tuple[list[Subject], list[Skipped]]:
    """The reference in each way that the recipe wants it measured, and what can't be measured here."""
    subjects: list[Subject] = []
    skipped: list[Skipped] = []
    # Quality is always measured against the reference as its owner runs it, asked for or not.
    for name in dict.fromkeys((REFERENCE, *recipe.measure.baselines)):
        baseline = BASELINES[name]
        if obstacle := obstacle_to(name, device):
            skipped.append(Skipped(target=name, reason=obstacle))
            continue
        bundle, form = reference, Form.TORCH
        if baseline.attention is not None:
            tell("baselines", 0.0, f"export {name}")
            bundle, form = replace(reference, model=_exported(reference, baseline, scratch / name, device)), Form.ONNX
            tell("baselines", 1.0, "done")
        target = Target(name=name, kind="baseline", title=name, runtime=baseline.runtime, form=form.value)
        subjects.append(Subject(target, bundle))
    return subjects, skipped


def _exported(reference: Bundle, baseline: Baseline, folder: Path, device: str) -> OnnxGraph:
    """The reference as an `export` stage that says nothing more would write it."""
    assert baseline.attention is not None, "a baseline that runs a graph says in which form"
    kernels = kernels_of(target_of(device, baseline.precision), baseline.precision)
    graph = build_graph(reference, folder / "model.onnx", attention=baseline.attention, kernels=kernels)
    if baseline.precision == "fp32":
        return graph
    inputs = (inputs for _, inputs in probes(reference, seed=0))
    return float16(graph, folder / "model_fp16.onnx", inputs)[0]


def conditions_of(
    how: Measure,
    *,
    test: Split,
    task: Task,
    deploy: Deploy,
    device: str,
    seed: int,
    margins: Mapping[str, float] | None = None,
) -> Conditions:
    """The sitting that a recipe's `measure` asks for.

    Args:
        task: whose metrics are measured where none are asked for.
        margins: the drop that a gate allows, by metric.
    """
    return Conditions(
        test=test,
        deploy=deploy,
        device=device,
        metrics=how.metrics or task.metrics,
        seed=seed,
        rounds=how.rounds,
        processes=how.processes,
        footprint=how.footprint,
        margins=margins or {},
        quote=how.quote,
        price=how.price,
    )


def step_subjects(recipe: Recipe, executed: Executed) -> list[Subject]:
    """Each stage's outcome, the last one as `result`."""
    subjects = []
    last_torch = [outcome for outcome in executed.stages if outcome.bundle.form is Form.TORCH][-1:]
    for outcome in executed.stages:
        last = outcome is executed.stages[-1]
        graph = outcome.bundle.graph if outcome.bundle.form is Form.ONNX else None
        file = "model.safetensors" if outcome in last_torch else f"onnx/{graph.file_name}" if graph else ""
        runtime = recipe.deploy.runtime if outcome.bundle.form is Form.ONNX else REFERENCE
        target = Target(
            name="result" if last else outcome.name,
            kind="result" if last else "stage",
            title=outcome.step.stage,
            runtime=runtime,
            form=outcome.bundle.form.value,
            stage=outcome.name,
            file=file,
        )
        subjects.append(Subject(target, outcome.bundle))
    return subjects
