"""How large every target is: parameters in all and per part, bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from evaluation.measurement import Measurement, Run
from reports.number import Reading, read_measurement
from reports.outline import Block, Grid
from reports.table import Cell, compared, marked, measured, table_of, title_of

_SIZES = (
    ("parameters", "parameters"),
    ("of these in the encoder", "encoder_parameters"),
    ("of these embeddings", "embedding_parameters"),
    ("size", "bytes"),
)


def size_table(run: Run) -> Grid | None:
    """One row a target: its parameters and bytes, and how much smaller than the reference it is."""
    reference = run.reference
    targets = [t for t in run.all_targets if any(run.measured(t.name, name) for _, name in _SIZES)]
    rows: list[list[Cell]] = [
        [
            title_of(target),
            target.form,
            *(measured(run, target.name, name) for _, name in _SIZES),
            compared(run, target.name, reference, "compression_ratio"),
        ]
        for target in targets
    ]
    columns = ["target", "form", *(title for title, _ in _SIZES), f"times smaller than {reference}"]
    caption = "Size of every target. Sizes are counted, so they have no interval; bytes are of the weight files"
    return Grid(marked(caption, columns, rows, targets)) if rows else None


def part_blocks(run: Run) -> Iterator[Block]:
    """How many parameters each part of each target holds, where they were counted."""
    recorded = run.tables.get("parts")
    found = [row for row in recorded if isinstance(row, Mapping)] if isinstance(recorded, list) else []
    if not found:
        return
    targets = list(dict.fromkeys(str(row.get("target", "")) for row in found))
    parts = list(dict.fromkeys(str(row.get("part", "")) for row in found))
    counts = {(str(row.get("target", "")), str(row.get("part", ""))): row.get("parameters") for row in found}
    rows = [[name, *(_parameters(counts.get((name, part))) for part in parts)] for name in targets]
    accent = [place for place, name in enumerate(targets) if name == run.subject]
    yield Grid(table_of("Parts of every target: parameters", ["target", *parts], rows, accent=accent))


def _parameters(count: object) -> Cell:
    """A number of parameters as every measurement of them is written: `22.7 M`."""
    if not isinstance(count, int | float):
        return ""
    counted = Measurement(target="", name="parameters", value=count, unit="parameters", higher_is_better=False)
    return Reading(read_measurement(counted).figure)
