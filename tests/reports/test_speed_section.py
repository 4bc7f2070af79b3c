"""Laws of the speed section: shapes and real texts apart, the noise floor beside every ratio, ties called ties."""

import re

from sample import NOISE, old_run, sample_run

from reports import cast
from reports.markdown import written
from reports.outline import Grid
from reports.speed import speed_blocks


def tables(run):
    return {block.table.caption: block.table for block in speed_blocks(run) if isinstance(block, Grid)}


def test_real_texts_are_no_shape():
    assert [(shape.batch, shape.tokens) for shape in cast.shapes_of(sample_run())] == list(NOISE)
    assert cast.metrics_of(sample_run()) == ["accuracy", "f1", "calibration_error"]


def test_texts_have_tables_of_their_own_with_tokenization_apart_and_included():
    captions = [caption for caption in tables(sample_run()) if "Real texts" in caption]
    assert [caption.rpartition(" ")[2] for caption in captions] == ["apart", "included"]
    assert all("23 tokens" in caption for caption in captions)


def test_the_noise_floor_stands_beside_every_ratio_at_its_shape():
    for (batch, tokens), noise in NOISE.items():
        table = tables(sample_run())[f"{batch} x {tokens} (batch x tokens)"]
        ratios = [cell for row in table.rows for cell in row if str(getattr(cell, "figure", "")).endswith("x")]
        assert ratios
        assert all(f"{100 * noise:g} %" in cell.spread for cell in ratios)


def test_a_ratio_is_called_a_tie_exactly_where_its_verdict_is():
    run = sample_run()
    told = "\n".join(map(written, speed_blocks(run)))
    shown = [c for c in run.comparisons if c.name == "speedup" and c.baseline in cast.baselines_of(run)]
    ties = [c for c in shown if c.verdict == "tie"]
    assert 0 < len(ties) < len(shown)
    assert told.count("tie: ") == len(ties)


def test_a_percentile_stands_only_where_it_was_measured():
    found = tables(sample_run())
    assert any(column.startswith("p99") for column in found["1 x 16 (batch x tokens)"].columns)
    assert not any(column.startswith("p99") for column in found["32 x 128 (batch x tokens)"].columns)


def test_what_a_call_takes_has_a_row_for_every_target_and_shape():
    table = tables(sample_run())["What a call takes"]
    assert len(table.rows) == len(sample_run().targets) * len(NOISE)
    assert any("USD" in str(cell) for cell in table.rows[0])


def test_an_old_run_still_tells_its_latencies():
    text = "\n".join(map(written, speed_blocks(old_run())))
    assert "9.8x (9.5 to 10.1)" in text
    assert not re.search("noise|Real texts|Load", text)
