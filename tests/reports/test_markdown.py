"""Laws of `report.md`: what a reviewer must see is on top and open, all else is folded, and a comment can hold it."""

import re

from sample import old_run, sample_run
from sweep_sample import sample_sweep

from evaluation.measurement import Gate, Run
from reports.page import render_markdown

LONGEST_COMMENT = 65_536  # letters that GitHub takes


def opening(run):
    return render_markdown([run]).partition("<details>")[0]


def test_the_top_holds_headline_gates_and_what_broke():
    text = opening(sample_run(min_speedup=12))
    assert text.index("1 of 3 gates failed") < text.index("result against torch-fp32") < text.index("**Gates**")
    assert "| min_speedup | result | at least 12x | 9.8x |" in text.replace("**", "")
    assert text.index("**Gates**") < text.index("right before and wrong now") < text.index("label: negative")


def test_the_top_is_short_and_the_whole_fits_a_comment():
    assert len(opening(sample_run()).splitlines()) < 60
    assert len(render_markdown([sample_run()])) < LONGEST_COMMENT


def test_what_is_too_long_for_a_comment_is_left_to_the_page_by_name():
    run = sample_run()
    flips = [row | {"text": "long " * 1000} for row in run.tables["flips"] * 10]
    text = render_markdown([run.model_copy(update={"tables": run.tables | {"flips": flips}})])
    assert len(text.encode()) < LONGEST_COMMENT
    assert re.search(r"^\*20 of the \d+ examples whose decision changed.*: on the page\.\*$", text, flags=re.MULTILINE)
    assert opening(run) == text.partition("<details>")[0]


def test_all_but_the_top_is_folded_and_every_fold_is_shut():
    text = render_markdown([sample_run()])
    assert text.count("<details>") == text.count("</details>")
    assert not re.search("^## ", text, flags=re.MULTILINE)


def test_an_old_run_and_a_sweep_come_out_whole():
    assert "9.8x (9.5 to 10.1" in opening(old_run())
    assert "## Variants" in render_markdown([sample_sweep()])


def test_of_several_runs_the_comparison_is_open_and_each_run_folded():
    text = render_markdown([sample_run(), sample_run("other", faster=1.3)])
    assert "## The runs side by side" in text
    assert "<summary><b>How to reproduce</b></summary>" in text


def test_what_a_bench_recorded_is_not_folded():
    gate = Gate(name="kills_resumed", limit=50, value=50, passed=True)
    assert "<details>" not in render_markdown([Run(name="faults", gates=[gate], tables={"t": [{"a": 1}]})])
