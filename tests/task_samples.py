"""Examples of every task that a tiny model can learn: what a text is labelled with follows from the words in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from tiny import BAD, GOOD, LABELS, tiny_bundle, tiny_split
from transformers import AutoConfig

from compress import catalog
from compress.bundle import Bundle
from compress.data import Split
from compress.task import Task


def sample(task: Task, name: str, count: int, *, seed: int = 0) -> Split:
    """A split of `count` examples for `task`, labelled by which of `GOOD` and `BAD` their text holds."""
    return _SAMPLES[task.name](tiny_split(name, count, seed=seed), np.random.default_rng(seed))


def task_bundle(task: Task, family: str | None = None, *, seed: int = 0) -> Bundle:
    """A tiny model of a family with a head for `task`, with random weights."""
    names = sample(task, "some", 4).label_names
    made = tiny_bundle(family or fitting_families(task)[0], labels=names or LABELS, seed=seed, task=task.name)
    return replace(made, labels=names, task=task.fitted(made.config))


def untrained_bundle(task: Task, *, seed: int = 0) -> Bundle:
    """A tiny model with the weights that transformers draws, which learn faster than lively ones."""
    made = task_bundle(task)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return made.with_model(task.build(AutoConfig.for_model(**made.config)).eval())


def fitting_families(task: Task) -> list[str]:
    """The families whose models read what the task gives them, BERT first."""
    wanted = "pixel_values" if task.modality == "image" else "input_ids"
    families = {name: catalog.load("families", name) for name in catalog.names("families")}
    fitting = [
        name for name, family in families.items() if wanted in family.inputs and task.causal in (None, family.causal)
    ]
    return sorted(fitting, key=lambda name: name != "bert")


def _classes(split: Split, _random: np.random.Generator) -> Split:
    return split


def _pictures(split: Split, random: np.random.Generator) -> Split:
    """Noise, light for one class and dark for the other."""
    from io import BytesIO

    from PIL import Image

    pictures = []
    for label in split.labels:
        pixels = random.integers(0, 120, size=(16, 16, 3)) + 130 * int(label)
        content = BytesIO()
        Image.fromarray(pixels.astype(np.uint8)).save(content, format="PNG")
        pictures.append(content.getvalue())
    names = tuple(f"sha256:{place}" for place in range(len(split)))
    return Split(split.name, names, None, split.labels, split.label_names, tuple(pictures))


def _several(split: Split, _random: np.random.Generator) -> Split:
    labels = np.stack([split.labels, 1 - split.labels, np.zeros_like(split.labels)], axis=1).astype(np.int8)
    return Split(split.name, split.texts, None, labels, ("good", "bad", "never"))


def _numbers(split: Split, random: np.random.Generator) -> Split:
    labels = split.labels * 2.0 - 1 + random.normal(0, 0.01, len(split))
    return Split(split.name, split.texts, None, labels, ("score",))


def _tags(split: Split, _random: np.random.Generator) -> Split:
    """A word is tagged by itself: by which third of the words it is in."""
    tagged = [[int(word[1:]) // 20 for word in text.split(" ")] for text in split.texts]
    labels = np.full((len(split), max(map(len, tagged))), -100)
    for row, tags in enumerate(tagged):
        labels[row, : len(tags)] = tags
    return Split(split.name, split.texts, None, labels, ("B-one", "B-two", "O"))


def _spans(split: Split, _random: np.random.Generator) -> Split:
    """The question is always the same; the answer is the word that the context is labelled by."""
    labels = np.empty((len(split), 1, 2), dtype=np.int64)
    for row, (text, label) in enumerate(zip(split.texts, split.labels, strict=True)):
        words, answer = text.split(" "), GOOD if label else BAD
        place = sum(len(word) + 1 for word in words[: words.index(answer)])
        labels[row, 0] = place, place + len(answer)
    return Split(split.name, ("w70",) * len(split), split.texts, labels, ())


def _pairs(split: Split, random: np.random.Generator) -> Split:
    """Two texts that agree, or not, in the word that they are labelled by."""
    other = random.permutation(len(split))
    labels = (split.labels == split.labels[other]).astype(np.float64)
    return Split(split.name, split.texts, tuple(split.texts[row] for row in other), labels, ("score",))


def _unlabelled(split: Split, _random: np.random.Generator) -> Split:
    return Split(split.name, split.texts)


_SAMPLES: dict[str, Callable[[Split, np.random.Generator], Split]] = {
    "fill-mask": _unlabelled,
    "image-classification": _pictures,
    "multi-label-classification": _several,
    "question-answering": _spans,
    "sentence-embedding": _pairs,
    "text-classification": _classes,
    "text-generation": _unlabelled,
    "text-regression": _numbers,
    "token-classification": _tags,
}
