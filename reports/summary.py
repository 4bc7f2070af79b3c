"""`summary.csv`: every measurement, comparison and gate of the runs in full precision, one per line, for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence

from evaluation.measurement import Comparison, Gate, Measurement, Run
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
    "adjusted_p_value",
    "margin",
    "margin_p_value",
    "noise",
    "limit",
    "passed",
    "detail",
)

OPENING = ",".join(COLUMNS[:6])
"""How every summary begins, those of older versions too."""


def summary_csv(runs: Sequence[Run]) -> str:
    """The runs as CSV under `COLUMNS`. `conditions` is JSON; numbers read back exactly; empty means none."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for run, label in zip(runs, cast.labels_of(runs), strict=True):
        records: list[Measurement | Comparison | Gate] = [*run.measurements, *run.comparisons, *run.gates]
        writer.writerows(_row(label, record) for record in records)
    return text.getvalue()


def _row(label: str, record: Measurement | Comparison | Gate) -> dict[str, object]:
    fields = record.model_dump(mode="json")
    if "conditions" in fields:
        fields["conditions"] = json.dumps(fields["conditions"], sort_keys=True, ensure_ascii=False)
    for name in ("higher_is_better", "passed"):
        if name in fields:
            fields[name] = json.dumps(fields[name])
    return {"run": label, "record": type(record).__name__.lower(), **fields}
