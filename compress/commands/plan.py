"""`compress plan`: everything that `run` would do, with sizes, memory and time foretold, and nothing done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import recipes
from compress.anatomy import Anatomy
from compress.baselines import obstacle_to
from compress.commands.device import resolved_device
from compress.data import load_data
from compress.errors import ModelError
from compress.folder import check_label_order, read_config
from compress.garbage import uncollected
from compress.lineage import digest_of
from compress.memory import Phase, Texts, peak
from compress.outline import Ask, Outline
from compress.preflight import (
    check,
    check_labels,
    check_runtime,
    check_sources,
    longest_input,
    needs,
    shortage,
    texts_of,
    unfit_for,
)
from compress.recipe import SECONDS_A_ROUND, Recipe, read_recipe, stage_name
from compress.security import check_weights
from compress.sources import Lock, Sources
from compress.store.store import cache_root
from compress.task import task_of
from compress.training.distillation import Distillation
from compress.training.loop import Training, trainings_of
from compress.weights import stored_weights

Planned = dict[str, Any]

TWINS = 2
"""Targets that are timed twice, in a usual recipe."""
QUALITY_SECONDS = 5.0
"""What predicting a test split of some thousand texts with one target takes."""
FOOTPRINT_SECONDS = 5.0
"""What the fresh process takes in which a target's load time and memory are measured."""
EFFICIENCY = 0.4
"""Of a large matrix product's speed, what training small batches reaches."""
FLOAT_BYTES = 4.0


def plan(recipe_name: str, changes: Sequence[str], ask: Ask) -> Planned:
    """The resolved recipe and, as far as its sources are at hand, what each stage will leave and take.

    Nothing is fetched and nothing written: figures that need a source that is not here yet are left out. Memory is
    foretold for runs on a CPU.

    Args:
        ask: from `outlining`, which had better be entered before this module is imported: loading the model classes
            takes longest, and can go on beside everything else.

    Raises:
        RecipeError: every fault of the recipe at once.
        CompressError: a fault of data or model that `run` would find as well.
    """
    file = recipes.find(recipe_name)
    recipe = read_recipe(file, changes)
    sources = Sources(cache_root(), file.parent, Lock.read(Lock.beside(file)))
    check_sources(recipe, sources)
    missing = [" or ".join(tried) for tried in recipe.sources.values() if not sources.at_hand(tried)]
    planned: Planned = {"name": recipe.name, "key": digest_of(recipe.resolved()), "missing_sources": missing}
    stages = [name for name, _ in _named(recipe)][len(recipe.prepare) :]
    device, planned["stops"] = _device(recipe)
    # Whether a runtime is to be had is known once it is loaded, which is for a plan that has figures.
    baselines = () if missing else recipe.measure.baselines
    skipped = {name: reason for name in baselines if (reason := obstacle_to(name, device))}
    planned["measured"] = [*(name for name in recipe.measure.baselines if name not in skipped), *stages[:-1], "result"]
    planned["skipped"] = [{"target": name, "reason": reason} for name, reason in skipped.items()]
    if missing:
        planned["stages"] = [{"name": name} for name, _ in _named(recipe)]
    else:
        with uncollected():
            planned |= _looked_into(recipe, sources, ask)
    planned["recipe"] = recipe.resolved()
    return planned


def to_text(planned: Planned) -> str:
    """A row a stage, then what is not known yet."""
    lines = [f"{planned['name']}: {len(planned['stages'])} stages; measured: {', '.join(planned['measured'])}"]
    lines += [f"not measured here: {one['target']}: {one['reason']}" for one in planned["skipped"]]
    if "data" in planned:
        lines.append("data: " + ", ".join(f"{count:,} {split}" for split, count in planned["data"].items()))
        lines.append(f"model: {planned['source_bytes'] / 1e6:.1f} MB as it is stored ({planned['stored_as']})")
    width = max(len(stage["name"]) for stage in planned["stages"])
    for stage in planned["stages"]:
        lines.append(f"  {stage['name']:<{width}}  {_row(stage)}".rstrip())
    if "seconds" in planned:
        lines.append(f"about {planned['seconds'] / 60:.1f} minutes of training and measuring here{_memory(planned)}")
    if planned["stops"]:
        lines.append(f"`run` stops here: {planned['stops']}")
    if planned.get("shortage"):
        lines.append(f"may not fit: {planned['shortage']}")
    for source in planned["missing_sources"]:
        lines.append(f"not here yet, so sizes and times are unknown: {source}")
    return "\n".join(lines)


def _row(stage: Planned) -> str:
    if "parameters" not in stage:
        return ""
    flops = ", ".join(f"{value / 1e9:.2f} at {shape}" for shape, value in stage["flops"].items())
    seconds = f"; {stage['seconds']:.0f} s" if stage["seconds"] else ""
    memory = f"; {stage['memory_bytes'] / 1e9:.1f} GB of memory" if "memory_bytes" in stage else ""
    return (
        f"{stage['parameters'] / 1e6:.1f} M parameters ({stage['encoder_parameters'] / 1e6:.1f} M in the encoder), "
        f"{stage['bytes'] / 1e6:.1f} MB, GFLOPs {flops}{seconds}{memory}"
    )


def _memory(planned: Planned) -> str:
    if "memory_bytes" not in planned:
        return ""
    dearest = max(planned["memory"], key=lambda phase: phase["bytes"])
    return f", {planned['memory_bytes'] / 1e9:.1f} GB of memory at the peak, in {dearest['phase']}"


def _device(recipe: Recipe) -> tuple[str, str]:
    """What the recipe runs on, and why this machine, which it may not be meant for, can't; empty where it can."""
    try:
        device = resolved_device(recipe.deploy.device)
    except ModelError as fault:
        wanted = recipe.deploy.device
        return wanted, "; ".join(filter(None, (str(fault), unfit_for(recipe, wanted))))
    return device, unfit_for(recipe, device)


def _named(recipe: Recipe) -> list[tuple[str, Any]]:
    prepared = [(stage_name(i, stage, prepare=True), stage) for i, stage in enumerate(recipe.prepare, start=1)]
    return [*prepared, *((stage_name(i, stage), stage) for i, stage in enumerate(recipe.stages, start=1))]


def _looked_into(recipe: Recipe, sources: Sources, ask: Ask) -> Planned:
    """What model and data tell."""
    task = task_of(recipe.model.task)
    folder = sources.fetch(recipe.model.source).path
    config = read_config(folder)
    check_weights(folder)
    size_bytes, stored_as = stored_weights(folder)
    longest = longest_input(folder, config, task)
    splits = load_data(recipe.data, sources, target=task.target, modality=task.modality)
    check_labels(recipe, splits)
    if not recipe.prepare:
        check_label_order(config, folder, task, tuple(splits.label_names))
    texts = texts_of(recipe, splits, folder, longest=longest)
    check_runtime(recipe, "cpu")
    outline = ask({**config, **task.settings(splits.label_names)}, recipe.model.task, recipe.deploy.thread_count)
    check(recipe, outline.anatomy, longest=longest)
    planned: Planned = {"source_bytes": size_bytes, "stored_as": stored_as}
    planned["data"] = {"train": len(splits.train), "dev": len(splits.dev), "test": len(splits.test)}
    planned |= _foretold(recipe, outline, texts)
    if recipe.deploy.device != "cuda":
        _add_memory(planned, needs(recipe, outline.anatomy, config, texts))
    return planned


def _foretold(recipe: Recipe, outline: Outline, texts: Texts) -> Planned:
    """Sizes after each stage, and seconds of training on this machine."""
    rate = EFFICIENCY * outline.flops_per_second
    anatomy = reference = outline.anatomy
    width = FLOAT_BYTES
    rows: list[Planned] = []
    for position, (name, stage) in enumerate(_named(recipe)):
        work = sum(_work(training, made, reference, texts) for training, made in trainings_of(stage, anatomy))
        anatomy = stage.predict(anatomy)
        width = stage.weight_bytes or width
        if position < len(recipe.prepare):
            reference = anatomy
        row = _stage_row(name, anatomy, recipe, width)
        rows.append(row | {"form": stage.produces.value, "seconds": work / rate})
    targets = len(recipe.measure.baselines) + len(recipe.stages)
    measuring = SECONDS_A_ROUND * recipe.measure.rounds * (targets + TWINS)
    measuring += targets * (QUALITY_SECONDS + FOOTPRINT_SECONDS * recipe.measure.footprint)
    seconds = sum(row["seconds"] for row in rows) + measuring
    return {"stages": rows, "seconds": seconds, "seconds_measuring": measuring}


def _work(training: Training, anatomy: Anatomy, teacher: Anatomy, texts: Texts) -> float:
    """FLOPs of a training: forward, twice that for the backward pass, and the forward pass of who teaches."""
    seen = texts.seen_in(training)
    count = int(seen.rows.sum())
    tokens = round(seen.total / count)
    taught = teacher.flops(1, tokens) if isinstance(training, Distillation) else 0
    return float(training.epochs * count * (3 * anatomy.flops(1, tokens) + taught))


def _stage_row(name: str, anatomy: Anatomy, recipe: Recipe, width: float) -> Planned:
    return {
        "name": name,
        "parameters": anatomy.parameters,
        "encoder_parameters": anatomy.encoder_parameters,
        "bytes": round(anatomy.parameters * width),
        "flops": {str(shape): anatomy.flops(shape.batch, shape.tokens) for shape in recipe.deploy.shapes},
    }


def _add_memory(planned: Planned, phases: Sequence[Phase]) -> None:
    """Each phase with its terms, the peak, and whether it fits."""
    planned["memory"] = [
        {"phase": phase.name, "bytes": phase.size_bytes, "terms": {t.what: round(t.size_bytes) for t in phase.terms}}
        for phase in phases
    ]
    for stage, phase in zip(planned["stages"], phases, strict=False):  # the last phase is the measuring
        stage["memory_bytes"] = phase.size_bytes
    planned["memory_bytes"] = peak(phases).size_bytes
    planned["shortage"] = shortage(list(phases))
