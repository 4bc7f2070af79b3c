"""A study's page draws each target's figures where they stand, tells them in words and in a table, and says no more."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from evaluation.measurement import Comparison, Measurement, Run
from reports.charts.lines import apart
from reports.charts.theme import COLOURS
from reports.outline import Chart
from reports.page import render_html, render_markdown
from reports.study import study_blocks

CHART = {
    "name": "loss",
    "caption": "What is lost.",
    "measurement": "accuracy",
    "along": "left",
    "x_title": "left",
    "y_title": "accuracy",
    "ticks": [0.5, 0.75],
    "falling": True,
    "levels": [{"target": "uncut"}, {"name": "wanted", "value": 0.8}],
    "lines": [
        {"target": "one", "group": "a", "dashed": False},
        {"target": "two", "group": "a", "dashed": True},
        {"target": "absent", "group": "b", "dashed": False},
    ],
}


def measured(target: str, value: float, **conditions: Any) -> Measurement:
    return Measurement(
        target=target,
        name="accuracy",
        value=value,
        low=value - 0.02,
        high=value + 0.02,
        count=100,
        unit="ratio",
        higher_is_better=True,
        conditions={"split": "test", **conditions},
    )


def study(*, places: tuple[float, ...] = (0.5, 0.75)) -> Run:
    rows = [measured(name, 0.7 + 0.2 * place, left=place) for name in ("one", "two") for place in places]
    drop = Comparison(target="one", baseline="two", name="quality_drop", value=0.0, conditions={"metric": "accuracy"})
    return Run(
        name="a study",
        measurements=[measured("uncut", 0.9), *rows],
        comparisons=[drop],
        tables={"study": {"told": ["Two ways <were> tried."], "charts": [CHART], "notes": ["Small print."]}},
    )


def chart_of(run: Run) -> Chart:
    [chart] = [block for block in study_blocks(run, "") if isinstance(block, Chart)]
    return chart


def test_a_line_runs_as_its_axis_does_and_lines_without_figures_are_left_out() -> None:
    chart = chart_of(study())
    assert chart.table is not None
    told = [tuple(map(str, row[:2])) for row in chart.table.rows]
    assert told == [(name, place) for name in ("one", "two") for place in ("0.750", "0.500")]
    assert "absent" not in chart.alt
    assert "uncut: 0.9" in chart.alt
    assert "wanted" in chart.alt


@pytest.mark.parametrize("places", [(0.5,), (0.5, 0.75)])
def test_every_point_is_drawn_with_its_interval_and_few_of_them_are_enough(places: tuple[float, ...]) -> None:
    spec = chart_of(study(places=places)).draw()
    values = [row for layer in spec["layer"] for row in layer.get("data", {}).get("values", ()) if "low" in row]
    drawn = {(row["line"], row["x"], row["value"]) for row in values}
    figures = [m for m in study(places=places).measurements if m.target != "uncut"]
    wanted = {(m.target, m.conditions["left"], m.value) for m in figures}
    assert drawn == wanted
    assert all(row["low"] < row["value"] < row["high"] for row in values)


def test_page_and_markdown_tell_the_study_and_not_two_targets_of_it() -> None:
    text, page = render_markdown([study()]), render_html([study()])
    for told in ("tried.", "Small print.", "What is lost."):
        assert told in text
        assert told in page
    assert "<were>" not in page
    assert "against uncut" not in text


@pytest.mark.parametrize("places", [[3.0, 1.0, 2.0], [5.0, 5.0, 5.0, 40.0], [7.0], [0.0, 100.0]])
def test_names_are_apart_in_their_order_and_only_as_far_as_needed(places: list[float]) -> None:
    moved = apart(places, 4.0)
    ordered = sorted(moved)
    assert all(after - before >= 4.0 - 1e-9 for before, after in pairwise(ordered))
    assert sorted(range(len(places)), key=places.__getitem__) == sorted(range(len(places)), key=moved.__getitem__)
    assert apart(ordered, 4.0) == pytest.approx(ordered)
    assert sum(moved) == pytest.approx(sum(places))


def test_a_chart_takes_no_colour_but_the_themes() -> None:
    text = str(chart_of(study()).draw())
    found = {part[:7] for part in text.split("'") if part.startswith("#") and len(part) == 7}
    assert found <= {light for light, _ in COLOURS.values()}
