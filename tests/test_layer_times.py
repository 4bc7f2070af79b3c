"""Laws of layer times: every run of every layer has a time, parts make up the whole, and a slow part is found."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from tiny import tiny_bundle

from compress import catalog
from compress.inputs import example_inputs
from compress.layer_times import LayerTimes, layer_times

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _in_haste(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("compress.layer_times.MOST_CALLS", 3)
    monkeypatch.setattr("compress.layer_times.WARMUP_CALLS", 1)


@pytest.mark.parametrize("family", catalog.names("families"))
def test_every_run_of_every_layer_of_every_family_has_its_times(family: str):
    bundle = tiny_bundle(family)
    times = layer_times(bundle, example_inputs(bundle), CPU, rounds=2)
    assert len(times.whole) == len(times.watched) == 2
    for layers, attention, others in zip(times.layers, times.attention, times.others, strict=True):
        assert layers.shape[1] == bundle.anatomy.layers
        assert (attention > 0).all()
        assert (others > 0).all()
        assert np.allclose(attention + others, layers)


def test_layers_and_what_is_outside_them_make_up_each_watched_call():
    bundle = tiny_bundle()
    times = layer_times(bundle, example_inputs(bundle), CPU, rounds=2)
    for watched, layers, outside in zip(times.watched, times.layers, times.outside, strict=True):
        assert (outside > 0).all()
        assert np.allclose(layers.sum(axis=1) + outside, watched)


@pytest.mark.parametrize(("module", "part"), [("attention", "attention"), ("intermediate", "others")])
def test_a_slow_part_of_a_layer_is_found(module: str, part: str):
    bundle = tiny_bundle()
    slow = bundle.module.bert.encoder.layer[2].get_submodule(module)
    hook = slow.register_forward_hook(lambda *_: time.sleep(0.02))
    try:
        times = layer_times(bundle, example_inputs(bundle), CPU, rounds=2)
    finally:
        hook.remove()
    medians = np.median(np.concatenate(getattr(times, part)), axis=0)
    assert medians.argmax() == 2
    assert medians[2] > 15


def test_the_model_is_left_without_hooks():
    bundle = tiny_bundle()
    before = bundle.digest
    layer_times(bundle, example_inputs(bundle), CPU, rounds=1)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in bundle.module.modules())
    assert bundle.with_model(bundle.module).digest == before


def test_others_and_outside_are_differences_call_by_call():
    given = LayerTimes([np.array([5.0])], [np.array([6.0])], [np.array([[2.0, 3.0]])], [np.array([[0.5, 1.0]])])
    assert given.others[0].tolist() == [[1.5, 2.0]]
    assert given.outside[0].tolist() == [1.0]
