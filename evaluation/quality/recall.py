"""How much of what is true is found: the recall of every label, tag and type of entity, example by example."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from evaluation.metrics.entity_f1 import OUTSIDE, EntityF1
from evaluation.metrics.words import same_width

Recall = tuple[str, str, np.ndarray]
"""What it is of ("label", "tag" or "entity"), its name, and what is known of each example that holds it: whether it was
found, (examples, 1), or how many were found and how many are true, (examples, 2)."""


def recalls(target: str | None, truth: np.ndarray, decisions: np.ndarray, names: Sequence[str]) -> Iterator[Recall]:
    """One for every name where an example may hold several: of labels, of entities' types where some words are outside
    of all, else of tags.

    Args:
        target: what the task's labels are; nothing comes of others than "classes" and "tags".
        truth: int (examples, labels) of 0 and 1; or tags (examples, words), -100 where no word is.
        decisions: likewise.
        names: of labels or tags.
    """
    if target == "classes":
        for index, name in enumerate(names):
            yield "label", name, decisions[truth[:, index] > 0, index : index + 1].astype(np.int64)
    if target == "tags":
        entities = OUTSIDE in names
        counted = EntityF1(names=tuple(names)).by_type(truth, decisions) if entities else _tags(truth, decisions, names)
        for name, counts in counted:
            yield "entity" if entities else "tag", name, counts[counts[:, 1] > 0]


def _tags(truth: np.ndarray, decisions: np.ndarray, names: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    truth, decisions = same_width(truth, decisions)
    for index, name in enumerate(names):
        true = truth == index
        yield name, np.stack([(true & (decisions == index)).sum(-1), true.sum(-1)], axis=-1)
