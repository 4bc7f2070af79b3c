"""The law of `summary.csv`: every record can be read back from it, exactly."""

import csv
import io
import json

from sample import sample_run

from evaluation.measurement import Comparison, Measurement
from reports.summary import COLUMNS, summary_csv


def test_measurements_and_comparisons_round_trip():
    run = sample_run()
    rows = list(csv.DictReader(io.StringIO(summary_csv([run]))))
    measurements = [Measurement(**_fields(row)) for row in rows if row["record"] == "measurement"]
    comparisons = [Comparison(**_fields(row)) for row in rows if row["record"] == "comparison"]
    assert measurements == run.measurements
    assert comparisons == run.comparisons


def test_runs_of_one_name_are_told_apart():
    rows = list(csv.DictReader(io.StringIO(summary_csv([sample_run(), sample_run()]))))
    assert {row["run"] for row in rows} == {"reviews-trio", "reviews-trio (2)"}
    assert tuple(rows[0]) == COLUMNS


def _fields(row):
    present = {name: value for name, value in row.items() if value != ""}
    return present | {"conditions": json.loads(row["conditions"])}
