"""Laws of the charts' content: the headline shows every comparison and its gate, the anatomy keeps its order."""

import html
import json
import math
import re
from xml.etree import ElementTree

import altair as alt
import pytest
from sample import RECIPE, sample_run

from evaluation.measurement import Comparison, Measurement, Run
from reports.cast import limit_of
from reports.charts.still import still, themed
from reports.charts.theme import COLOURS
from reports.drawing import headline_chart, latency_chart, waterfall_chart
from reports.headline import name_of
from reports.layers import anatomy_chart, anatomy_rows, importance_charts
from reports.number import read_comparison, read_measurement
from reports.outline import Switch, charts_in
from reports.page import render_html, render_markdown
from reports.scatter import tradeoff_block
from reports.story import sections_of


def drawn_words(chart):
    """What is written in a chart's picture, a label of several lines as one."""
    svg = still(chart.name, chart.alt, chart.draw())
    texts = re.findall(r"<text[^>]*>(.*?)</text>", svg)
    return [" ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split()) for text in texts]


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
    words = drawn_words(chart)
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
    page = render_html([sample_run()], drawn=False)
    assert page.index('<ul class="tiles">') < page.index('<figure class="plot narrow"') < page.index('id="steps"')
    text = render_markdown([sample_run()])
    assert text.index("(headline.svg)") < text.index("Step by step")


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
    assert name_of(run, only) in drawn_words(chart)


def test_without_comparisons_there_is_no_headline_chart():
    assert headline_chart(sample_run().model_copy(update={"comparisons": []}), "") is None


def test_losses_of_different_units_have_axes_of_their_own():
    run, pair = sample_run(), {"target": "result", "baseline": "torch-fp32"}
    more = Comparison(**pair, name="quality_drop", value=0.02, unit="relative", conditions={"metric": "perplexity"})
    known = Measurement(target="result", name="perplexity", value=21.0, unit="perplexity", higher_is_better=False)
    changes = {"comparisons": [*run.comparisons, more], "measurements": [*run.measurements, known]}
    words = drawn_words(headline_chart(run.model_copy(update=changes), ""))
    assert {"Points lost (left is better)", "Rise in % (left is better)"} <= set(words)


def data_of(spec):
    """Every row that is written into a spec, wherever it stands; a row that several layers hold counts once."""
    if isinstance(spec, list):
        found = [row for each in spec for row in data_of(each)]
    elif isinstance(spec, dict):
        found = spec["data"]["values"] if "data" in spec and "values" in spec["data"] else []
        found = [*found, *(row for key, each in spec.items() if key != "data" for row in data_of(each))]
    else:
        found = []
    return [row for place, row in enumerate(found) if row not in found[:place]]


def without_data(spec):
    if isinstance(spec, dict):
        return {key: without_data(each) for key, each in spec.items() if key != "data"}
    return [without_data(each) for each in spec] if isinstance(spec, list) else spec


def test_the_waterfall_goes_from_the_reference_to_the_result():
    chart = waterfall_chart(sample_run(), "")
    rows = [row for row in data_of(chart.draw()) if row["text"].endswith("MB")]
    assert [row["label"] for row in rows] == [
        "torch-fp32",
        "01-distill",
        "02-prune",
        "03-export",
        "04-quantize",
        "result",
    ]
    assert [row["kind"] for row in (rows[0], rows[-1])] == ["reference", "result"]
    ends = [row["value"] for row in rows[:-1]]
    assert [row["start"] for row in rows[1:-1]] == ends[:-1]
    assert rows[-1]["value"] == ends[-1]
    assert all((row["kind"] == "better") == (row["value"] < row["start"]) for row in rows[1:-1])


def test_a_step_that_only_chance_tells_apart_changed_nothing():
    run = sample_run()
    tied = [c.model_copy(update={"verdict": "tie"}) if c.name == "quality_drop" else c for c in run.comparisons]
    chart = waterfall_chart(run.model_copy(update={"comparisons": tied}), "")
    kinds = {row["kind"] for row in data_of(chart.draw()) if "points" in row["beside"]}
    assert kinds == {"no change shown"}


def test_the_latency_chart_holds_every_median_with_its_interval():
    run = sample_run()
    rows = {(row["target"], row["text"]): row for row in data_of(latency_chart(run, "").draw())}
    fixed = [m for m in run.measurements if m.name == "latency_p50_ms" and "tokens" in m.conditions]
    for m in fixed:
        row = rows[m.target, read_measurement(m).figure]
        assert (row["low"], row["high"]) == (m.low, m.high)
        assert row["count"] == f"{m.count:,}"
    assert len(rows) == len(fixed) > 20


def test_the_tradeoff_is_drawn_for_latency_size_and_memory_with_its_front():
    run = sample_run()
    block = tradeoff_block([run], "")
    assert isinstance(block, Switch)
    assert [chart.name for chart in block.charts] == ["tradeoff", "tradeoff-size", "tradeoff-peak-memory"]
    for chart in block.charts:
        stairs = [row for row in data_of(chart.draw()) if row.keys() == {"cost", "value", "order"}]
        front = chart.alt.rpartition("On the Pareto front: ")[2].split(", ")
        corners = sorted((row["order"], row["cost"]) for row in stairs)[: len(front)]
        assert front
        assert all(name in {target.name for target in run.targets} for name in front)
        assert len(front) == 1 or corners


def test_the_heat_map_shows_every_head_and_which_were_cut():
    scores = [
        {"layer": layer, "head": head, "score": 0.1 * head, "kept": head > 0} for layer in (0, 1) for head in range(4)
    ]
    run = sample_run().model_copy(update={"tables": {"02-prune.head_scores": scores}})
    [chart] = importance_charts(run, "")
    assert chart.name == "importance-02-prune"
    assert "2 of 8 heads were cut" in chart.caption
    rows = data_of(chart.draw())
    assert {(row["layer"], row["head"]) for row in rows if row["fate"] == "cut"} == {(0, 0), (1, 0)}
    assert len(chart.table.rows) == 2


def test_a_loss_that_is_not_finite_is_a_gap_in_its_curve():
    series = {"01-distill.loss": {"x": [1, 2, 3], "y": [0.5, math.nan, math.inf]}}
    [chart] = charts_in(sections_of(Run(name="r", series=series)))
    assert [row["y"] for row in data_of(chart.draw())] == [0.5, None, None]
    assert "r" in render_html([Run(name="r", series=series)])


def every_chart():
    return charts_in(sections_of(sample_run()))


@pytest.mark.parametrize("chart", every_chart(), ids=lambda chart: chart.name)
def test_every_chart_is_vega_lite_in_the_theme_s_colours_alone(chart):
    spec = chart.draw()
    alt.Chart.from_dict(spec)  # refuses what is not in Vega-Lite's schema
    light = {light for light, _ in COLOURS.values()}
    looks = json.dumps(without_data(spec))
    assert set(re.findall(r"#[0-9a-fA-F]{3,8}(?=\")", looks)) <= light
    drawn = still(chart.name, chart.alt, spec)
    assert set(re.findall(r'(?:fill|stroke)="(#\w+)"', themed(drawn))) == set()
    ElementTree.fromstring(drawn)


def test_every_light_colour_has_one_dark_pair():
    lights = [light for light, _ in COLOURS.values()]
    assert len(set(lights)) == len(lights)


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
