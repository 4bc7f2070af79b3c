"""Inputs that are made rather than read: to trace a graph with, to check it on, to time a model by."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import DataError

if TYPE_CHECKING:
    from jaxtyping import Int
    from transformers import PreTrainedTokenizerBase

    from compress.bundle import Bundle
    from compress.data import Split
    from compress.deploy import Shape

Inputs = dict[str, np.ndarray]
"""Input name -> int64 (batch, tokens), or float32 (batch, channels, height, width)."""


def input_names(bundle: Bundle) -> tuple[str, ...]:
    """What the model's forward pass is given, in order."""
    return tuple(bundle.processor.model_input_names)


def dynamic_axes(bundle: Bundle) -> dict[str, dict[int, str]]:
    """The axes of each input that may have any length, and their names in a graph."""
    axes = {0: "batch", 1: "tokens"} if bundle.task.modality == "text" else {0: "batch"}
    return {name: dict(axes) for name in input_names(bundle)}


def example_inputs(bundle: Bundle) -> Inputs:
    """A small batch to trace a graph with: no padding, and no axis of length 1, which tracing would fix."""
    if bundle.task.modality == "image":
        return _pictures(bundle, 2, np.random.default_rng(0))
    return {name: np.ones((2, 8), dtype=np.int64) for name in input_names(bundle)}


def probes(bundle: Bundle, *, seed: int) -> Iterator[tuple[str, Inputs]]:
    """Named inputs that a graph must be right on: batch 1 and more, whatever is padded where."""
    generator = np.random.default_rng(seed)
    if bundle.task.modality == "image":
        for batch in (1, 2, 5):
            yield f"{batch} pictures", _pictures(bundle, batch, generator)
        return
    longest = bundle.max_tokens
    yield "1x1, no padding", _texts(bundle, np.ones((1, 1), dtype=np.int64), generator)
    yield f"1x{longest}, no padding", _texts(bundle, np.ones((1, longest), dtype=np.int64), generator)
    for batch, tokens in ((2, min(7, longest)), (5, min(33, longest))):
        lengths = generator.integers(1, tokens + 1, size=(batch, 1))
        places = np.arange(tokens)[None]
        right = (places < lengths).astype(np.int64)
        left = (places >= np.minimum(tokens - lengths, _reach(bundle, tokens))).astype(np.int64)
        holed = (generator.random((batch, tokens)) < 0.6).astype(np.int64)
        holed[:, 0] = 1  # a row with nothing to attend to has no right answer
        for name, mask in (("right-padded", right), ("left-padded", left), ("holed", holed)):
            yield f"{batch}x{tokens}, {name}", _texts(bundle, mask, generator)


def _reach(bundle: Bundle, tokens: int) -> int:
    """How much padding may stand in a row: where all that a token attends to is padding, there is no right answer."""
    reach = bundle.family.reach(bundle.config)
    return tokens if reach is None else reach


def made_up_inputs(bundle: Bundle, shape: Shape, *, seed: int) -> Inputs:
    """A batch of this shape of random tokens, or pictures, with no padding in it: to time a model by without data."""
    generator = np.random.default_rng(seed)
    if bundle.task.modality == "image":
        return _pictures(bundle, shape.batch, generator)
    return _texts(bundle, np.ones((shape.batch, shape.tokens), dtype=np.int64), generator)


def timing_inputs(bundle: Bundle, split: Split, shape: Shape) -> Inputs:
    """A batch of this shape to time a model by, made of the split's own texts or pictures, with no padding in it.

    Raises:
        DataError: the shape has no room for text, or the texts hold no token.
    """
    if bundle.task.modality == "image":
        pixels = bundle.task.encode(split, bundle.processor, max_tokens=shape.tokens, seed=0).inputs["pixel_values"]
        return {"pixel_values": np.stack([pixels[row % len(split)] for row in range(shape.batch)])}
    return fixed_batch(bundle.processor, split.texts, shape.batch, shape.tokens)


def fixed_batch(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], batch: int, tokens: int) -> Inputs:
    """Texts laid end to end, and from the start again where they are too short, and cut into rows; each row has the
    special tokens that the tokenizer puts around one text.

    Raises:
        DataError: `tokens` has no room for text, or the texts hold no token.
    """
    tokenizer = copy.deepcopy(tokenizer)  # a call may change how a fast tokenizer truncates
    before, after = _special_tokens(tokenizer, texts)
    room = tokens - len(before) - len(after)
    if room < 1:
        wanted = len(before) + len(after) + 1
        raise DataError(f"shape {batch}x{tokens}: no room for text, wanted {wanted} tokens or more with this tokenizer")
    stream: list[int] = []
    for start in range(0, len(texts), 256):
        if len(stream) >= batch * room:
            break
        encoded = tokenizer(list(texts[start : start + 256]), add_special_tokens=False, verbose=False)
        stream.extend(token for row in encoded["input_ids"] for token in row)
    if not stream:
        raise DataError(f"shape {batch}x{tokens}: the {len(texts)} texts hold no token to fill it with")
    body = np.resize(np.array(stream, dtype=np.int64), (batch, room))
    rows = [[*before, *row, *after] for row in body.tolist()]
    ids = np.array(rows, dtype=np.int64)
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    if "token_type_ids" in tokenizer.model_input_names:
        inputs["token_type_ids"] = np.zeros_like(ids)
    return inputs


def _special_tokens(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> tuple[list[int], list[int]]:
    """The token ids that the tokenizer puts before and after a text."""
    bare = tokenizer(texts[0] if texts else "a", add_special_tokens=False, verbose=False)["input_ids"]
    full = tokenizer(texts[0] if texts else "a", verbose=False)["input_ids"]
    start = next(place for place in range(len(full) + 1) if full[place : place + len(bare)] == bare)
    return full[:start], full[start + len(bare) :]


def _texts(bundle: Bundle, mask: Int[np.ndarray, "batch tokens"], generator: np.random.Generator) -> Inputs:
    """Random tokens where the mask is 1, padding elsewhere."""
    tokens = generator.integers(0, bundle.config["vocab_size"], size=mask.shape, dtype=np.int64)
    # Some models count positions from where the padding token is not: it must not stand among the text.
    padding = bundle.processor.pad_token_id or 0
    tokens = np.where(tokens == padding, (padding + 1) % bundle.config["vocab_size"], tokens)
    inputs: Inputs = {name: np.zeros_like(mask) for name in input_names(bundle)}
    if "token_type_ids" in inputs:
        inputs["token_type_ids"] = generator.integers(0, bundle.config.get("type_vocab_size") or 1, size=mask.shape)
    inputs["input_ids"] = np.where(mask == 1, tokens, padding)
    inputs["attention_mask"] = mask
    return inputs


def _pictures(bundle: Bundle, batch: int, generator: np.random.Generator) -> Inputs:
    size: Any = bundle.config.get("image_size", 224)
    height, width = size if isinstance(size, list | tuple) else (size, size)
    shape = (batch, bundle.config.get("num_channels", 3), height, width)
    return {"pixel_values": generator.standard_normal(shape, dtype=np.float32)}
