"""Tables: their shape, their Markdown, and the table of all targets of a run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from evaluation.measurement import Run, Target
from reports import cast
from reports.number import Reading, read_comparison, read_measurement

Cell = str | Reading

_MOST_METRICS = 2
_WORDY = 24
_COUNTED = {"parameters", "embedding_parameters", "encoder_parameters", "bytes", "activation_bytes", "flops"}


@dataclass(frozen=True)
class Table:
    """Rows of cells under column names; the first cell of a row is its heading.

    `accent` and `muted` are the indices of rows that stand out or stand back. Columns that hold readings are numbers
    and are aligned to the right. `anchors` are the names of the rows that readings elsewhere lead to; none where empty.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    accent: frozenset[int] = frozenset()
    muted: frozenset[int] = frozenset()
    anchors: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert all(len(row) == len(self.columns) for row in self.rows), self.caption

    def anchor(self, row: int) -> str:
        """The name of a row; empty where nothing leads to it."""
        return self.anchors[row] if self.anchors else ""

    def numeric(self, column: int) -> bool:
        """True where a column holds readings."""
        return any(isinstance(row[column], Reading) for row in self.rows)

    def wordy(self, column: int) -> bool:
        """True where a column's cells hold sentences, which need room to be read."""
        return any(len(str(row[column])) > _WORDY for row in self.rows) and not self.numeric(column)


def table_of(
    caption: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    *,
    accent: Iterable[int] = (),
    muted: Iterable[int] = (),
    anchors: Iterable[str] = (),
) -> Table:
    """A table without the columns that are empty in every row; the first column always stays.

    A count that all figures of a column share stands in the column's name, not in every cell.
    """
    listed = [list(row) for row in rows]
    kept = [place for place in range(len(columns)) if place == 0 or any(str(row[place]) for row in listed)]
    names = {place: columns[place] for place in kept}
    for place in kept:
        readings = [cell for row in listed if isinstance(cell := row[place], Reading)]
        shared = {reading.basis for reading in readings}
        if len(readings) > 1 and len(shared) == 1 and (basis := readings[0].basis):
            names[place] += f" ({basis})"
            for row in listed:
                row[place] = replace(cell, count=None) if isinstance(cell := row[place], Reading) else cell
    return Table(
        caption,
        tuple(names.values()),
        tuple(tuple(row[place] for place in kept) for row in listed),
        frozenset(accent),
        frozenset(muted),
        tuple(anchors),
    )


def marked(caption: str, columns: Sequence[str], rows: Iterable[Sequence[Cell]], targets: Sequence[Target]) -> Table:
    """A table of one row per target: the result stands out, baselines stand back."""
    accent = [place for place, target in enumerate(targets) if target.kind == "result"]
    muted = [place for place, target in enumerate(targets) if target.kind == "baseline"]
    return table_of(caption, columns, rows, accent=accent, muted=muted)


def to_markdown(table: Table) -> str:
    """The table as GitHub-flavoured Markdown, its caption left out."""
    rules = ["---:" if table.numeric(place) else "---" for place in range(len(table.columns))]
    lines = [_line(escape(column) for column in table.columns), _line(rules)]
    for place, row in enumerate(table.rows):
        cells = [escape(str(cell)) for cell in row]
        lines.append(_line([f"**{cells[0]}**", *cells[1:]] if place in table.accent else cells))
    return "\n".join(lines)


def escape(text: str) -> str:
    """Text that Markdown shows as it is, on one line and inside a table cell."""
    one_line = " ".join(text.split())
    shown = one_line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    shown = re.sub(r"([\\`*\[\]|~])", r"\\\1", shown)
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\_", shown)  # an underscore inside a word is not markup


def results_table(run: Run) -> str:
    """What a terminal and a README show: every target's size, quality and speed, and below it machine and method.

    Ratios and lost quality are against the reference, the first baseline.
    """
    return f"{to_markdown(results(run))}\n\n{escape(method_of(run))}"


def results(run: Run) -> Table:
    """Every target of a run in one table: baselines first, then step by step to the result. Two metrics at most."""
    targets = run.all_targets
    reference = run.reference
    metrics, shapes = cast.metrics_of(run)[:_MOST_METRICS], cast.shapes_of(run)
    columns = ["model", "parameters", "size", *metrics[:1]]
    columns += [*(cast.loss_name(run, metric) for metric in metrics[:1]), *metrics[1:]]
    columns += [str(shape) for shape in shapes]
    rows = [_result_row(run, target, reference) for target in targets]
    return table_of(
        "Every target: size, quality, and median latency at each shape (batch x tokens)",
        columns,
        rows,
        accent=[place for place, target in enumerate(targets) if target.kind == "result"],
        muted=[place for place, target in enumerate(targets) if target.kind == "baseline"],
    )


def method_of(run: Run) -> str:
    """One line that says what the figures are: machine, threads, intervals, counts, reference."""
    environment = run.environment
    machine = str(environment.get("cpu") or environment.get("device") or "")
    threads = {m.conditions["threads"] for m in run.measurements if "threads" in m.conditions}
    parts = []
    if machine:
        counted = {m.name for m in run.measurements}
        done = "Made" if counted and counted <= _COUNTED else "Measured"  # what is counted is the same on any machine
        parts.append(f"{done} on {machine}{_threads(threads)}.")
    if any(m.low is not None for m in run.measurements) or any(c.low is not None for c in run.comparisons):
        parts.append("In parentheses: 95 % interval; n is the number of test examples or of timed calls.")
    if cast.shapes_of(run):
        parts.append("Times are medians, shapes are batch x tokens.")
    if any(c.name == "speedup" and c.count is not None for c in run.comparisons):
        parts.append("A round times every target in turn.")
    if any(comparison.noise is not None for comparison in run.comparisons):
        parts.append("Noise: how far ratios of targets to themselves lay from 1 at that shape.")
    reference = run.reference
    compared_in = {comparison.name for comparison in run.comparisons if comparison.baseline == reference}
    told = ["ratios (x)"] if compared_in & {"speedup", "compression_ratio"} else []
    told += ["lost quality"] if "quality_drop" in compared_in else []
    if told:
        parts.append(f"{' and '.join(told).capitalize()}: against {reference}.")
    parts.append(f"Run: {run.name}.")
    return " ".join(parts)


def title_of(target: Target) -> str:
    """A target's name for a reader: `result (04-quantize)`."""
    told = target.stage is None or target.kind == "variant" or target.name.endswith(target.stage)
    return target.name if told else f"{target.name} ({target.stage})"


def measured(run: Run, target: str, name: str, **conditions: object) -> Cell:
    """A cell with a measurement, empty where it was not made."""
    found = run.measured(target, name, **conditions)
    return read_measurement(found) if found else ""


def compared(run: Run, target: str, baseline: str | None, name: str, **conditions: object) -> Cell:
    """A cell with a comparison, empty where it was not made."""
    found = run.compared(target, baseline, name, **conditions) if baseline else None
    return read_comparison(found, unit=cast.loss_unit(run, str(conditions.get("metric", "")))) if found else ""


def _result_row(run: Run, target: Target, reference: str | None) -> list[Cell]:
    name, metrics = target.name, cast.metrics_of(run)[:_MOST_METRICS]
    row: list[Cell] = [title_of(target), measured(run, name, "parameters")]
    row.append(_with_ratio(measured(run, name, "bytes"), compared(run, name, reference, "compression_ratio")))
    for metric in metrics[:1]:
        row += [measured(run, name, metric), compared(run, name, reference, "quality_drop", metric=metric)]
    row += [measured(run, name, metric) for metric in metrics[1:]]
    for shape in cast.shapes_of(run):
        at = shape.conditions
        row.append(
            _with_ratio(measured(run, name, "latency_p50_ms", **at), compared(run, name, reference, "speedup", **at))
        )
    return row


def _with_ratio(figure: Cell, ratio: Cell) -> Cell:
    """A figure, and its ratio to the reference with the interval where there is one: `2.93 ms (9.8x, 9.5 to 10.1)`."""
    if not isinstance(figure, Reading) or not isinstance(ratio, Reading):
        return figure
    beside = ", ".join(note for note in (ratio.figure, ratio.interval, ratio.remark) if note)
    return replace(figure, interval=beside)


def _threads(counts: set[object]) -> str:
    if len(counts) != 1:
        return ""
    (count,) = counts
    return f", {count} thread{'' if count == 1 else 's'}"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
