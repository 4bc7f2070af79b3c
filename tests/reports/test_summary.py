"""The law of `summary.csv`: every record can be read back from it, exactly."""

import csv
import io
import json

import pytest
from sample import sample_run

from evaluation.measurement import Comparison, Gate, Measurement
from reports.summary import COLUMNS, OPENING, summary_csv


def test_every_record_can_be_read_back():
    run = sample_run()
    rows = list(csv.DictReader(io.StringIO(summary_csv([run]))))
    measurements = [Measurement(**_fields(row)) for row in rows if row["record"] == "measurement"]
    comparisons = [Comparison(**_fields(row)) for row in rows if row["record"] == "comparison"]
    assert measurements == run.measurements
    gates = [Gate(**_fields(row)) for row in rows if row["record"] == "gate"]
    assert comparisons == run.comparisons
    assert gates == run.gates


@pytest.mark.parametrize("record", [Measurement, Comparison, Gate])
def test_every_field_of_a_record_has_a_column(record):
    assert set(record.model_fields) <= set(COLUMNS)


def test_summaries_of_older_versions_begin_alike():
    assert "run,record,target,baseline,name,value,unit,low,high".startswith(OPENING)


def test_runs_of_one_name_are_told_apart():
    rows = list(csv.DictReader(io.StringIO(summary_csv([sample_run(), sample_run()]))))
    assert {row["run"] for row in rows} == {"reviews-trio", "reviews-trio (2)"}
    assert tuple(rows[0]) == COLUMNS


def _fields(row):
    present = {name: value for name, value in row.items() if value != ""}
    return present | ({"conditions": json.loads(row["conditions"])} if row["conditions"] else {})
