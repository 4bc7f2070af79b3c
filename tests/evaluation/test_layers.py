"""Laws of figures by layer and part: counted ones add up to the whole's, times are medians of their rounds."""

from __future__ import annotations

import numpy as np
import pytest
from tiny import tiny_bundle

from compress import catalog
from compress.bundle import Bundle
from compress.deploy import Shape
from compress.layer_times import LayerTimes
from evaluation.size.layers import flop_rows, parameter_rows
from evaluation.speed.layers import latency_rows, whole_latency

FAMILIES = catalog.names("families")


@pytest.mark.parametrize("family", FAMILIES)
def test_parts_add_up_to_all_parameters_and_all_flops(family: str):
    anatomy = tiny_bundle(family).anatomy
    rows = parameter_rows(anatomy)
    assert sum(row["parameters"] for row in rows) == anatomy.parameters
    within = [row for row in rows if row["layer"] is not None or row["part"] == "encoder_rest"]
    assert sum(row["parameters"] for row in within) == anatomy.encoder_parameters
    assert len({row["layer"] for row in rows} - {None}) == anatomy.layers
    for shape in (Shape(1, 8), Shape(3, 16)):
        flops = flop_rows(anatomy, shape)
        assert sum(row["flops"] for row in flops) == anatomy.flops(shape.batch, shape.tokens)
        assert all(row["flops"] > 0 for row in flops if row["layer"] is not None)


def test_each_layer_of_an_uneven_model_has_its_own_units(uneven: Bundle):
    rows = parameter_rows(uneven.anatomy)
    assert [row["heads"] for row in rows if row["part"] == "attention"] == [4, 3, 1, 2]
    assert [row["units"] for row in rows if row["part"] == "ffn"] == [64, 40, 5, 17]


def test_kv_groups_say_how_many_heads_they_hold():
    rows = [row for row in parameter_rows(tiny_bundle("llama").anatomy) if row["part"] == "attention"]
    assert all((row["axis"], row["units"], row["heads"]) == ("kv_groups", 2, 4) for row in rows)


def test_shared_weights_count_where_they_first_run_and_their_flops_each_time():
    anatomy = tiny_bundle("albert").anatomy
    rows = [row for row in parameter_rows(anatomy) if row["part"] == "ffn"]
    again = [row for row in rows if "shared_with" in row]
    assert again
    assert all(row["parameters"] == 0 for row in again)
    assert all(rows[row["shared_with"]]["parameters"] > 0 for row in again)
    flops = [row["flops"] for row in flop_rows(anatomy, Shape(1, 8)) if row["part"] == "ffn"]
    assert len(set(flops)) == 1
    assert len(flops) == anatomy.layers


def test_times_by_layer_are_medians_of_all_calls_with_an_interval_around_them():
    generator = np.random.default_rng(0)
    layers = [10 + generator.random((5, 3)) for _ in range(4)]
    attention = [3 + generator.random((5, 3)) for _ in range(4)]
    watched = [each.sum(axis=1) + 2 for each in layers]
    rows = latency_rows(LayerTimes(watched, watched, layers, attention), Shape(1, 8), seed=0)
    assert [row["layer"] for row in rows] == [0, 0, 0, 1, 1, 1, 2, 2, 2, None]
    assert rows[1]["latency_p50_ms"] == pytest.approx(np.median(np.concatenate(attention)[:, 0]))
    assert rows[2]["latency_p50_ms"] == pytest.approx(
        np.median(np.concatenate(layers)[:, 0] - np.concatenate(attention)[:, 0])
    )
    assert rows[-1]["latency_p50_ms"] == pytest.approx(2)
    assert all(row["low"] <= row["latency_p50_ms"] <= row["high"] and row["count"] == 20 for row in rows)


def test_the_whole_has_median_and_95th_percentile():
    rounds = [np.arange(1.0, 11), np.arange(11.0, 21)]
    middle, slow = whole_latency("model", rounds, seed=0, conditions={"tokens": 8})
    assert (middle.name, middle.value, middle.count) == ("latency_p50_ms", 10.5, 20)
    assert (slow.name, slow.unit) == ("latency_p95_ms", "ms")
    assert middle.value < slow.value <= 20
