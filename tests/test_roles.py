"""Laws of head roles: a head that looks at one place only is found to, and padding has no say."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tiny import tiny_bundle, tiny_split

from compress import catalog
from compress.bundle import Bundle
from compress.data import Split
from compress.errors import DataError, ModelError
from compress.roles import ENTROPY, SHARES, head_roles

CPU = torch.device("cpu")
READERS = [name for name in catalog.names("families") if "input_ids" in catalog.load("families", name).inputs]


def planted() -> Bundle:
    """A BERT of one layer whose heads prefer no token to another."""
    bundle = tiny_bundle(num_hidden_layers=1, hidden_size=64, num_attention_heads=4)
    model = bundle.module
    with torch.no_grad():
        attention = model.bert.encoder.layer[0].attention.self
        for linear in (attention.query, attention.key):
            linear.weight.zero_()
            linear.bias.zero_()
    return bundle


def texts(*lines: str) -> Split:
    return replace(tiny_split("texts", len(lines)), texts=lines)


def looking(bundle: Bundle, offset: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make all heads of the one layer look at one offset alone, where there is a token."""
    module = bundle.module.bert.encoder.layer[0].attention.self
    forward = module.forward

    def look(*given: Any, **more: Any) -> Any:
        output, weights = forward(*given, **more)[:2]
        place = torch.arange(weights.shape[-1])
        return output, (place[None, :] - place[:, None] == offset).double().expand_as(weights)

    monkeypatch.setattr(module, "forward", look)


def test_each_head_of_an_uneven_model_has_a_row_and_shares_lie_between_none_and_all(uneven: Bundle):
    rows = head_roles(uneven, tiny_split("calibration", 12, seed=1), CPU).rows
    assert [sum(row["layer"] == layer for row in rows) for layer in range(4)] == uneven.anatomy.heads_by_layer()
    assert all(0 <= row[share] <= 1 for row in rows for share in SHARES)
    assert all(row[ENTROPY] >= 0 for row in rows)


def test_heads_without_a_preference_have_what_even_attention_has():
    found = head_roles(planted(), texts(*["w2 w3 w4 w5"] * 4), CPU)
    tokens = 6  # with the two special ones
    for row in (*found.rows, found.uniform):
        assert row[ENTROPY] == pytest.approx(math.log(tokens))
        for share in ("first", "separator", "same", "rare"):
            assert row[share] == pytest.approx(1 / tokens)
        assert row["previous"] == row["next"] == pytest.approx((tokens - 1) / tokens**2)
    assert (found.texts, found.tokens, found.too_long) == (4, 24, 0)


@pytest.mark.parametrize(("kind", "offset"), [("previous", -1), ("next", 1), ("same", 0)])
def test_a_head_that_looks_at_one_offset_has_all_of_its_share_and_no_entropy(
    kind: str, offset: int, monkeypatch: pytest.MonkeyPatch
):
    bundle = planted()
    looking(bundle, offset, monkeypatch)
    for row in head_roles(bundle, texts(*["w2 w3 w4 w5"] * 4), CPU).rows:
        there = 1.0 if offset == 0 else 5 / 6  # the first, or the last, has no such neighbour
        assert {share: row[share] or 0.0 for share in ("previous", "next", "same")} == {
            share: pytest.approx(there if share == kind else 0.0) for share in ("previous", "next", "same")
        }
        assert row[ENTROPY] == 0


def test_the_rarest_token_is_the_one_that_the_counted_texts_hold_least_often(monkeypatch: pytest.MonkeyPatch):
    bundle = planted()
    looking(bundle, -1, monkeypatch)
    often = texts("w3 w4 w5", "w3 w4 w5", "w2 w3 w4 w5")
    [row, *_] = head_roles(bundle, texts("w5 w2 w3 w4"), CPU, counted=often).rows
    assert row["rare"] == pytest.approx(1 / 6)  # w3 alone looks at w2
    [row, *_] = head_roles(bundle, texts("w5 w2 w3 w4"), CPU).rows
    assert row["rare"] == pytest.approx(1 / 6)  # all four are as rare: a quarter of each of the four that are looked at


@pytest.mark.parametrize("family", READERS)
def test_padding_has_no_say_in_any_family(family: str):
    bundle = tiny_bundle(family)
    split = tiny_split("calibration", 12, seed=1)
    together = head_roles(bundle, split, CPU)
    alone = [head_roles(bundle, split.rows(np.array([row])), CPU, counted=split) for row in range(len(split))]
    assert [row["head"] for row in together.rows] == [
        head for count in bundle.anatomy.heads_by_layer() for head in range(count)
    ]
    for place, row in enumerate(together.rows):
        for name in (*SHARES, ENTROPY):
            wanted = sum((each.rows[place][name] or 0) * each.tokens for each in alone) / together.tokens
            assert (row[name] or 0) == pytest.approx(wanted, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_decoder_looks_at_nothing_that_comes_after(family: str):
    found = head_roles(tiny_bundle(family), tiny_split("calibration", 12, seed=1), CPU)
    assert all(row["next"] is None for row in (*found.rows, found.uniform))
    assert found.uniform["first"] > found.uniform["previous"]


def test_what_the_texts_do_not_have_has_no_share():
    bundle = tiny_bundle()
    bundle.processor.backend_tokenizer.post_processor = None
    row = head_roles(bundle, texts("w2 w3", "w4 w5"), CPU).rows[0]
    assert row["separator"] is None
    assert row["first"] is not None


def test_too_long_texts_are_left_out_and_counted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("compress.roles.LONGEST", 6)
    found = head_roles(tiny_bundle(), texts("w2 w3", "w2 w3 w4 w5 w6 w7 w8", "w4 w5"), CPU)
    assert (found.texts, found.too_long) == (2, 1)
    with pytest.raises(DataError, match="all 1 texts have more than 6 tokens"):
        head_roles(tiny_bundle(), texts("w2 w3 w4 w5 w6 w7 w8"), CPU)


def test_little_memory_gives_the_same(monkeypatch: pytest.MonkeyPatch):
    bundle, split = tiny_bundle(), tiny_split("calibration", 12, seed=1)
    whole = head_roles(bundle, split, CPU)
    monkeypatch.setattr("compress.roles._NUMBERS", 1)
    for one, other in zip(whole.rows, head_roles(bundle, split, CPU).rows, strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-6)


def test_the_model_is_left_as_it_was(bundle: Bundle):
    before = bundle.module.config._attn_implementation
    head_roles(bundle, tiny_split("calibration", 4), CPU)
    assert bundle.module.config._attn_implementation == before
    assert bundle.with_model(bundle.module).digest == tiny_bundle().digest


def test_what_has_no_tokens_is_refused():
    with pytest.raises(ModelError, match="reads no text"):
        head_roles(tiny_bundle("vit"), tiny_split("calibration", 2), CPU)
    with pytest.raises(DataError, match="no texts"):
        head_roles(tiny_bundle(), tiny_split("calibration", 0), CPU)
