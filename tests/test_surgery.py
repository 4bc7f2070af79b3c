"""Laws of surgery beyond those that every family is held to in `contracts/`."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from tiny import logits_of, tiny_bundle

from compress.anatomy import Anatomy, anatomy_of
from compress.bundle import Bundle
from compress.errors import ModelError
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


def test_an_anatomy_survives_json(uneven: Bundle):
    again = Anatomy.from_json(uneven.anatomy.as_json())
    assert again == uneven.anatomy
    assert len({group.units for group in again.of_axis("heads")}) > 1
    assert replace(again, groups=()).encoder_parameters == again.rest["encoder"]
