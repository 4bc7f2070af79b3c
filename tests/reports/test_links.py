"""Every figure leads to its conditions: a reading's link ends in the row of its own record, and nowhere else."""

import pytest
from sample import sample_run
from sweep_sample import sample_sweep

from evaluation.measurement import Measurement
from reports.anchor import anchor_of
from reports.comparison import sections_over
from reports.number import Reading, read_measurement
from reports.outline import Fold, Grid, Section, Tiles
from reports.story import sections_of


def readings(blocks):
    for block in blocks:
        match block:
            case Grid():
                yield from (cell for row in block.table.rows for cell in row if isinstance(cell, Reading))
            case Fold():
                yield from readings(block.blocks)
            case Tiles():
                yield from (tile.reading for tile in block.tiles)


def anchors(blocks):
    for block in blocks:
        match block:
            case Grid():
                yield from filter(None, block.table.anchors)
            case Fold():
                yield from anchors(block.blocks)


SECTIONS = {
    "one": sections_of(sample_run()),
    "sweep": sections_of(sample_sweep()),
    "two of a name": sections_over([sample_run(), sample_run()]),
    "many": sections_over([sample_run()] * 6),
}


@pytest.mark.parametrize("sections", SECTIONS.values(), ids=SECTIONS)
def test_rows_have_names_of_their_own_and_no_link_is_dead(sections):
    names = [name for section in sections for name in anchors(section.blocks)]
    assert len(names) == len(set(names))
    led = {reading.at for section in sections for reading in readings(section.blocks) if reading.at}
    assert led <= set(names)


def test_every_figure_of_a_target_leads_to_the_row_with_its_conditions():
    run = sample_run()
    for section in sections_of(run):
        if section.name in ("headline", "latency", "tradeoff"):
            found = list(readings(section.blocks))
            assert sum(bool(reading.at) for reading in found) > 0.8 * len(found), section.name
    record = run.measured("result", "latency_p95_ms", batch=1, tokens=128)
    [table] = [
        fold.blocks[0].table
        for fold in _section(sections_of(run), "measurements").blocks
        if isinstance(fold, Fold) and fold.blocks[0].table.caption == "All measurements"
    ]
    row = table.rows[table.anchors.index(anchor_of(record))]
    assert row[:2] == ("result", "latency_p95_ms")
    assert "batch 1, tokens 128" in row[table.columns.index("conditions")]


def test_records_of_different_conditions_have_different_anchors():
    at = {"target": "t", "name": "n", "value": 1.0, "unit": "ms", "higher_is_better": False}
    names = {anchor_of(Measurement(**at, conditions={"batch": batch})) for batch in range(50)}
    assert len(names) == 50
    assert read_measurement(Measurement(**at)).at == anchor_of(Measurement(**at, conditions={}))


def _section(sections: list[Section], name: str) -> Section:
    return next(section for section in sections if section.name == name)
