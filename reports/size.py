"""How large every target is: parameters in all and per part, bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from evaluation.measurement import Measurement, Run
from reports import cast
from reports.number import Reading, read_measurement
from reports.outline import Block, Fold, Grid
from reports.table import Cell, compared, marked, measured, table_of, title_of

_SIZES = (
    ("parameters", "parameters"),
    ("of these in the encoder", "encoder_parameters"),
    ("of these embeddings", "embedding_parameters"),
    ("size", "bytes"),
)


def size_table(run: Run) -> Grid | None:
    """One row a target: its parameters and bytes, and how much smaller than the reference it is."""
    reference = cast.reference_of(run)
    targets = [t for t in cast.targets_of(run) if any(run.measured(t.name, name) for _, name in _SIZES)]
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
    """What the parts of each target hold, where it was counted."""
    recorded = run.tables.get("parts")
    found = [row for row in recorded if isinstance(row, Mapping)] if isinstance(recorded, list) else []
    if not found:
        return
    targets = list(dict.fromkeys(str(row.get("target", "")) for row in found))
    parts = list(dict.fromkeys(str(row.get("part", "")) for row in found))
    cells = {(str(row.get("target", "")), str(row.get("part", ""))): row for row in found}
    for quantity, unit in (("parameters", "parameters"), ("bytes", "bytes"), ("flops", "FLOPs")):
        rows = [[name, *(_figure(cells.get((name, part)), quantity, unit) for part in parts)] for name in targets]
        if any(str(cell) for row in rows for cell in row[1:]):
            accent = [place for place, name in enumerate(targets) if name == cast.subject_of(run)]
            title = f"Parts of every target: {quantity if quantity != 'flops' else 'work'}"
            grid = Grid(table_of(title, ["target", *parts], rows, accent=accent))
            yield grid if quantity == "parameters" else Fold(title, (grid,))


def _figure(row: Mapping[str, object] | None, quantity: str, unit: str) -> Cell:
    """A counted quantity as every measurement in that unit is written: `22.7 M`, `90.9 MB`."""
    value = row.get(quantity) if row else None
    if not isinstance(value, int | float):
        return ""
    return Reading(read_measurement(_counted(value, unit)).figure)


def _counted(value: float, unit: str) -> Measurement:
    return Measurement(target="", name=unit, value=value, unit=unit, higher_is_better=False)
