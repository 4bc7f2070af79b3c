"""Masked language modelling: some tokens of a text are hidden, and the model says which they were."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from compress.batching import IGNORED, Encoded, as_rows, encode_texts
from compress.errors import ModelError
from compress.tasks.one_word import OneWord

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from compress.data import Split

SHARE = 0.15
"""Of a text's tokens, how many are hidden."""


class FillMask(OneWord):
    """The hidden tokens of a text, from what stands around them (Devlin et al. 2019, section 3.1).

    15 % of the tokens are chosen; of those 80 % are masked, 10 % replaced by a random token, 10 % left as they are.
    Each epoch of training has a draw of its own; what is judged is always drawn alike. A student learns from its
    teacher on the hidden tokens alone, as DistilBERT (Sanh et al. 2019, section 3): all of them would be far dearer.
    """

    name: ClassVar[str] = "fill-mask"
    head: ClassVar[str] = "ForMaskedLM"
    causal: ClassVar[bool | None] = False
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

    def decide(self, predictions: Float[np.ndarray, "example mask 3"]) -> Float[np.ndarray, "example mask 3"]:
        return predictions


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
