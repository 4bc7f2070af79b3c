"""Masked language modelling: some tokens of a text are hidden, and the model says which they were."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from compress.batching import IGNORED, Batch, Encoded, as_rows, encode_texts
from compress.errors import ModelError
from compress.task import Target, Task

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from compress.data import Split

SHARE = 0.15
"""Of a text's tokens, how many are hidden."""


class FillMask(Task):
    """The hidden tokens of a text, from what stands around them (Devlin et al. 2019, section 3.1).

    15 % of the tokens are chosen; of those 80 % are masked, 10 % replaced by a random token, 10 % left as they are.
    Each epoch of training has a draw of its own; what is judged is always drawn alike.
    """

    name: ClassVar[str] = "fill-mask"
    target: ClassVar[Target | None] = None
    head: ClassVar[str] = "ForMaskedLM"
    head_reads: ClassVar[Literal["text", "tokens"]] = "tokens"
    scores_words: ClassVar[bool] = True
    metrics: ClassVar[tuple[str, ...]] = ("perplexity",)
    draws: ClassVar[bool] = True

    def encode(self, split: Split, processor: Any, *, max_tokens: int, seed: int) -> Encoded:
        if processor.mask_token_id is None:
            raise ModelError("fill-mask: the tokenizer has no mask token; is this a masked language model?")
        found = encode_texts(split.texts, split.pairs, processor, max_tokens=max_tokens)
        special = set(processor.all_special_ids)
        hidden, labels = [], []
        for text, row in zip(split.texts, found["input_ids"], strict=True):
            # By the text, so that a row's draw does not depend on the rows before it.
            drawn = np.random.default_rng([seed, *hashlib.sha256(text.encode()).digest()[:8]])
            ids = np.array(row, dtype=np.int64)
            label = _chosen(ids, special, drawn)
            hidden.append(_hidden(ids, label, processor.mask_token_id, len(processor), drawn))
            labels.append(label)
        return as_rows({**found, "input_ids": hidden}, processor, labels=labels)

    def losses(
        self, scores: Float[Tensor, "example tokens word"], labels: Int[Tensor, "example tokens"]
    ) -> Float[Tensor, "example"]:
        from compress.training.losses import token_losses

        return token_losses(scores, labels)

    def distillation(
        self,
        student: Float[Tensor, "example tokens word"],
        teacher: Float[Tensor, "example tokens word"],
        inputs: Mapping[str, Tensor],
        labels: Tensor | None,
        *,
        temperature: float,
    ) -> Float[Tensor, ""]:
        """On the hidden tokens alone, as DistilBERT (Sanh et al. 2019, section 3): all of them would be far dearer."""
        from compress.training.losses import soft_labels

        assert labels is not None, "this task labels every split itself"
        hidden = labels != IGNORED
        return soft_labels(student[hidden], teacher[hidden], temperature=temperature)

    def predict(
        self, scores: Float[np.ndarray, "example tokens word"], batch: Batch
    ) -> Float[np.ndarray, "example mask 3"]:
        """Of each hidden token: its id, the likeliest token's id, and its negative log-likelihood in nats."""
        from scipy.special import log_softmax

        assert batch.labels is not None, "this task labels every split itself"
        rows, places = np.nonzero(batch.labels != IGNORED)
        true = batch.labels[rows, places]
        at_masks = log_softmax(scores[rows, places].astype(np.float64), axis=-1)
        counts = np.bincount(rows, minlength=len(scores))
        kept = np.full((len(scores), max(int(counts.max(initial=0)), 1), 3), np.nan)
        order = np.concatenate([np.arange(count) for count in counts]).astype(np.int64)
        kept[rows, order, 0] = true
        kept[rows, order, 1] = at_masks.argmax(axis=-1)
        kept[rows, order, 2] = -at_masks[np.arange(len(true)), true]
        return kept

    def decide(self, predictions: Float[np.ndarray, "example mask 3"]) -> Float[np.ndarray, "example mask 3"]:
        return predictions

    def alike(
        self, first: Float[np.ndarray, "example mask 3"], second: Float[np.ndarray, "example mask 3"]
    ) -> Float[np.ndarray, "example"]:
        """The share of an example's hidden tokens for which both models find the same token likeliest."""
        there = ~np.isnan(first[..., 1])
        equal = ((first[..., 1] == second[..., 1]) & there).sum(axis=1)
        counted = there.sum(axis=1)
        return np.where(counted > 0, equal / np.maximum(counted, 1), 1.0)


def _chosen(ids: Int[np.ndarray, "tokens"], special: set[int], drawn: np.random.Generator) -> Int[np.ndarray, "tokens"]:
    """The ids of the tokens that are chosen, `IGNORED` elsewhere; at least one where there is a token at all."""
    open_to = np.flatnonzero(~np.isin(ids, list(special)))
    label = np.full(len(ids), IGNORED, dtype=np.int64)
    if len(open_to):
        places = drawn.choice(open_to, size=max(1, round(SHARE * len(open_to))), replace=False)
        label[places] = ids[places]
    return label


def _hidden(
    ids: Int[np.ndarray, "tokens"],
    label: Int[np.ndarray, "tokens"],
    mask: int,
    vocabulary: int,
    drawn: np.random.Generator,
) -> Int[np.ndarray, "tokens"]:
    fate = drawn.random(len(ids))
    replaced = np.where(fate < 0.8, mask, np.where(fate < 0.9, drawn.integers(0, vocabulary, len(ids)), ids))
    return np.where(label == IGNORED, ids, replaced)
