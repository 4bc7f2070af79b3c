"""Feed a split to a torch model: batches as tensors on a device, bucketed by length."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from compress.batching import Batch, Encoded, batches
from compress.data import Split

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float, Int
    from torch import Tensor
    from transformers import PreTrainedModel

    from compress.bundle import Bundle


@dataclass(frozen=True)
class TensorBatch:
    """One batch on the device, ready for `model(**inputs)`."""

    inputs: dict[str, Float[Tensor, "row ..."] | Int[Tensor, "row ..."]]
    labels: Float[Tensor, "row ..."] | Int[Tensor, "row ..."] | None
    source: Batch
    """The batch that it was made of, for what a task reads back from it."""

    @property
    def truth(self) -> Tensor:
        """The labels of a batch from a labelled split."""
        assert self.labels is not None, "stages that need labels refuse a split without them"
        return self.labels

    def flat(self, states: Float[Tensor, "row tokens width"]) -> Float[Tensor, "token width"]:
        """A layer's vectors, those of padding left out, one after the other."""
        mask = self.inputs.get("attention_mask")
        return states.flatten(0, 1) if mask is None else states[mask.bool()]

    def vectors(self, values: Float[Tensor, "row ... width"]) -> Float[Tensor, "vector width"]:
        """What a layer is given or gives: of tokens, those that are no padding; a head's one vector a row as it is."""
        return self.flat(values) if values.ndim > 2 else values


def feed(
    split: Split, bundle: Bundle, device: torch.device, *, size: int, seed: int | None = None, skip: int = 0
) -> Iterator[TensorBatch]:
    """Every example of `split` once, in batches of `size`: by length without a seed, shuffled in buckets with one.

    Args:
        skip: batches at the start that are left out, as they were fed before.
    """
    import torch

    task: Any = bundle.task  # a protocol can't say that its values may be looked up by
    if seed is not None and task.draws:  # an epoch's draw is never asked for again, and not kept
        encoded = task.encode(split, bundle.processor, max_tokens=bundle.max_tokens, seed=seed)
    else:
        side = getattr(bundle.processor, "padding_side", None)
        encoded = _encoded(split, task, bundle.processor, bundle.max_tokens, side)
    for batch in islice(batches(encoded, size, shuffle_seed=seed), skip, None):
        inputs = {name: torch.from_numpy(array).to(device) for name, array in batch.inputs.items()}
        labels = None if batch.labels is None else torch.from_numpy(batch.labels).to(device)
        yield TensorBatch(inputs, labels, batch)


@lru_cache(maxsize=8)
def _encoded(split: Split, task: Any, processor: Any, max_tokens: int, _padding_side: str | None) -> Encoded:
    """Tokenized once, however many passes are made; again where a processor was changed in place to pad elsewhere."""
    return task.encode(split, processor, max_tokens=max_tokens, seed=0)


def placed(model: PreTrainedModel, device: torch.device) -> PreTrainedModel:
    """The model on a device: itself where it is there already, else a copy, for a bundle's model never changes."""
    if next(model.parameters()).device.type == device.type:
        return model
    return copy.deepcopy(model).to(device)
