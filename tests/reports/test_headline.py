"""Laws of the headline: words hold for the figures beside them, a ratio has its own count, half precision is said."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sample import ROUNDS, old_run, sample_run
from sweep_sample import sample_sweep

from evaluation.measurement import Comparison, Measurement, Run
from reports.headline import comparison_tiles, headline_blocks, measurement_tiles, reading_of, verdict_words
from reports.number import read_comparison
from reports.outline import Paragraph
from reports.page import render_markdown

ends = st.floats(-0.3, 0.3)
ratios = st.floats(0.2, 5.0)
PAIR = {"target": "result", "baseline": "torch-fp32"}


def tied_drop(**fields):
    given = {**PAIR, "name": "quality_drop", "value": 0.01, "verdict": "tie", "conditions": {"metric": "accuracy"}}
    return Comparison.model_validate(given | fields)


@given(ends, ends, ends, st.none() | st.floats(0.05, 1.0))
def test_a_tie_in_quality_speaks_of_0_exactly_where_the_interval_includes_it(first, second, third, adjusted):
    low, value, high = sorted((first, second, third))
    words = verdict_words(tied_drop(value=value, low=low, high=high, p_value=0.05, adjusted_p_value=adjusted))
    assert ("includes 0" in words) == (low <= 0 <= high)
    assert ("no loss shown" in words) != ("not beyond chance" in words)


@pytest.mark.parametrize(
    ("p_values", "told"),
    [
        ({"p_value": 0.03, "adjusted_p_value": 0.12}, "not beyond chance: adjusted p-value 0.12"),
        ({"p_value": 0.062}, "not beyond chance: p-value 0.062"),
        ({}, "not beyond chance"),
    ],
)
def test_where_the_test_made_the_tie_its_p_value_is_told(p_values, told):
    assert verdict_words(tied_drop(low=0.001, high=0.02, **p_values)) == told


@given(ratios, ratios, ratios, st.floats(0.0, 0.3))
def test_a_tie_in_speed_says_only_what_its_figures_say(first, second, third, noise):
    low, value, high = sorted((first, second, third))
    assume(low / (1 + noise) <= 1 <= high * (1 + noise))
    one = Comparison(**PAIR, name="speedup", value=value, low=low, high=high, noise=noise, verdict="tie")
    for words in (verdict_words(one), read_comparison(one).remark):
        assert "tie" in words
        assert ("within noise" in words) == (abs(value - 1) <= noise)
        assert "includes 1" not in words or low <= 1 <= high
        assert "not clear of noise" not in words or not low <= 1 <= high


def test_a_wide_interval_around_a_large_ratio_is_not_within_the_noise():
    one = Comparison(**PAIR, name="speedup", value=1.5, low=0.9, high=2.2, noise=0.005, verdict="tie")
    assert verdict_words(one) == "a tie: interval includes 1"
    assert str(read_comparison(one)) == "1.5x (0.9 to 2.2, tie: interval includes 1, noise 0.5 %)"


def test_a_speed_up_rests_on_its_rounds_not_on_the_calls_of_its_target():
    run = sample_run()
    tiles = [tile for tile in comparison_tiles(run, "result", "torch-fp32") if "faster" in tile.name]
    assert tiles
    assert all(f"{ROUNDS} rounds" in tile.reading.spread and "n =" not in tile.reading.spread for tile in tiles)


def test_a_speed_up_of_an_older_run_states_no_count():
    run = old_run()
    found = [reading_of(run, c) for c in run.comparisons if c.name == "speedup"]
    assert found
    assert {reading.count for reading in found} == {None}


def stored_as(run, kind):
    source = {"source": "a", "digest": "sha256:1", "bytes": 45_467_104, "stored as": kind}
    return run.model_copy(update={"tables": run.tables | {"source": source}})


@pytest.mark.parametrize("kind", ["F16", "BF16"])
def test_a_source_in_half_precision_is_told_with_its_size_and_what_sizes_are_compared_with(kind):
    run = stored_as(sample_run(), kind)
    told = [block.text for block in headline_blocks(run) if isinstance(block, Paragraph) and "went in" in block.text]
    assert told == [
        f"The file that went in is 45.5 MB (half precision, {kind}); "
        "sizes are compared with its float32 form, torch-fp32, of 90.9 MB."
    ]
    assert render_markdown([run]).count(told[0]) == 1
    assert "half precision" in render_markdown([stored_as(sample_sweep(), kind)])


@pytest.mark.parametrize("kind", ["F32", ""])
def test_a_source_in_float32_needs_no_such_words(kind):
    assert "half precision" not in render_markdown([stored_as(sample_run(), kind)])


def test_figures_of_one_name_are_told_apart_by_the_conditions_that_differ():
    common = {"target": "bench", "value": 1.0, "unit": "ratio", "higher_is_better": False}
    conditions = [{"runtime": r, "shape": s, "threads": 2} for r in ("torch", "openvino") for s in ("1x16", "32x64")]
    figures = [Measurement(**common, name="together_over_alone", conditions=each) for each in conditions]
    alone = Measurement(**common, name="leaks", conditions={"threads": 2})
    tiles = measurement_tiles(Run(name="bench", measurements=[figures[0], alone, *figures[1:]]), "bench")
    words = {(tile.name, tile.words) for tile in tiles}
    wanted = {("together_over_alone", f"runtime {c['runtime']}, shape {c['shape']}") for c in conditions}
    assert words == wanted | {("leaks", "")}
