"""Laws of head importance: it is the criterion's, a silent head is worth nothing, and heads of a KV group share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tiny import tiny_bundle, tiny_split

from compress import catalog
from compress.bundle import Bundle
from compress.errors import DataError, ModelError
from compress.head_importance import importance
from compress.stage import Context

MakeContext = Callable[..., Context]


def criterion(name: str) -> Any:
    return catalog.load("criteria", name)()


@pytest.mark.parametrize("name", ["taylor", "fisher", "magnitude"])
def test_scores_and_ranks_are_in_the_order_of_the_criterion(name: str, uneven: Bundle, make_context: MakeContext):
    context = make_context()
    rows = importance(uneven, criterion(name), context).head_rows()
    groups = uneven.anatomy.of_axis("heads")
    scores = criterion(name).score(uneven, groups, context)
    wanted = [float(score) for each in scores for score in each]
    assert [row["score"] for row in rows] == pytest.approx(wanted)
    by_rank = sorted(rows, key=lambda row: row["rank"])
    assert [row["score"] for row in by_rank] == sorted((row["score"] for row in rows), reverse=True)
    assert by_rank[0]["rank"] == 1


def test_a_silent_head_is_worth_nothing_and_comes_last(make_context: MakeContext):
    bundle = tiny_bundle()
    reader = bundle.module.bert.encoder.layer[1].attention.output.dense
    with torch.no_grad():
        reader.weight[:, 16:24] = 0  # of head 2
    rows = importance(bundle, criterion("taylor"), make_context()).head_rows()
    silent = next(row for row in rows if (row["layer"], row["head"]) == (1, 2))
    assert silent["score"] == 0
    assert silent["rank"] == len(rows)


def test_heads_of_one_kv_group_share_score_and_rank(make_context: MakeContext):
    bundle = tiny_bundle("llama")
    rows = importance(bundle, criterion("taylor"), make_context()).head_rows()
    assert [row["head"] for row in rows] == [0, 1, 2, 3] * 4
    assert [row["kv_group"] for row in rows] == [0, 0, 1, 1] * 4
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        assert (first["score"], first["rank"]) == (second["score"], second["rank"])


def test_halves_that_hold_the_same_agree(make_context: MakeContext):
    split = tiny_split("calibration", 8, seed=3)
    twice = split.rows(np.repeat(np.arange(8), 2))
    assert importance(tiny_bundle(), criterion("taylor"), make_context(calibration=twice)).agreement == pytest.approx(1)


def test_too_few_examples_say_nothing_of_how_far_the_order_holds(make_context: MakeContext):
    few = make_context(calibration=tiny_split("calibration", 6))
    assert importance(tiny_bundle(), criterion("taylor"), few).agreement is None


def test_scores_that_are_not_finite_are_refused_by_their_layer(make_context: MakeContext):
    bundle = tiny_bundle()
    with torch.no_grad():
        bundle.module.bert.encoder.layer[2].output.dense.weight.fill_(float("nan"))
    with pytest.raises(ModelError, match=r"layers\.\d\.\w+ are not finite"):
        importance(bundle, criterion("taylor"), make_context())


def test_a_criterion_without_labels_says_so(make_context: MakeContext):
    split = tiny_split("calibration", 8)
    with pytest.raises(DataError, match="labelled"):
        importance(tiny_bundle(), criterion("taylor"), make_context(calibration=replace(split, labels=None)))
