"""Laws of attribution: each step stands against the one before it; claims are never mixed with what was measured."""

from dataclasses import replace
from itertools import pairwise

from sample import PATH, old_run, sample_run
from sweep_sample import sample_sweep

from reports.attribution import attribution_blocks, literature_blocks
from reports.claims import claims_about, claims_for
from reports.number import read_comparison
from reports.outline import Fold, Grid


def grids(blocks):
    for block in blocks:
        if isinstance(block, Grid):
            yield block.table
        elif isinstance(block, Fold):
            yield from grids(block.blocks)


def test_every_step_stands_against_the_one_before_it_with_its_interval():
    run = sample_run()
    [table] = grids(attribution_blocks(run))
    rows = {(str(row[0]).partition(" ")[0], str(row[1])): row for row in table.rows}
    assert list(rows) == [(after, before) for before, after in pairwise(PATH)]
    for (after, before), row in rows.items():
        speedup = run.compared(after, before, "speedup", batch=1, tokens=128)
        assert replace(read_comparison(speedup), count=None) in row  # the column's name tells the rounds
        assert read_comparison(speedup).interval


def test_the_ratios_of_all_steps_make_up_the_ratio_of_the_whole():
    run, product = sample_run(), 1.0
    for before, after in pairwise(PATH):
        product *= run.compared(after, before, "compression_ratio").value
    assert abs(product / run.compared("result", "torch-fp32", "compression_ratio").value - 1) < 1e-9


def test_a_run_whose_steps_were_not_compared_with_each_other_attributes_nothing():
    assert list(attribution_blocks(old_run())) == []
    assert list(attribution_blocks(sample_sweep())) == []
    assert list(literature_blocks(sample_sweep())) == []


def test_claims_stand_below_what_was_measured_and_say_who_claims_them():
    run = sample_run()
    for table in grids(literature_blocks(run)):
        assert [row[0] for row in table.rows].count("measured") == 1
        assert table.rows[0][0] == "measured"
        source = list(table.columns).index("source")
        assert all(row[source] for row in table.rows)
    told = [row[1] for table in grids(literature_blocks(run)) for row in table.rows[1:]]
    kinds = [*claims_for("distill"), *claims_for("prune"), *claims_for("export"), *claims_for("quantize")]
    assert told == [claim.title for claim in [*kinds, *claims_about("all")]]


def test_the_claims_are_said_not_to_be_comparable():
    [fold] = literature_blocks(sample_run())
    assert "not comparable" in fold.blocks[0].text
