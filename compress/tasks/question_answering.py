"""Extractive question answering: a question and a context go in; the span of the context that answers comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from compress.batching import Batch, Encoded, as_rows, encode_texts
from compress.errors import DataError
from compress.task import Target, Task

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from compress.data import Split

LONGEST_ANSWER = 30
"""Tokens of the longest answer that is looked for, as in the SQuAD baselines."""
START, END = 1, 2
"""Marks of the tokens that an answer begins and ends with."""
CANDIDATES = 20
"""Starts, and ends, of highest score that are tried against each other."""


class QuestionAnswering(Task):
    """The start and the end of the answer in the context, in characters; or none.

    A context that is too long becomes several windows that overlap, one row each (Devlin et al. 2019, section 4.2). The
    answer is the best span of any window, unless every window says "none" more strongly (section 4.3).
    """

    name: ClassVar[str] = "question-answering"
    target: ClassVar[Target | None] = "span"
    head: ClassVar[str] = "ForQuestionAnswering"
    head_reads: ClassVar[Literal["text", "tokens"]] = "tokens"
    outputs: ClassVar[tuple[str, ...]] = ("start_logits", "end_logits")
    decided_on: ClassVar[tuple[str, ...]] = ("start_logits", "end_logits")
    metrics: ClassVar[tuple[str, ...]] = ("span_f1", "exact_match")

    def settings(self, labels: Sequence[str]) -> Mapping[str, Any]:
        return {"num_labels": 2}  # a start and an end

    def encode(self, split: Split, processor: Any, *, max_tokens: int, seed: int) -> Encoded:
        if split.pairs is None:
            raise DataError(
                f"{split.name}: question-answering needs a question and a context: roles text and text_pair"
            )
        question, stride = _shares(max_tokens)
        texts = _shortened(split.texts, processor, question)
        found = encode_texts(
            texts,
            split.pairs,
            processor,
            max_tokens=max_tokens,
            wanted=("word_ids", "offset_mapping", "overflow_to_sample_mapping", "sequence_ids"),
            truncation="only_second",
            stride=stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        example = np.array(found["overflow_to_sample_mapping"], dtype=np.int64)
        offsets = [_in_context(*row) for row in zip(found["offset_mapping"], found["sequence_ids"], strict=True)]
        labels = None
        if split.labels is not None:
            answers = split.labels[example, 0]
            labels = [_marked(window, answer) for window, answer in zip(offsets, answers, strict=True)]
        return as_rows(found, processor, labels=labels, example=example, notes={"offsets": offsets})

    def rows(
        self, texts: Sequence[Int[np.ndarray, "example"]], special: tuple[int, int], max_tokens: int
    ) -> tuple[Int[np.ndarray, "example"], Int[np.ndarray, "example"]]:
        questions, contexts = texts
        share, stride = _shares(max_tokens)
        taken = np.minimum(questions, max(share - special[1], 1)) + special[1]
        room = max_tokens - taken
        windows = 1 + np.maximum(-(-(contexts - room) // np.maximum(room - stride, 1)), 0)
        return windows, np.minimum(taken + contexts, max_tokens)

    def losses(self, scores: Float[Tensor, "row tokens 2"], labels: Int[Tensor, "row tokens"]) -> Float[Tensor, "row"]:
        import torch
        from torch.nn.functional import cross_entropy

        marked = labels.clamp(min=0)
        places = torch.stack([(marked & mark).argmax(dim=1) for mark in (START, END)], dim=1)
        return cross_entropy(scores, places, reduction="none").mean(dim=-1)

    def distillation(
        self,
        student: Float[Tensor, "row tokens 2"],
        teacher: Float[Tensor, "row tokens 2"],
        inputs: Mapping[str, Tensor],
        labels: Tensor | None,
        *,
        temperature: float,
    ) -> Float[Tensor, ""]:
        import torch

        from compress.training.losses import soft_labels

        padding = ~inputs["attention_mask"].bool()[..., None]
        lowest = torch.finfo(student.dtype).min / 1e4  # so low that it has no share; -inf would give NaN in the KL
        ours, theirs = (
            scores.masked_fill(padding, lowest).transpose(1, 2).flatten(0, 1) for scores in (student, teacher)
        )
        return soft_labels(ours, theirs, temperature=temperature)

    def predict(self, scores: Float[np.ndarray, "row tokens 2"], batch: Batch) -> Float[np.ndarray, "example 3"]:
        """Start and end (exclusive) character of the best span, and how far its score is above that of "none"."""
        best = np.full((len(batch.index), 3), [-1.0, -1.0, -np.inf])
        none = np.full(len(batch.index), np.inf)
        padding = batch.inputs["attention_mask"].argmax(axis=1)
        for row, example in enumerate(batch.example):
            offsets = batch.notes["offsets"][row]
            window = scores[row, padding[row] : padding[row] + len(offsets)].astype(np.float64)
            none[example] = min(none[example], window[0].sum())
            start, end, score = _best_span(window, offsets)
            if score > best[example, 2]:
                best[example] = start, end, score
        best[:, 2] -= none
        best[best[:, 2] <= 0, :2] = -1
        best[~np.isfinite(best[:, 2]), 2] = 0
        return best

    def decide(self, predictions: Float[np.ndarray, "example 3"]) -> Int[np.ndarray, "example 2"]:
        return predictions[:, :2].astype(np.int64)


def _shares(max_tokens: int) -> tuple[int, int]:
    """Of a row: the tokens that a question may take, special ones included, and those that two windows share."""
    question = max_tokens // 2  # a longer one would leave its context no room
    return question, max(1, (max_tokens - question) // 4)


def _shortened(questions: tuple[str, ...], tokenizer: Any, longest: int) -> list[str]:
    """Questions cut to so many tokens that the context keeps its half."""
    cut = []
    for text in questions:
        offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)[
            "offset_mapping"
        ]
        room = longest - tokenizer.num_special_tokens_to_add(pair=True)
        cut.append(text if len(offsets) <= room else text[: offsets[max(room, 1) - 1][1]])
    return cut


def _in_context(offsets: list[tuple[int, int]], sequences: list[int | None]) -> Int[np.ndarray, "tokens 2"]:
    """Each token's characters in the context; -1 for what is no part of it."""
    places = np.array(offsets, dtype=np.int64).reshape(-1, 2)
    places[np.array([sequence != 1 for sequence in sequences])] = -1
    return places


def _marked(offsets: Int[np.ndarray, "tokens 2"], answer: Int[np.ndarray, "2"]) -> Int[np.ndarray, "tokens"]:
    """`START` and `END` on the first and last token of an answer; both on the first token of the row where this window
    does not hold it all. A label a token, so that padding moves it along."""
    start, end = answer
    inside = np.flatnonzero((offsets[:, 0] >= 0) & (offsets[:, 1] > start) & (offsets[:, 0] < end))
    whole = len(inside) and start >= 0 and offsets[inside[0], 0] <= start and offsets[inside[-1], 1] >= end
    marks = np.zeros(len(offsets), dtype=np.int64)
    marks[inside[0] if whole else 0] |= START
    marks[inside[-1] if whole else 0] |= END
    return marks


def _best_span(window: Float[np.ndarray, "tokens 2"], offsets: Int[np.ndarray, "tokens 2"]) -> tuple[int, int, float]:
    """Start and end character and score of the span of highest score, among the likeliest starts and ends."""
    context = np.flatnonzero(offsets[:, 0] >= 0)
    if not len(context):
        return -1, -1, -np.inf
    starts = context[np.argsort(-window[context, 0], kind="stable")[:CANDIDATES]]
    ends = context[np.argsort(-window[context, 1], kind="stable")[:CANDIDATES]]
    total = window[starts, 0][:, None] + window[ends, 1][None]
    length = ends[None] - starts[:, None]
    total[(length < 0) | (length >= LONGEST_ANSWER)] = -np.inf
    first, last = np.unravel_index(int(total.argmax()), total.shape)
    return int(offsets[starts[first], 0]), int(offsets[ends[last], 1]), float(total[first, last])
