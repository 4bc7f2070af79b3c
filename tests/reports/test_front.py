"""Laws of the Pareto front: nobody on it is beaten, everybody behind it is, and a comparison reads both ways."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sweep_sample import sample_sweep

from evaluation.measurement import Comparison
from reports.front import between, costs_of, non_dominated, places, turned

points = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=12)


@given(points)
def test_the_front_is_what_nothing_beats(listed):
    front = set(non_dominated(listed))
    for index, (quality, thrift) in enumerate(listed):
        beaten = any(q >= quality and t >= thrift and (q, t) != (quality, thrift) for q, t in listed)
        assert (index not in front) == beaten


@pytest.mark.parametrize("metric", ["accuracy", "perplexity"])
def test_the_front_leads_from_the_cheapest_to_the_best(metric):
    run = sample_sweep(metric=metric)
    for cost in costs_of(run):
        listed = places(run, metric, cost)
        front = [place for place in listed if place.on_front]
        gains = [place.quality.value * (1 if metric == "accuracy" else -1) for place in front]
        assert gains == sorted(gains)
        assert [place.cost.value for place in listed] == sorted(place.cost.value for place in listed)
        assert front[0] is listed[0]
        assert front[0].rival is None
        for before, after in pairwise(front):
            assert after.rival == before.target


def test_what_is_behind_the_front_stands_beside_one_that_beats_it():
    run = sample_sweep()
    for cost in costs_of(run):
        listed = {place.target.name: place for place in places(run, "accuracy", cost)}
        for place in listed.values():
            if not place.on_front:
                rival = listed[place.rival.name]
                assert rival.on_front
                assert rival.quality.value >= place.quality.value
                assert rival.cost.value <= place.cost.value


drops = st.floats(-0.5, 2.0)


@given(st.tuples(drops, drops, drops).map(sorted), st.sampled_from(["ratio", "relative"]))
def test_turning_a_comparison_twice_changes_nothing(ends, unit):
    low, value, high = ends
    c = Comparison(
        target="a",
        baseline="b",
        name="quality_drop",
        value=value,
        low=low,
        high=high,
        verdict="worse",
        unit=unit,
        conditions={"metric": "its name decides nothing"},
    )
    once, twice = turned(c), turned(turned(c))
    assert (once.target, once.baseline, once.verdict) == ("b", "a", "better")
    assert once.low <= once.value <= once.high
    assert [twice.low, twice.value, twice.high] == pytest.approx([low, value, high], abs=1e-9)


@pytest.mark.parametrize("metric", ["perplexity", "another"])
def test_a_turned_relative_drop_is_relative_to_the_other_whatever_the_metric(metric):
    before, after = 20.0, 25.0
    lost, where = after / before - 1, {"metric": metric}
    c = Comparison(target="a", baseline="b", name="quality_drop", value=lost, unit="relative", conditions=where)
    assert turned(c).value == pytest.approx(before / after - 1)
    assert turned(c.model_copy(update={"unit": "ratio"})).value == pytest.approx(-lost)


def test_two_targets_are_compared_whichever_was_measured_first():
    run = sample_sweep()
    first, second = run.targets[2].name, run.targets[3].name
    one, other = (between(run, *pair, "speedup", batch=1, tokens=16) for pair in ((first, second), (second, first)))
    assert one.value * other.value == pytest.approx(1.0)
    assert one.low * other.high == pytest.approx(1.0)
    assert {one.verdict, other.verdict} == {"better", "worse"}
