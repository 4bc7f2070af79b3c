"""What can be known before the first hour of training: faults of the whole recipe on this model, data and machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compress.anatomy import Anatomy
from compress.data import Splits
from compress.deploy import check_shapes
from compress.errors import CompressError, DataError, ModelError, SourceError
from compress.family import family_of
from compress.graph.target import why_not
from compress.lengths import lengths_of
from compress.memory import Layers, Phase, Texts, foretold, peak, room
from compress.recipe import Recipe
from compress.runtime import runtime_of
from compress.sources import Sources
from compress.stage import Deploys
from compress.task import Task, task_of

UNLIMITED = 10**9
"""Tokens that a tokenizer reads that sets no limit."""
TOLERANCE = 1.25
"""A run takes what was foretold within this factor: below it, it may still fit."""


def check_sources(recipe: Recipe, sources: Sources) -> None:
    """See that of what the recipe names as files and folders here, each is there, or one of those it names for it.

    Raises:
        SourceError: a line for each that is not, with the place that names it.
    """
    faults = [
        f"{place}: {', '.join(tried)}: no such file or folder in {sources.base.resolve()}, which paths are relative "
        f"to; put it there, or name it: --set {place}=..."
        for place, tried in recipe.sources.items()
        if all(map(sources.is_absent, tried))
    ]
    if faults:
        raise SourceError("\n".join(faults))


def check_labels(recipe: Recipe, splits: Splits) -> None:
    """See that there are labels to train and judge by; asked before a model is read, whose head follows from them.

    Raises:
        DataError: labels that are missing where they are needed.
    """
    if task_of(recipe.model.task).target is None:
        return
    for split in (splits.dev, splits.test):
        if split.labels is None:
            raise DataError(f"{split.name}: no labels, so nothing can be judged on it; give its table a `label`")
    if recipe.prepare and splits.train.labels is None:
        raise DataError("train: no labels to prepare the reference with; give its table a `label`")


def check(recipe: Recipe, anatomy: Anatomy, *, longest: int) -> None:
    """See that every stage can be reached and applied.

    Args:
        anatomy: of the model that goes in.
        longest: tokens that the model reads at most.

    Raises:
        ModelError: a cut that can't be reached.
        DataError: a shape that the model can't read.
    """
    fixed = task_of(recipe.model.task).modality == "image"
    check_shapes(recipe.deploy.shapes, longest, only=fixed)
    for stage in (*recipe.prepare, *recipe.stages):
        if isinstance(stage, Deploys):
            stage.check_deployment(recipe.deploy, longest, fixed=fixed)
        anatomy = stage.predict(anatomy)


def longest_input(folder: Path, config: Mapping[str, Any], task: Task) -> int:
    """Tokens of the longest input that the model in a source folder reads: what `Bundle.max_tokens` will be.

    Positions, the task's own files and the tokenizer's bound it; of pictures it is the only length.

    Raises:
        ModelError: a family that is not known, or files that ask the task for what it can't do.
    """
    positions = family_of(str(config.get("model_type", "missing"))).longest(config)
    limits = [positions, task.described(folder).longest]
    if task.modality == "text":
        limits.append(_tokenizer_limit(folder / "tokenizer_config.json"))
    return min(limit for limit in limits if limit is not None)


def check_runtime(recipe: Recipe, device: str) -> None:
    """See that what the result is meant for runs here; no model is needed to know.

    Raises:
        ModelError: it does not.
    """
    if obstacle := runtime_of(recipe.deploy.runtime).obstacle(device):
        raise ModelError(f"runtime {recipe.deploy.runtime}: {obstacle}")
    if reason := unfit_for(recipe, device):
        raise ModelError(reason)


def unfit_for(recipe: Recipe, device: str) -> str:
    """Why the graph that the stages leave can't run on a GPU; empty where it can, or none is asked for."""
    made = recipe.precision_made
    reason = why_not("cuda", made) if device == "cuda" and made else None
    return f"{reason}: deploy on the CPU, as with `--device cpu`, or leave out `quantize`" if reason else ""


def texts_of(recipe: Recipe, splits: Splits, folder: Path, *, longest: int) -> Texts:
    """How much the model in `folder` is given at once of each split.

    Raises:
        ModelError: the folder's tokenizer.json can't be read.
    """
    task = task_of(recipe.model.task)
    given = {"train": splits.train, "dev": splits.dev, "test": splits.test, "calibration": splits.calibration}
    if splits.transfer is not None:
        given["transfer"] = splits.transfer
    return Texts(**{name: lengths_of(split, folder, task, longest) for name, split in given.items()})


def needs(recipe: Recipe, anatomy: Anatomy, config: Mapping[str, Any], texts: Texts) -> list[Phase]:
    """What each phase of the run takes in memory, on a CPU.

    Args:
        config: the `config.json` of the model that goes in.
    """
    return foretold(recipe, Layers.of(anatomy, config, task_of(recipe.model.task)), texts)


def check_memory(phases: list[Phase]) -> None:
    """See that the run can fit into the memory that is free now.

    Raises:
        CompressError: it can't, even if it takes as little as a foretold peak ever turned out to be.
    """
    dearest, there = peak(phases), room()
    if dearest.size_bytes / TOLERANCE > there.size_bytes:
        raise CompressError(f"memory: {shortage(phases)}")


def shortage(phases: list[Phase]) -> str:
    """What the dearest phase needs, what is there, and what in the recipe makes it smaller; empty where it fits."""
    dearest, there = peak(phases), room()
    if dearest.size_bytes <= there.size_bytes:
        return ""
    most = max(dearest.terms, key=lambda term: term.size_bytes)
    mends = dict.fromkeys(term.mend for term in sorted(dearest.terms, key=lambda term: -term.size_bytes) if term.mend)
    advice = "; ".join(mends) or "a smaller model"
    return (
        f"{dearest.name} needs about {dearest.size_bytes / 1e9:.1f} GB, most of it {most.what} "
        f"({most.size_bytes / 1e9:.1f} GB), and {there.size_bytes / 1e9:.1f} GB is {there.limit}; what helps: {advice}"
    )


def _tokenizer_limit(file: Path) -> int:
    """The tokenizer's own limit, where its settings can be read; reading it later says what is wrong with them."""
    try:
        return int(json.loads(file.read_text(encoding="utf-8")).get("model_max_length", UNLIMITED))
    except (OSError, ValueError, TypeError, AttributeError):
        return UNLIMITED
