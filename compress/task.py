"""What a model is for, as a value with behaviour: `Task`. One file of `tasks/` holds one task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from compress import catalog
from compress.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from jaxtyping import Float, Int
    from torch import Tensor
    from transformers import PretrainedConfig, PreTrainedModel


class Task(Protocol):
    """What goes in, what comes out, how an answer is read from it and how it is judged."""

    name: ClassVar[str]
    outputs: ClassVar[tuple[str, ...]]
    """Names of the graph's outputs; the first is the one that is decided on."""
    metrics: ClassVar[tuple[str, ...]]
    """The metrics measured when a recipe names none."""

    def build(self, config: PretrainedConfig) -> PreTrainedModel:
        """The stock class for this task with fresh weights."""

    def read(self, folder: Path, labels: Sequence[str]) -> tuple[PreTrainedModel, tuple[str, ...]]:
        """The model in a hub folder, in float32, with a head for `labels`; and the names of the weights that the
        folder does not hold, or not in that shape, which were drawn anew."""

    def scores(self, outputs: Any) -> Float[Tensor, "batch ..."]:
        """What is decided on, out of all that the model's forward pass gives."""

    def loss(self, logits: Float[Tensor, "batch label"], labels: Int[Tensor, "batch"]) -> Float[torch.Tensor, ""]:
        """The training loss against the true labels, averaged over the batch."""

    def decide(self, scores: Float[np.ndarray, "example label"]) -> Int[np.ndarray, "example"]:
        """The answer that the model's scores stand for."""


def task_of(name: str) -> Task:
    """The task called `name`.

    Raises:
        ModelError: there is none; the message names the known ones.
    """
    try:
        task: Task = catalog.load("tasks", name)()
    except KeyError:
        known = catalog.names("tasks")
        raise ModelError(f"no task {name!r}; known: {', '.join(known)}{catalog.closest(name, known)}") from None
    return task


def label_maps(labels: Sequence[str]) -> Mapping[str, Mapping[int, str] | Mapping[str, int]]:
    """`id2label` and `label2id` as a hub config holds them."""
    return {"id2label": dict(enumerate(labels)), "label2id": {label: index for index, label in enumerate(labels)}}
