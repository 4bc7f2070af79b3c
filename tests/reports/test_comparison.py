"""Laws of the report over several runs: pairs with intervals, what can't be compared is said, many runs stay light."""

import time

from sample import sample_run

from evaluation.measurement import Across, Comparison, Measurement, Obstacle, SeedGroup
from reports.comparison import MOST_IN_FULL
from reports.number import read_comparison, read_measurement
from reports.page import render_html, render_markdown


def drop(**fields):
    given = {"target": "b", "baseline": "a", "name": "quality_drop", "value": 0.012, "low": 0.001, "high": 0.024}
    given |= {"unit": "ratio", "p_value": 0.03, "adjusted_p_value": 0.06, "count": 1050, "verdict": "tie"}
    return Comparison.model_validate(given | {"conditions": {"metric": "accuracy"}} | fields)


def runs(count=2):
    return [sample_run(f"run-{place}", faster=1 + place / 10) for place in range(count)]


def test_pairs_stand_with_interval_both_p_values_and_verdict():
    text = render_markdown(runs(), Across(runs=["a", "b"], comparisons=[drop()]))
    [row] = [line for line in text.splitlines() if line.startswith("| b | a |")]
    assert all(part in row for part in (str(read_comparison(drop())), "0.030", "0.060", "not beyond chance"))


def test_what_can_t_be_compared_is_said_with_the_reason():
    obstacle = Obstacle(first="a", second="b", what="speed", reason="2 threads and 4 threads")
    assert "| a | b | speed | 2 threads and 4 threads |" in render_markdown(
        runs(), Across(runs=["a", "b"], obstacles=[obstacle])
    )


def test_seeds_stand_together_with_their_number():
    figure = Measurement(
        target="result",
        name="accuracy",
        value=0.86,
        unit="ratio",
        low=0.83,
        high=0.89,
        count=1050,
        higher_is_better=True,
    )
    change = drop(target="result", baseline="torch-fp32")
    group = SeedGroup(runs=["a", "b"], seeds=[13, 14], measurements=[figure], comparisons=[change])
    text = render_markdown(runs(), Across(runs=["a", "b"], seeds=[group]))
    assert "2 seeds (13, 14): a, b" in text
    assert str(read_measurement(figure)) in text


def test_a_run_that_contradicts_itself_is_named():
    text = render_markdown(runs(), Across(runs=["a", "b"], doubts={"b": ["accuracy is 0.9, its predictions give 0.8"]}))
    assert "b contradicts itself" in text
    assert "its predictions give 0.8" in text


def test_few_runs_are_told_in_full_and_many_are_not():
    assert "## run-1" in render_markdown(runs(MOST_IN_FULL))
    many = render_markdown(runs(MOST_IN_FULL + 1))
    assert "in its own report" in many
    assert "How to reproduce" not in many


def test_fifty_runs_are_compared_in_seconds_on_a_page_that_opens():
    listed = runs(50)
    labels = [run.name for run in listed]
    pairs = [drop(target=after, baseline=before) for i, before in enumerate(labels) for after in labels[i + 1 :]]
    started = time.process_time()
    page = render_html(listed, Across(runs=labels, comparisons=pairs), drawn=False)
    assert time.process_time() - started < 10
    assert len(page.encode()) < 6_000_000
