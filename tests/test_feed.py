"""What is fed is tokenized once and kept, unless it is drawn anew; and follows a tokenizer that is changed in place."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from task_samples import sample, task_bundle
from tiny import tiny_bundle, tiny_split

from compress.batching import Encoded
from compress.feed import feed
from compress.task import task_of
from compress.tasks.fill_mask import FillMask

CPU = torch.device("cpu")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref[Encoded]]:
    """All that fill-mask tokenizes, without keeping any of it."""
    found: list[weakref.ref[Encoded]] = []
    encode = FillMask.encode

    def noted(*given: Any, **more: Any) -> Encoded:
        encoded = encode(*given, **more)
        found.append(weakref.ref(encoded))
        return encoded

    monkeypatch.setattr(FillMask, "encode", noted)
    return found


def test_of_a_task_that_draws_no_epoch_is_kept_once_it_is_over(made: list[weakref.ref[Encoded]]) -> None:
    task = task_of("fill-mask")
    bundle, split = task_bundle(task), sample(task, "train", 24)
    for seed in range(4):
        for _ in feed(split, bundle, CPU, size=8, seed=seed):
            pass
        gc.collect()
        assert [one() for one in made] == [None] * (seed + 1)


def test_what_is_judged_is_tokenized_once(made: list[weakref.ref[Encoded]]) -> None:
    task = task_of("fill-mask")
    bundle, split = task_bundle(task), sample(task, "dev", 24)
    for _ in range(3):
        list(feed(split, bundle, CPU, size=8))
    assert len(made) == 1


def test_padding_follows_a_tokenizer_that_is_changed_in_place() -> None:
    bundle, split = tiny_bundle(), tiny_split("dev", 8)
    for side, real in (("right", slice(None, 1)), ("left", slice(-1, None))):
        bundle.processor.padding_side = side
        masks = [batch.inputs["attention_mask"].numpy() for batch in feed(split, bundle, CPU, size=8)]
        assert any((mask == 0).any() for mask in masks)
        assert all(np.all(mask[:, real] == 1) for mask in masks)
