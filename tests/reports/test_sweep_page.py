"""Laws of a sweep's page: every variant is there, failed ones too, and the front is drawn and listed for every cost."""

import re

import pytest
from sample import sample_run
from sweep_sample import FAILED, SHAPES, VARIANTS, name_of, sample_sweep

from reports.page import render_html, render_markdown, write_report


@pytest.fixture(scope="module")
def text():
    return render_markdown([sample_sweep()]).replace("\\", "")


def table_after(text, caption):
    lines = text[text.index(f"**{caption}**") :].splitlines()[2:]
    return [[cell.strip(" *") for cell in line.split("|")[1:-1]] for line in lines[: lines.index("")]]


def test_every_variant_is_a_row_and_says_how_it_ended(text):
    _, _, *rows = table_after(text, "What each variant changes, and how it ended")
    ended = {row[0]: row for row in rows}
    assert set(ended) == {name_of(*key) for key in VARIANTS} | {FAILED}
    assert ended[FAILED][3:5] == ["failed", "distill: 9 layers wanted of a model that has 6"]
    assert ended[name_of(2, 0.5)][1:4] == ["2", "0.5", "gate failed"]
    assert ended[name_of(4, 0.7)][3] == "done"


def test_the_front_is_listed_for_every_shape_and_for_the_size(text):
    for cost in (*(f"p50 at {batch} x {tokens}" for batch, tokens in SHAPES), "size"):
        rows = {row[0]: row for row in table_after(text, f"accuracy against {cost}, the cheapest first")}
        assert rows["3, 0.7"][3] == "yes"
        assert rows["4, 0.5"][3:5] == ["no", "3, 0.7"]
        assert "a tie" in rows["4, 0.7"][5]
        assert "better" in rows["2, 0.7"][5]


def test_the_front_is_drawn_for_every_cost(tmp_path):
    write_report([sample_sweep()], tmp_path)
    charts = sorted(path.name for path in tmp_path.glob("front-*.svg"))
    assert charts == ["front-1.svg", "front-2.svg", "front-3.svg"]
    for chart in charts:
        drawn = (tmp_path / chart).read_text(encoding="utf-8")
        assert ">3, 0.7<" in drawn
        assert f"{name_of(3, 0.7)} " in drawn
        assert "on the front" in drawn


def test_less_perplexity_is_better():
    text = render_markdown([sample_sweep(metric="perplexity")]).replace("\\", "")
    rows = table_after(text, "perplexity against size, the cheapest first")
    front = [float(row[1].split()[0]) for row in rows[2:] if row[3] == "yes"]
    assert front == sorted(front, reverse=True)
    assert rows[0][5] == "rise in perplexity"
    assert "perplexity lost" not in text
    assert "best perplexity: 13.4" in text


def test_sections_that_speak_of_one_result_are_left_out(text):
    titles = re.findall(r"^## (.*)", text, re.MULTILINE)
    assert titles[:3] == ["What it comes to", "Quality against latency, size and memory", "Variants"]
    assert "Step by step" not in titles
    assert "compress sweep recipe.yaml --over stages.distill.student.layers=2,3,4,9" in text


def test_a_failed_gate_names_its_variant(text):
    assert f"max_quality_drop of {name_of(2, 0.5)} is 6.8 points, wanted at most 3 points" in text


def test_a_sweep_stands_beside_other_runs():
    text = render_markdown([sample_run(), sample_sweep()])
    assert "reviews-sweep is a sweep" in text
    assert "<b>Quality against latency, size and memory</b>" in text
    page = render_html([sample_run(), sample_sweep()], drawn=False)
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_many_variants_are_named_on_the_front_alone():
    run = sample_sweep()
    more = [target.model_copy(update={"name": f"layers={place + 10}"}) for place, target in enumerate(run.targets[2:])]
    copies = {old.name: new.name for old, new in zip(run.targets[2:], more, strict=True)}
    doubled = [m.model_copy(update={"target": copies[m.target]}) for m in run.measurements if m.target in copies]
    doubled += [m.model_copy(update={"target": f"{m.target}0"}) for m in doubled]
    most = [*more, *(target.model_copy(update={"name": f"{target.name}0"}) for target in more)]
    slow = [m.model_copy(update={"value": m.value * 2}) if m.name != "accuracy" else m for m in doubled]
    crowd = run.model_copy(
        update={"targets": [*run.targets, *most], "measurements": [*run.measurements, *slow], "comparisons": []}
    )
    assert "on the front alone" in render_markdown([crowd])
