"""Laws of surgery beyond those that every family is held to in `contracts/`."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import logits_of, mixed_inputs, tiny_bundle

from compress.anatomy import Anatomy
from compress.bundle import Bundle
from compress.dissection import anatomy_of, hidden_group
from compress.errors import ModelError
from compress.folder import load, save
from compress.surgery import keep_layers, keep_units, shape_like


def _masks(anatomy: Anatomy, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    masks = [torch.rand(group.units, generator=generator) < 0.6 for group in anatomy.groups]
    for mask in masks:
        mask[0] = True
    return masks


def test_the_model_that_is_cut_stays_whole(bundle: Bundle):
    keep_units(bundle.module, bundle.family, bundle.anatomy.groups, _masks(bundle.anatomy))
    keep_layers(bundle.module, bundle.family, (0,))
    assert bundle.with_model(bundle.module).digest == tiny_bundle().digest


def test_cutting_all_groups_at_once_equals_one_after_another(bundle: Bundle, inputs):
    groups, masks = bundle.anatomy.groups, _masks(bundle.anatomy)
    at_once = keep_units(bundle.module, bundle.family, groups, masks)
    model = bundle.module
    for group, mask in zip(groups, masks, strict=True):
        model = keep_units(model, bundle.family, [group], [mask])
    assert bundle.with_model(at_once).digest == bundle.with_model(model).digest
    assert torch.equal(logits_of(at_once, inputs), logits_of(model, inputs))


def test_the_anatomy_after_a_cut_is_the_one_foretold(bundle: Bundle):
    groups, masks = bundle.anatomy.groups, _masks(bundle.anatomy, seed=3)
    cut = bundle.with_model(keep_units(bundle.module, bundle.family, groups, masks))
    units = {group.name: int(mask.sum()) for group, mask in zip(groups, masks, strict=True)}
    assert cut.anatomy == bundle.anatomy.with_units(units)


def test_layers_come_in_the_order_that_was_asked_for(bundle: Bundle, inputs):
    turned = keep_layers(bundle.module, bundle.family, (2, 0))
    back = keep_layers(turned, bundle.family, (1, 0))
    straight = keep_layers(bundle.module, bundle.family, (0, 2))
    assert torch.equal(logits_of(back, inputs), logits_of(straight, inputs))
    assert not torch.allclose(logits_of(turned, inputs), logits_of(straight, inputs), atol=1e-3)


def test_a_stock_model_takes_the_shape_of_an_anatomy(bundle: Bundle, uneven: Bundle):
    shaped = shape_like(copy.deepcopy(bundle.module), bundle.family, uneven.anatomy)
    assert anatomy_of(shaped, bundle.family) == uneven.anatomy


def test_an_anatomy_that_does_not_fit_the_config_is_refused(bundle: Bundle):
    fewer = bundle.anatomy.with_layers((0, 1))
    with pytest.raises(ModelError, match=r"anatomy\.json names 4 groups, the config makes 8"):
        shape_like(copy.deepcopy(bundle.module), bundle.family, fewer)
    wider = bundle.anatomy.with_units({"layers.1.ffn": 65})
    with pytest.raises(ModelError, match=r"layers\.1\.ffn: anatomy\.json says 65 units, the config makes 64"):
        shape_like(copy.deepcopy(bundle.module), bundle.family, wider)


@pytest.mark.parametrize(
    ("kept", "order"), [((0, 3), [0, 1]), ((0, 1, 3), [0, 0, 1]), ((2, 3), [0, 0]), ((2, 0), [0, 1])]
)
def test_shared_layers_that_are_left_run_as_often_as_they_were_kept(kept: tuple[int, ...], order: list[int], tmp_path):
    whole = tiny_bundle("albert", num_hidden_groups=2)  # its layers run as 0, 0, 1, 1
    units = {("heads", 0): 3, ("heads", 1): 1, ("ffn", 0): 50, ("ffn", 1): 7}
    masks = [torch.arange(group.units) < units[group.axis, group.layer] for group in whole.anatomy.groups]
    uneven = whole.with_model(keep_units(whole.module, whole.family, whole.anatomy.groups, masks))
    cut = uneven.with_model(keep_layers(uneven.module, uneven.family, kept))
    before = [uneven.family.layers(uneven.module)[index] for index in kept]
    distinct = list(dict.fromkeys(before))
    assert [distinct.index(layer) for layer in before] == order
    assert cut.anatomy == uneven.anatomy.with_layers(kept)
    assert cut.anatomy.heads_by_layer() == [uneven.anatomy.heads_by_layer()[index] for index in kept]
    assert sum(group.repeats for group in cut.anatomy.of_axis("ffn")) == len(kept)
    save(cut, tmp_path)
    inputs = mixed_inputs(cut)
    assert torch.equal(logits_of(load(tmp_path).module, inputs), logits_of(cut.module, inputs))


def test_shared_layers_that_cannot_run_so_are_refused():
    whole = tiny_bundle("albert", num_hidden_groups=2)
    with pytest.raises(ModelError, match=r"layers \[0, 2, 3\]: they run ALBERT's shared layers as \[0, 1, 1\]"):
        keep_layers(whole.module, whole.family, (0, 2, 3))
    with pytest.raises(ModelError, match="inner_group_num is 2; ALBERT is known here with 1 alone"):
        tiny_bundle("albert", inner_group_num=2)


def test_a_layer_remembers_its_heads_where_it_lost_some_and_nowhere_else():
    whole = tiny_bundle("mpnet")
    heads, ffn = whole.anatomy.of_axis("heads"), whole.anatomy.of_axis("ffn")
    narrow = keep_units(whole.module, whole.family, ffn, [torch.arange(group.units) < 9 for group in ffn])
    assert set(narrow.state_dict()) == set(whole.module.state_dict())
    once = keep_units(whole.module, whole.family, heads[:1], [torch.tensor([True, False, True, True])])
    [again] = [group for group in whole.family.groups(once) if group.name == heads[0].name]
    twice = keep_units(once, whole.family, [again], [torch.tensor([False, True, True])])
    [added] = set(twice.state_dict()) - set(whole.module.state_dict())
    assert twice.state_dict()[added].tolist() == [2, 3]
    assert once.state_dict()[added].tolist() == [0, 2, 3]


def test_a_first_layer_keeps_the_norm_that_the_stock_class_would_not_give_it():
    whole = tiny_bundle("modernbert")
    cut = keep_layers(whole.module, whole.family, (1, 3))
    assert cut.config.attention_norms == [True, True]
    assert cut.config.layer_types == [whole.module.config.layer_types[index] for index in (1, 3)]
    assert not whole.family.fits_stock_class(cut)
    assert not hasattr(keep_layers(whole.module, whole.family, (0, 3)).config, "attention_norms")


def test_an_anatomy_survives_json(uneven: Bundle):
    again = Anatomy.from_json(uneven.anatomy.as_json())
    assert again == uneven.anatomy
    assert len({group.units for group in again.of_axis("heads")}) > 1
    assert replace(again, groups=()).encoder_parameters == again.rest_of("encoder")


@pytest.mark.parametrize("embedding", [24, 32, 64, 96])
def test_electras_embeddings_may_be_as_wide_as_any_size_that_is_tried(embedding: int, tmp_path: Path):
    """The stock class has a layer less where the hidden size is that of the embeddings."""
    whole = tiny_bundle("electra", embedding_size=embedding)
    few = keep_units(
        whole.module, whole.family, whole.anatomy.of_axis("heads"), [torch.arange(4) < 3 for _ in range(4)]
    )
    hidden = hidden_group(few, whole.family)
    for left in (24, 13):
        cut = whole.with_model(keep_units(few, whole.family, [hidden], [torch.arange(32) < left]))
        save(cut, tmp_path / str(left))
        again = load(tmp_path / str(left))
        assert again.digest == cut.digest
        assert torch.equal(logits_of(again.module, mixed_inputs(cut)), logits_of(cut.module, mixed_inputs(cut)))


def test_a_cut_shares_no_weight_with_the_model_that_it_was_cut_from():
    whole = tiny_bundle("llama", task="text-generation")
    hidden = hidden_group(whole.module, whole.family)
    groups = [*whole.anatomy.groups, hidden]
    masks = [torch.arange(group.units) != 1 for group in groups]
    before = whole.digest
    cut = keep_units(whole.module, whole.family, groups, masks, layers=(0, 2))
    theirs = {parameter.data_ptr() for parameter in whole.module.parameters()}
    assert not theirs & {parameter.data_ptr() for parameter in cut.parameters()}
    assert whole.with_model(whole.module).digest == before
    assert cut.get_input_embeddings().weight is cut.get_output_embeddings().weight
