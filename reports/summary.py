"""`summary.csv`: every measurement and comparison of the runs in full precision, one per line, for other programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence

from evaluation.measurement import Comparison, Measurement, Run
from reports import cast

COLUMNS = (
    "run",
    "record",
    "target",
    "baseline",
    "name",
    "value",
    "unit",
    "low",
    "high",
    "count",
    "higher_is_better",
    "p_value",
    "verdict",
    "conditions",
)


def summary_csv(runs: Sequence[Run]) -> str:
    """The runs as CSV under `COLUMNS`. `conditions` is JSON; numbers read back exactly; empty means none."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for run, label in zip(runs, cast.labels_of(runs), strict=True):
        records: list[Measurement | Comparison] = [*run.measurements, *run.comparisons]
        writer.writerows(_row(label, record) for record in records)
    return text.getvalue()


def _row(label: str, record: Measurement | Comparison) -> dict[str, object]:
    fields = record.model_dump(mode="json")
    fields["conditions"] = json.dumps(fields["conditions"], sort_keys=True, ensure_ascii=False)
    if "higher_is_better" in fields:
        fields["higher_is_better"] = json.dumps(fields["higher_is_better"])
    return {"run": label, "record": type(record).__name__.lower(), **fields}
