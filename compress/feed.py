"""Feed a split to a torch model: batches as tensors on a device, bucketed by length."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from compress.data import Encoded, Split, batches, encode

if TYPE_CHECKING:
    import torch
    from jaxtyping import Bool, Int
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from compress.bundle import Bundle


@dataclass(frozen=True)
class TensorBatch:
    """One batch on the device, ready for `model(**inputs)`."""

    inputs: dict[str, Int[Tensor, "batch tokens"]]
    labels: Int[Tensor, "batch"] | None

    @property
    def truth(self) -> Int[Tensor, "batch"]:
        """The labels of a batch from a labelled split."""
        assert self.labels is not None, "stages that need labels refuse a split without them"
        return self.labels

    @property
    def real(self) -> Bool[Tensor, "batch tokens"]:
        """True where a token is no padding."""
        return self.inputs["attention_mask"].bool()


def feed(
    split: Split, bundle: Bundle, device: torch.device, *, size: int, seed: int | None = None
) -> Iterator[TensorBatch]:
    """Every example of `split` once, in batches of `size`: by length without a seed, shuffled in buckets with one."""
    import torch

    encoded = _encoded(split, bundle.processor, bundle.max_tokens)
    for batch in batches(encoded, size, shuffle_seed=seed):
        inputs = {name: torch.from_numpy(array).to(device) for name, array in batch.inputs.items()}
        labels = None if batch.labels is None else torch.from_numpy(batch.labels).to(device)
        yield TensorBatch(inputs, labels)


@lru_cache(maxsize=8)
def _encoded(split: Split, tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> Encoded:
    """Tokenized once, however many passes are made."""
    return encode(split, tokenizer, max_tokens=max_tokens)


def placed(model: PreTrainedModel, device: torch.device) -> PreTrainedModel:
    """The model on a device: itself where it is there already, else a copy, for a bundle's model never changes."""
    if next(model.parameters()).device.type == device.type:
        return model
    return copy.deepcopy(model).to(device)
