"""Laws of who is who: a record itself says whether it is quality or a cost, and steps are nobody's baseline."""

import pytest
from sample import BASELINES, old_run, sample_run

from evaluation.measurement import Comparison, Measurement
from reports import cast


def measurement(name, unit, **conditions):
    return Measurement(target="result", name=name, value=1.0, unit=unit, higher_is_better=False, conditions=conditions)


@pytest.mark.parametrize(
    "cost",
    [
        measurement("a_cost_that_nobody_knows_yet", "ratio", batch=1, tokens=16),
        measurement("noise", "ratio", batch=1, tokens=16),
        measurement("not_finite", "examples", split="test"),
        measurement("latency_p50_ms", "ms", inputs="texts", split="test", batch=1),
        measurement("cost_per_million", "EUR", per_hour=0.17),
    ],
    ids=lambda cost: cost.name,
)
def test_a_cost_is_no_metric_whatever_its_name(cost):
    run = sample_run()
    more = run.model_copy(update={"measurements": [*run.measurements, cost]})
    assert cast.metrics_of(more) == cast.metrics_of(run)


def test_a_metric_that_nobody_knows_yet_is_one():
    run = sample_run()
    new = measurement("a_new_metric", "ratio", split="test")
    assert "a_new_metric" in cast.metrics_of(run.model_copy(update={"measurements": [*run.measurements, new]}))


def test_steps_are_compared_with_each_other_and_are_no_baselines():
    assert cast.baselines_of(sample_run()) == list(BASELINES)
    assert sample_run().reference == "torch-fp32"


def test_real_texts_are_no_shape():
    texts = measurement("latency_p50_ms", "ms", inputs="texts", batch=1, tokens=23)
    assert cast.shape_of(texts) is None
    assert cast.shapes_of(sample_run()) == cast.shapes_of(old_run())


@pytest.mark.parametrize(
    ("stated", "measured", "unit"), [("relative", "perplexity", "relative"), ("", "ratio", "ratio")]
)
def test_a_loss_is_in_the_unit_that_its_record_states_else_in_the_metric_s(stated, measured, unit):
    drop = Comparison(
        target="result", baseline="b", name="quality_drop", value=0.1, unit=stated, conditions={"metric": "m"}
    )
    run = sample_run().model_copy(
        update={"comparisons": [drop], "measurements": [measurement("m", measured, split="test")]}
    )
    assert cast.loss_unit(run, "m") == unit


def test_a_gate_s_limit_holds_for_the_reference_alone():
    run = sample_run()
    drops = [c for c in run.comparisons if c.name == "quality_drop" and c.conditions["metric"] == "accuracy"]
    assert {c.baseline for c in drops} > {"torch-fp32"}
    assert {c.baseline for c in drops if cast.limit_of(run, c) is not None} == {"torch-fp32"}


def test_older_files_state_no_unit_and_perplexity_was_relative_in_them():
    run = sample_run().model_copy(
        update={"comparisons": [], "measurements": [measurement("perplexity", "perplexity", split="test")]}
    )
    assert cast.loss_unit(run, "perplexity") == "relative"
    assert cast.loss_name(run, "perplexity") == "rise in perplexity"
