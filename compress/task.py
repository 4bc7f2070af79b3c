"""What a model is for, as a value with behaviour: `Task`. One file of `tasks/` holds one task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np

from compress import catalog
from compress.errors import ModelError

if TYPE_CHECKING:
    from jaxtyping import Float, Int, Shaped
    from torch import Tensor, nn
    from transformers import PretrainedConfig, PreTrainedModel

    from compress.batching import Batch, Encoded
    from compress.data import Split

Target = Literal["class", "classes", "number", "tags", "span"]
"""What an example's label is: one class, several classes, a number, a tag for each word, or a span of the text."""

Modality = Literal["text", "image"]


class Task(Protocol):
    """What goes in, what comes out, how an answer is read from it and how it is judged.

    *Rows* are what a model is given; most tasks make one of each example, some make several (the two texts of a pair,
    the windows of a long text). Rows of one example always share a batch.
    """

    name: ClassVar[str]
    modality: ClassVar[Modality] = "text"
    target: ClassVar[Target | None]
    """What the labels are; None for a task that makes its own, from the text."""
    head: ClassVar[str]
    """How the names of transformers' classes for this task end, as `ForTokenClassification`; the Auto class's too."""
    older_head: ClassVar[str] = ""
    """How those of some older classes end, where they end otherwise."""
    causal: ClassVar[bool | None] = None
    """Whether its models are decoders, in which a token sees only what stands before it; None where either will do."""
    outputs: ClassVar[tuple[str, ...]] = ("logits",)
    """Names of the graph's outputs."""
    decided_on: ClassVar[tuple[str, ...]] = ("logits",)
    """Those outputs that the scores are made of; several of one shape are stacked on a new last axis."""
    metrics: ClassVar[tuple[str, ...]]
    """The metrics measured when a recipe names none; the first is the one that an epoch is chosen by."""
    head_reads: ClassVar[Literal["text", "tokens"]] = "text"
    """Whether the head's linear layers run once a row, on one pooled vector, or once for each of its tokens."""
    scores_words: ClassVar[bool] = False
    """Whether each token has a score for every word of the vocabulary."""
    draws: ClassVar[bool] = False
    """Whether `encode` draws at random, so that every epoch has a draw of its own."""

    @classmethod
    def serves(cls, architecture: str) -> bool:
        """Whether a class of transformers that has this name is for this task."""
        ends = tuple(filter(None, (cls.head, cls.older_head)))
        return architecture.endswith(ends)

    def settings(self, labels: Sequence[str]) -> Mapping[str, Any]:
        """What the config of a model with a head for `labels` says of it."""
        return label_maps(labels) if labels else {}

    def fitted(self, config: Mapping[str, Any]) -> Task:
        """The task as a model's config asks for it; itself where no model differs from another."""
        return self

    def described(self, folder: Path) -> Task:
        """The task as the files of a source folder, besides its config, ask for it.

        Raises:
            ModelError: they ask for what the task can't do.
        """
        return self

    @property
    def longest(self) -> int | None:
        """Tokens of the longest text that the model was made for, where that is less than its positions allow."""
        return None

    def build(self, config: PretrainedConfig) -> PreTrainedModel:
        """The stock class for this task with fresh weights."""
        model: PreTrainedModel = _auto_class(self.head).from_config(config)
        return model

    def read(self, folder: Path, labels: Sequence[str], **settings: Any) -> tuple[PreTrainedModel, tuple[str, ...]]:
        """The model in a hub folder, in float32, with a head for `labels`; and the names of the weights that the
        folder does not hold, or not in that shape, which were drawn anew.

        Args:
            settings: keys of the config that are to be other than the folder says.
        """
        return read_stock(_auto_class(self.head), folder, {**self.settings(labels), **settings})

    def accompany(self, config: Mapping[str, Any], max_tokens: int, folder: Path) -> None:
        """Write the files, besides config, weights and tokenizer, that other people's loaders of this task read."""

    def encode(self, split: Split, processor: Any, *, max_tokens: int, seed: int) -> Encoded:
        """The split as rows of model inputs, not yet padded.

        Args:
            max_tokens: a longer text is cut, or spread over several rows.
            seed: decides what a task draws at random; another seed, another draw.
        """

    def rows(
        self, texts: Sequence[Int[np.ndarray, "example"]], special: tuple[int, int], max_tokens: int
    ) -> tuple[Int[np.ndarray, "example"], Int[np.ndarray, "example"]]:
        """How many rows `encode` makes of each example, and the tokens of the longest of them.

        Args:
            texts: tokens of the first texts, and of the second where there are two, without special ones.
            special: special tokens of a row that holds one text, and of one that holds two.
        """
        tokens = np.sum(texts, axis=0) + special[len(texts) - 1]
        return np.ones_like(tokens), np.minimum(tokens, max_tokens)

    def graph(self, model: PreTrainedModel) -> nn.Module:
        """What is exported: a module whose forward pass gives `outputs`, in order."""
        return model

    def scores(self, outputs: Any, inputs: Mapping[str, Tensor]) -> Float[Tensor, "row ..."]:
        """What is decided on, out of all that the model's forward pass gives."""
        import torch

        parts = [getattr(outputs, name) for name in self.decided_on]
        return parts[0] if len(parts) == 1 else torch.stack(parts, dim=-1)

    def losses(self, scores: Float[Tensor, "row ..."], labels: Tensor) -> Float[Tensor, "example"]:
        """The training loss of each example against its label; training takes the mean."""

    def distillation(
        self,
        student: Float[Tensor, "row ..."],
        teacher: Float[Tensor, "row ..."],
        inputs: Mapping[str, Tensor],
        labels: Tensor | None,
        *,
        temperature: float,
    ) -> Float[Tensor, ""]:
        """How far the student's scores are from the teacher's, averaged over the batch."""

    def predict(self, scores: Float[np.ndarray, "row ..."], batch: Batch) -> Float[np.ndarray, "example ..."]:
        """What is kept of a batch's scores: one entry an example, NaN where an example has less than others."""
        return scores

    def decide(self, predictions: Float[np.ndarray, "example ..."]) -> Shaped[np.ndarray, "example ..."]:
        """The answer that the predictions stand for."""

    def comparable(self, first: Float[np.ndarray, "example ..."], second: Float[np.ndarray, "example ..."]) -> bool:
        """Whether two models' predictions answer the same questions."""
        return True

    def alike(
        self, first: Float[np.ndarray, "example ..."], second: Float[np.ndarray, "example ..."]
    ) -> Float[np.ndarray, "example"]:
        """How alike two models' predictions are on each example, 1 at most: whether the decisions are equal."""
        equal = self.decide(first) == self.decide(second)
        alike: np.ndarray = equal.reshape(len(equal), -1).all(axis=1).astype(np.float64)
        return alike


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


def task_in(config: Mapping[str, Any]) -> Task:
    """The task that a hub config's `architectures` and `problem_type` stand for.

    Raises:
        ModelError: it names no class, or one of no known task, or `architectures` is no list of names.
    """
    named = config.get("architectures")
    if not isinstance(named, list | None) or not all(isinstance(name, str) for name in named or ()):
        raise ModelError(f"config.json: architectures is {str(named)[:40]!r}, wanted a list with the name of a class")
    architecture = named[0] if named else ""
    tasks = [task_of(name) for name in catalog.names("tasks")]
    fitting = [task for task in tasks if task.serves(architecture)]
    # Several tasks share a head, and their settings tell them apart; the one that asks for nothing comes last.
    fitting.sort(key=lambda task: "problem_type" not in task.settings(()))
    for task in fitting:
        if task.settings(()).get("problem_type") in (None, config.get("problem_type")):
            return task
    if architecture.endswith("Model"):
        return task_of("sentence-embedding")
    known = ", ".join(sorted({task.head for task in tasks if task.head}))
    raise ModelError(
        f"config.json: architectures names {architecture or 'no class'}, which tells no task; known: classes that end "
        f"in {known}, or in Model for sentence-embedding"
    )


def label_maps(labels: Sequence[str]) -> Mapping[str, Mapping[int, str] | Mapping[str, int]]:
    """`id2label` and `label2id` as a hub config holds them."""
    return {"id2label": dict(enumerate(labels)), "label2id": {label: index for index, label in enumerate(labels)}}


def read_stock(
    auto_class: Any, folder: Path, settings: Mapping[str, Any], **options: Any
) -> tuple[PreTrainedModel, tuple[str, ...]]:
    """The model that a class of transformers reads from a folder, and the weights that it had to draw anew."""
    import torch

    model, info = auto_class.from_pretrained(
        folder,
        dtype=torch.float32,
        use_safetensors=True,  # a pickle can run code when it is opened
        local_files_only=True,
        trust_remote_code=False,
        ignore_mismatched_sizes=True,  # a head for other labels; whether that is allowed is the caller's to say
        output_loading_info=True,
        **settings,
        **options,
    )
    mismatched = [key[0] if isinstance(key, tuple) else key for key in info["mismatched_keys"]]
    return model, (*sorted(info["missing_keys"]), *sorted(mismatched))


def _auto_class(head: str) -> Any:
    import transformers

    return getattr(transformers, f"AutoModel{head}")
