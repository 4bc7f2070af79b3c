"""`compress plan`: everything that `run` would do, with sizes, memory and time foretold, and nothing done."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import recipes
from compress.anatomy import Anatomy, anatomy_of
from compress.bundle import Form
from compress.data import Split, load_data
from compress.family import family_of
from compress.folder import check_label_order, read_config, stock_model
from compress.lineage import digest_of
from compress.preflight import check, check_labels
from compress.recipe import Recipe, read_recipe, stage_name
from compress.sources import Lock, Sources
from compress.store import cache_root
from compress.task import label_maps, task_of
from compress.training import Training

Planned = dict[str, Any]

TOKENS_PER_WORD = 1.4
"""Word pieces and special tokens for each word of English; a plan needs no tokenizer for this much."""
LIBRARIES_BYTES = 900_000_000
"""What torch, transformers and onnxruntime take before any model is there."""
BLOCK_SECONDS = 8.0
"""What timing one target at one shape takes, all rounds together."""
EFFICIENCY = 0.4
"""Of a large matrix product's speed, what training small batches reaches."""


def plan(recipe_name: str, changes: Sequence[str]) -> Planned:
    """The resolved recipe and, as far as its sources are at hand, what each stage will leave and take.

    Nothing is fetched and nothing written: figures that need a source that is not here yet are left out.

    Raises:
        RecipeError: every fault of the recipe at once.
    """
    file = recipes.find(recipe_name)
    recipe = read_recipe(file, changes)
    sources = Sources(cache_root(), file.parent, Lock.read(Lock.beside(file)))
    missing = [" or ".join(tried) for tried in recipe.sources if not sources.at_hand(tried)]
    planned: Planned = {"name": recipe.name, "key": digest_of(recipe.resolved()), "missing_sources": missing}
    stages = [name for name, _ in _named(recipe)][len(recipe.prepare) :]
    planned["measured"] = [*recipe.measure.baselines, *stages[:-1], "result"]
    if missing:
        planned["stages"] = [{"name": name} for name, _ in _named(recipe)]
    else:
        splits = load_data(recipe.data, sources)
        check_labels(recipe, splits)
        planned["data"] = {"train": len(splits.train), "dev": len(splits.dev), "test": len(splits.test)}
        folder = sources.fetch(recipe.model.source).path
        anatomy, longest = _source_anatomy(folder, recipe, splits.label_names)
        check(recipe, anatomy, longest=longest, device="cpu")
        planned |= _foretold(recipe, anatomy, splits.train)
    planned["recipe"] = recipe.resolved()
    return planned


def to_text(planned: Planned) -> str:
    """A row a stage, then what is not known yet."""
    lines = [f"{planned['name']}: {len(planned['stages'])} stages; measured: {', '.join(planned['measured'])}"]
    if "data" in planned:
        lines.append("data: " + ", ".join(f"{count:,} {split}" for split, count in planned["data"].items()))
    width = max(len(stage["name"]) for stage in planned["stages"])
    for stage in planned["stages"]:
        lines.append(f"  {stage['name']:<{width}}  {_row(stage)}".rstrip())
    if "memory_bytes" in planned:
        minutes, gigabytes = planned["seconds"] / 60, planned["memory_bytes"] / 1e9
        lines.append(f"about {minutes:.1f} minutes of training and measuring here, {gigabytes:.1f} GB of memory")
    for source in planned["missing_sources"]:
        lines.append(f"not here yet, so sizes and times are unknown: {source}")
    return "\n".join(lines)


def _row(stage: Planned) -> str:
    if "parameters" not in stage:
        return ""
    flops = ", ".join(f"{value / 1e9:.2f} at {shape}" for shape, value in stage["flops"].items())
    seconds = f"; {stage['seconds']:.0f} s" if stage["seconds"] else ""
    return (
        f"{stage['parameters'] / 1e6:.1f} M parameters ({stage['encoder_parameters'] / 1e6:.1f} M in the encoder), "
        f"{stage['bytes'] / 1e6:.1f} MB, GFLOPs {flops}{seconds}"
    )


def _named(recipe: Recipe) -> list[tuple[str, Any]]:
    prepared = [(stage_name(i, stage, prepare=True), stage) for i, stage in enumerate(recipe.prepare, start=1)]
    return [*prepared, *((stage_name(i, stage), stage) for i, stage in enumerate(recipe.stages, start=1))]


def _source_anatomy(folder: Path, recipe: Recipe, labels: Sequence[str]) -> tuple[Anatomy, int]:
    """The source's anatomy and longest input from its config alone, so that a plan costs no memory."""
    config = read_config(folder)
    if not recipe.prepare:
        check_label_order(config, folder, tuple(labels))
    family = family_of(config.get("model_type", "missing"))
    model = stock_model({**config, **label_maps(labels)}, task_of(recipe.model.task))
    return anatomy_of(model, family), int(config.get("max_position_embeddings", 10**9))


def _foretold(recipe: Recipe, anatomy: Anatomy, train: Split) -> Planned:
    """Sizes after each stage, and seconds of training on this machine."""
    tokens = TOKENS_PER_WORD * sum(len(text.split()) for text in train.take(500).texts) / min(500, len(train))
    rate = EFFICIENCY * _flops_per_second(recipe.deploy.thread_count)
    reference, form = anatomy, Form.TORCH
    rows: list[Planned] = []
    memory = LIBRARIES_BYTES
    for name, stage in _named(recipe):
        anatomy = stage.predict(anatomy)
        if name.startswith("p"):
            reference = anatomy
        work = 0.0
        if isinstance(stage, Training):
            # Forward, and twice that for the backward pass; distillation runs the teacher forward besides.
            teacher = reference if "distill" in name else None
            passes = 3 * anatomy.flops(1, round(tokens)) + (teacher.flops(1, round(tokens)) if teacher else 0)
            work = stage.epochs * len(train) * passes
            memory = max(memory, LIBRARIES_BYTES + _training_bytes(anatomy, reference, stage.batch, tokens))
        form = stage.produces
        width = 1 if "quantize" in name or (rows and rows[-1]["width"] == 1) else 4
        rows.append(_stage_row(name, anatomy, recipe, width) | {"form": form.value, "seconds": work / rate})
    held = sum(row["bytes"] for row in rows) + 3 * 4 * reference.parameters
    training = sum(row["seconds"] for row in rows)
    targets = len(recipe.measure.baselines) + len(recipe.stages)
    measuring = targets * len(recipe.deploy.shapes) * BLOCK_SECONDS
    return {
        "stages": rows,
        "seconds": training + measuring,
        "seconds_measuring": measuring,
        "memory_bytes": max(memory, LIBRARIES_BYTES + 2 * held),
    }


def _stage_row(name: str, anatomy: Anatomy, recipe: Recipe, width: int) -> Planned:
    return {
        "name": name,
        "parameters": anatomy.parameters,
        "encoder_parameters": anatomy.encoder_parameters,
        "bytes": anatomy.parameters * width,
        "width": width,
        "flops": {str(shape): anatomy.flops(shape.batch, shape.tokens) for shape in recipe.deploy.shapes},
    }


def _training_bytes(anatomy: Anatomy, teacher: Anatomy, batch: int, tokens: float) -> int:
    """Weights, gradients, AdamW's two moments and the best epoch's copy; the teacher; what is kept for going back."""
    widest = max((group.units * group.slices[0].span for group in anatomy.groups), default=0)
    kept = 16 * batch * tokens * widest * anatomy.layers * 4
    return round(4 * (6 * anatomy.parameters + teacher.parameters) + kept)


def _flops_per_second(threads: int) -> float:
    """The speed of a large float32 matrix product here, over a fifth of a second."""
    import torch

    torch.set_num_threads(threads)
    side = 768
    left, right = torch.rand(side, side), torch.rand(side, side)
    started, done = time.perf_counter(), 0
    while time.perf_counter() - started < 0.2:
        left @ right
        done += 1
    return done * 2 * side**3 / (time.perf_counter() - started)
