"""Laws of what broke: worst first, nothing averaged away, text of others kept as text."""

import pytest
from sample import old_run, sample_run

from evaluation.measurement import Measurement
from reports.broke import broke_blocks, broke_in_brief
from reports.markdown import written
from reports.outline import Fold, Grid, Paragraph


def told(run):
    return "\n".join(map(written, broke_blocks(run)))


def with_table(name, rows):
    run = sample_run()
    return run.model_copy(update={"tables": run.tables | {name: rows}})


def test_the_result_s_slices_are_open_and_the_others_folded():
    blocks = list(broke_blocks(sample_run()))
    captions = [block.table.caption for block in blocks if isinstance(block, Grid)]
    folded = [block.title for block in blocks if isinstance(block, Fold)]
    assert any("slice: result" in caption for caption in captions)
    assert any("slice: 02-prune" in title for title in folded)


def test_slices_keep_their_order_and_those_beyond_chance_stand_out():
    [table] = [
        block.table for block in broke_blocks(sample_run()) if isinstance(block, Grid) and "slice:" in written(block)
    ]
    assert [row[0] for row in table.rows][:2] == ["label: negative", "length: 7 to 12 characters"]
    assert table.accent == {0}


def test_a_slice_that_is_too_small_is_shown_and_not_judged():
    text = told(sample_run())
    assert "too few examples to judge" in text
    brief = "\n".join(map(written, broke_in_brief(sample_run())))
    assert "900 characters" not in brief
    assert "label: negative" in brief


def test_flips_are_counted_and_shown_the_surest_first():
    text = told(sample_run())
    assert "31 (3.0 %)" in text
    assert text.index("0.970") < text.index("0.870")
    assert "<b>" not in text
    assert "dull \\| and long" in text


def test_outputs_that_are_no_numbers_are_said_first():
    run = sample_run()
    bad = Measurement(
        target="result",
        name="not_finite",
        value=7,
        unit="examples",
        count=1050,
        higher_is_better=False,
        conditions={"split": "test"},
    )
    first = next(iter(broke_blocks(run.model_copy(update={"measurements": [*run.measurements, bad]}))))
    assert isinstance(first, Paragraph)
    assert first.tone == "bad"
    assert "7 of 1,050 examples" in first.text


def test_calibration_stands_with_its_interval_and_its_rise():
    text = told(sample_run())
    assert "0.070 (0.057 to 0.086)" in text
    assert "rise over torch-fp32" in text


@pytest.mark.parametrize("rows", [None, 3, [], [3], [{}], [{"target": None}], [{"target": "result", "drop": "x"}]])
@pytest.mark.parametrize("table", ["flips", "flips_count", "slices"])
def test_a_table_that_was_edited_by_hand_breaks_no_page(table, rows):
    told(with_table(table, rows))


def test_an_old_run_has_nothing_to_say():
    assert list(broke_blocks(old_run())) == []
