"""Laws of the charts' content: the headline shows every comparison and its gate, the anatomy keeps its order."""

import re

import pytest
from sample import RECIPE, sample_run

from evaluation.measurement import Comparison, Run
from reports.cast import limit_of
from reports.drawing import anatomy_chart, anatomy_rows, headline_chart
from reports.headline import name_of
from reports.number import read_comparison
from reports.page import render_html, render_markdown


def drawn_words(svg):
    return re.findall(r">([^<>]+)</text>", svg)


def headline_of(run):
    return [
        c
        for c in run.comparisons
        if (c.target, c.baseline) == ("result", "torch-fp32")
        and c.name in ("compression_ratio", "speedup", "quality_drop")
    ]


def test_the_headline_draws_every_ratio_and_every_loss():
    run = sample_run()
    chart = headline_chart(run, "")
    assert chart.name == "headline"
    words = drawn_words(chart.draw())
    for c in headline_of(run):
        assert name_of(run, c) in words
        assert read_comparison(c).figure in words
        assert read_comparison(c).interval in chart.alt


def test_the_headline_marks_the_limits_of_the_gates():
    run = sample_run()
    limits = {name_of(run, c): limit for c in headline_of(run) if (limit := limit_of(run, c)) is not None}
    assert limits == {"times faster at 1 x 128": 6.0, "accuracy lost": 0.03}
    chart = headline_chart(run, "")
    assert "gate: at least 6x" in chart.alt
    assert "gate: at most 3 points" in chart.alt
    assert "gates' limits" in chart.caption
    bare = headline_chart(run.model_copy(update={"recipe": {}}), "")
    assert "gate" not in bare.alt + bare.caption
    assert chart.draw() != bare.draw()


def test_a_gate_over_another_baseline_or_shape_marks_nothing():
    gates = RECIPE["gates"] | {"min_speedup": {"baseline": "onnx-fp32", "shape": "1x128", "ratio": 6}}
    run = sample_run().model_copy(update={"recipe": RECIPE | {"gates": gates}})
    assert {limit_of(run, c) for c in headline_of(run) if c.name == "speedup"} == {None}


def test_the_headline_chart_stands_under_the_tiles_before_the_steps():
    page = render_html([sample_run()])
    assert page.index('<ul class="tiles">') < page.index('<figure class="narrow">') < page.index('id="steps"')
    text = render_markdown([sample_run()])
    assert text.index("(headline.svg)") < text.index("## Step by step")


@pytest.mark.parametrize(
    "only",
    [
        Comparison(target="b", baseline="a", name="speedup", value=1.01, low=-0.5, high=1.1),
        Comparison(target="b", baseline="a", name="compression_ratio", value=1.0),
        Comparison(target="b", baseline="a", name="quality_drop", value=0.0, conditions={"metric": "accuracy"}),
        Comparison(target="b", baseline="a", name="quality_drop", value=0.02, conditions={"metric": "perplexity"}),
    ],
    ids=["an interval below zero", "no change", "no loss", "another unit"],
)
def test_one_comparison_is_enough(only):
    run = Run(name="r", comparisons=[only], targets=sample_targets())
    chart = headline_chart(run, "")
    assert name_of(run, only) in drawn_words(chart.draw())


def test_without_comparisons_there_is_no_headline_chart():
    assert headline_chart(sample_run().model_copy(update={"comparisons": []}), "") is None


def test_losses_of_different_units_have_axes_of_their_own():
    more = Comparison(
        target="result", baseline="torch-fp32", name="quality_drop", value=0.02, conditions={"metric": "perplexity"}
    )
    run = sample_run()
    words = drawn_words(headline_chart(run.model_copy(update={"comparisons": [*run.comparisons, more]}), "").draw())
    assert {"Points lost (left is better)", "Rise in % (left is better)"} <= set(words)


def test_the_anatomy_is_told_in_the_order_of_the_work():
    rows = anatomy_rows(sample_run())
    assert [(name, role) for name, role, _ in rows] == [
        ("reference", "baseline"),
        ("01-distill", "step"),
        ("02-prune", "step"),
    ]
    alt = anatomy_chart(sample_run(), "").alt
    assert alt.index("reference heads") < alt.index("01-distill heads") < alt.index("02-prune heads")


def test_the_anatomy_of_the_result_may_bear_its_stage_s_name():
    run = sample_run()
    last = [{"target": "04-quantize", "layer": 0, "axis": "heads", "units": 1}]
    rows = anatomy_rows(run.model_copy(update={"tables": {"anatomy": [*run.tables["anatomy"], *last]}}))
    assert rows[-1][:2] == ("04-quantize", "result")


def sample_targets():
    return [
        target.model_copy(update={"name": name}) for name, target in zip(("a", "b"), sample_run().targets, strict=False)
    ]
