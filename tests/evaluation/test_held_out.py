"""Laws of quality on held-out rows: it is the share of right ones, with an interval, whatever the batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import tiny_bundle, tiny_split

from compress.errors import DataError
from compress.metric import metric_of
from compress.runtime import runtime_of
from evaluation.quality.held_out import evidence_on, quality_row

METRICS = {"accuracy": metric_of("accuracy", "class")}


def evidence(bundle, split):
    session = runtime_of("torch-fp32").open(bundle, device="cpu", threads=1)
    return evidence_on(bundle, session, split, METRICS)["accuracy"]


def test_the_evidence_is_each_example_s_own_in_the_order_of_the_split():
    bundle, split = tiny_bundle(), tiny_split("judged", 40)
    together = evidence(bundle, split)
    alone = [evidence(bundle, split.rows(np.array([row])))[0] for row in range(len(split))]
    assert together.tolist() == np.array(alone).tolist()


def test_the_figure_is_the_share_of_right_ones_with_its_interval_count_and_conditions():
    found = evidence(tiny_bundle(), tiny_split("judged", 40))
    row = quality_row("model", "accuracy", METRICS["accuracy"], found, seed=0, conditions={"split": "judged"})
    assert row.value == pytest.approx(found.mean())
    assert row.low < row.value < row.high
    assert (row.count, row.unit, row.higher_is_better, row.conditions) == (40, "ratio", True, {"split": "judged"})


def test_outputs_that_are_not_finite_are_refused():
    bundle = tiny_bundle()
    with torch.no_grad():
        bundle.module.classifier.bias.fill_(float("nan"))
    with pytest.raises(DataError, match="not finite"):
        evidence(bundle, tiny_split("judged", 4))
