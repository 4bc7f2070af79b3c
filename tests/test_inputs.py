"""Timing batches hold no padding; a graph is probed with every kind of it."""

import numpy as np
import pytest
from test_batching import make_tokenizer
from tiny import tiny_bundle

from compress.errors import DataError
from compress.inputs import fixed_batch, probes


@pytest.mark.parametrize(("batch", "tokens"), [(1, 3), (1, 16), (4, 128), (3, 17)])
def test_a_timing_batch_is_full_of_real_tokens(batch, tokens):
    inputs = fixed_batch(make_tokenizer(), ["w1 w2 w3", "w4"], batch, tokens)
    assert {array.shape for array in inputs.values()} == {(batch, tokens)}
    assert set(inputs) == {"input_ids", "attention_mask", "token_type_ids"}
    ids = inputs["input_ids"]
    assert (ids[:, 0] == 1).all()
    assert (ids[:, -1] == 2).all()
    assert (ids[:, 1:-1] > 3).all()
    assert (inputs["attention_mask"] == 1).all()


def test_a_timing_batch_without_room_or_text_is_refused():
    with pytest.raises(DataError, match="wanted 3 tokens or more"):
        fixed_batch(make_tokenizer(), ["w1"], 1, 2)
    with pytest.raises(DataError, match="no token"):
        fixed_batch(make_tokenizer(), [" "], 1, 8)


def test_making_a_timing_batch_leaves_the_tokenizer_as_it_was():
    tokenizer = make_tokenizer()
    before = tokenizer.backend_tokenizer.to_str()
    fixed_batch(tokenizer, ["w1 w2"], 2, 8)
    assert tokenizer.backend_tokenizer.to_str() == before


def test_probes_pad_on_the_right_on_the_left_and_in_the_middle():
    bundle = tiny_bundle()
    found = dict(probes(bundle, seed=1))
    masks = {name: inputs["attention_mask"] for name, inputs in found.items()}
    assert {name.split("x")[0] for name in masks} == {"1", "2", "5"}
    assert max(mask.shape[1] for mask in masks.values()) == bundle.max_tokens
    right, left, holed = (masks[f"5x33, {kind}"] for kind in ("right-padded", "left-padded", "holed"))
    assert (np.diff(right, axis=1) <= 0).all()
    assert (right == 0).any()
    assert (np.diff(left, axis=1) >= 0).all()
    assert (left == 0).any()
    assert (np.diff(holed, axis=1) > 0).any()
    assert (np.diff(holed, axis=1) < 0).any()
    for inputs in found.values():
        padding = bundle.processor.pad_token_id
        assert ((inputs["input_ids"] == padding) == (inputs["attention_mask"] == 0)).all()
