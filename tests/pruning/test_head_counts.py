"""Laws of head counts at equal parameters: equal sizes, fewer heads and more channels, no layer emptied."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tiny import logits_of, mixed_inputs, tiny_bundle

from compress.anatomy import Anatomy
from compress.bundle import Bundle
from compress.errors import ModelError
from compress.pruning.head_counts import equal_cuts, made
from compress.stage import Context

FRACTIONS = (1.0, 0.75, 0.5, 0.25)


def scored(anatomy: Anatomy) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(group.units, generator=generator) for group in anatomy.groups]


@pytest.fixture(scope="module")
def wide() -> Bundle:
    """With FFNs that are made of many blocks of channels."""
    return tiny_bundle(intermediate_size=256)


@pytest.mark.parametrize("keep", [0.5, 0.7, 0.9])
def test_all_cuts_have_the_same_parameters_to_within_a_block_of_channels(keep: float, wide: Bundle):
    anatomy = wide.anatomy
    cuts = equal_cuts(anatomy, scored(anatomy), keep=keep, fractions=FRACTIONS)
    block = 16 * anatomy.of_axis("ffn")[0].unit_parameters
    budget = keep * anatomy.encoder_parameters
    assert len(cuts) >= 3
    for cut in cuts:
        assert budget - block < cut.anatomy.encoder_parameters <= budget


def test_fewer_heads_leave_more_channels_and_every_layer_keeps_some_of_both(wide: Bundle):
    cuts = equal_cuts(wide.anatomy, scored(wide.anatomy), keep=0.7, fractions=FRACTIONS)
    assert [cut.heads for cut in cuts] == sorted({cut.heads for cut in cuts}, reverse=True)
    assert [cut.channels for cut in cuts] == sorted(cut.channels for cut in cuts)
    assert cuts[0].heads == 16
    assert all(units >= 1 for cut in cuts for units in cut.units)


def test_the_fewest_heads_are_those_with_which_the_ffn_can_still_make_up_the_size():
    anatomy = tiny_bundle().anatomy  # attention is half of its encoder
    cuts = equal_cuts(anatomy, scored(anatomy), keep=0.9, fractions=FRACTIONS)
    one_less = anatomy.encoder_parameters - (16 - cuts[-1].heads + 1) * anatomy.of_axis("heads")[0].unit_parameters
    assert one_less < 0.9 * anatomy.encoder_parameters
    assert all(cut.heads > 4 for cut in cuts)


def test_the_heads_and_channels_that_leave_are_those_worth_least(wide: Bundle):
    scores = [torch.arange(group.units).float() + 100 * group.layer for group in wide.anatomy.groups]
    cuts = equal_cuts(wide.anatomy, scores, keep=0.7, fractions=(0.75,))
    units = dict(zip((group.name for group in wide.anatomy.groups), cuts[0].units, strict=True))
    assert [units[f"layers.{layer}.heads"] for layer in range(4)] == [1, 3, 4, 4]


def test_a_size_that_no_number_of_heads_meets_is_refused():
    anatomy = tiny_bundle().anatomy
    with pytest.raises(ModelError, match=r"no number of heads leaves 0\.05"):
        equal_cuts(anatomy, scored(anatomy), keep=0.05, fractions=FRACTIONS)


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "albert"])
def test_a_made_model_is_as_its_cut_says_and_the_whole_stays_whole(family: str, make_context: Callable[..., Context]):
    bundle = tiny_bundle(family)
    before = bundle.digest
    scores = scored(bundle.anatomy)
    cut = equal_cuts(bundle.anatomy, scores, keep=0.8, fractions=(0.5,))[0]
    smaller = made(bundle, scores, cut, make_context())
    assert smaller.anatomy.encoder_parameters == cut.anatomy.encoder_parameters
    assert smaller.anatomy.parameters == sum(parameter.numel() for parameter in smaller.module.parameters())
    assert sum(smaller.anatomy.heads_by_layer()) == cut.heads * bundle.anatomy.groups[0].repeats
    assert logits_of(smaller.module, mixed_inputs(bundle)).isfinite().all()
    assert bundle.with_model(bundle.module).digest == before
