"""Several runs side by side: one row per run, pairs on identical examples, seeds together, then each run on its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from evaluation.measurement import Across, Comparison, Run, SeedGroup
from reports import cast
from reports.headline import gate_notice, name_of, verdict_words
from reports.links import led, linked
from reports.number import Reading, read_comparison, read_measurement, read_p_value
from reports.outline import Block, Fold, Grid, Paragraph, Section
from reports.scatter import tradeoff_block
from reports.story import sections_of
from reports.table import Cell, Table, compared, measured, table_of

MOST_IN_FULL = 4
"""Of more runs than this, none is told in full: the page would outgrow what a reader, and a browser, can bear."""

_MOST_ROWS = 40
_MOST_DRAWN = 6


def sections_over(runs: Sequence[Run], across: Across | None = None) -> list[Section]:
    """A comparison of the runs, followed by the sections of each where they are few.

    `across` is what comparing them pair by pair on their predictions said; its labels then stand for the runs.
    """
    labels = across.runs if across and len(across.runs) == len(runs) else cast.labels_of(runs)
    sections = _over_all(runs, labels, across)
    for place, run, label in _numbered(runs, labels) if len(runs) <= MOST_IN_FULL else ():
        sections.append(Section(f"run-{place}", label, ()))
        sections += sections_of(run, prefix=_prefix(place), level=3)
    return linked(sections, "")


def _over_all(runs: Sequence[Run], labels: Sequence[str], across: Across | None) -> list[Section]:
    tables = [_size_table(runs, labels), _quality_table(runs, labels), _speed_table(runs, labels)]
    opening = [*_failed_gates(runs, labels), *_warnings(runs), *_doubts(across), *_sweeps(runs, labels)]
    opening += [Grid(table) for table in tables if table]
    if len(runs) > MOST_IN_FULL:
        opening.append(Paragraph("Each run is told in full in its own report; here they are compared.", "note"))
    chart = tradeoff_block(list(runs[:_MOST_DRAWN]), "runs-")
    drawn: list[Block] = [chart] if chart else []
    if chart and len(runs) > _MOST_DRAWN:
        drawn.append(Paragraph(f"Drawn are the first {_MOST_DRAWN} of {len(runs)} runs.", "note"))
    named = [
        ("runs", "The runs side by side", opening),
        ("pairs", "Pair by pair", list(_pairs(runs, across)) if across else []),
        ("seeds", "Seeds together", list(_seeds(across)) if across else []),
        ("runs-tradeoff", "Quality against latency, size and memory", drawn),
    ]
    return [Section(name, title, tuple(blocks)) for name, title, blocks in named if blocks]


def _prefix(place: int) -> str:
    return f"run-{place}-"


def _size_table(runs: Sequence[Run], labels: Sequence[str]) -> Table:
    columns = ["run", "compared with", "parameters", "size", "times smaller", "gates"]
    rows = [[label, *led(list(_size_row(run)), _prefix(place))] for place, run, label in _numbered(runs, labels)]
    return table_of("Size of each run's result, and its gates", columns, rows)


def _size_row(run: Run) -> Iterator[Cell]:
    subject, reference = run.subject or "", run.reference
    held = sum(gate.passed for gate in run.gates)
    yield reference or ""
    yield measured(run, subject, "parameters")
    yield measured(run, subject, "bytes")
    yield compared(run, subject, reference, "compression_ratio")
    yield f"{held} of {len(run.gates)} held" if run.gates else ""


def _quality_table(runs: Sequence[Run], labels: Sequence[str]) -> Table | None:
    metrics = list(dict.fromkeys(metric for run in runs for metric in cast.metrics_of(run)))
    columns = [name for metric in metrics for name in (metric, _loss_name(runs, metric), f"verdict on {metric}")]
    rows = [
        [label, *led(list(_quality_row(run, metrics)), _prefix(place))] for place, run, label in _numbered(runs, labels)
    ]
    return table_of("Quality of each run's result", ["run", *columns], rows) if metrics else None


def _quality_row(run: Run, metrics: Sequence[str]) -> Iterator[Cell]:
    subject, reference = run.subject or "", run.reference
    for metric in metrics:
        drop = run.compared(subject, reference, "quality_drop", metric=metric) if reference else None
        yield measured(run, subject, metric)
        yield compared(run, subject, reference, "quality_drop", metric=metric)
        yield verdict_words(drop) if drop else ""


def _speed_table(runs: Sequence[Run], labels: Sequence[str]) -> Table | None:
    shapes = list(dict.fromkeys(shape for run in runs for shape in cast.shapes_of(run)))
    columns = [name for shape in shapes for name in (f"p50 at {shape}", f"speed-up at {shape}")]
    rows = [
        [label, *led(list(_speed_row(run, shapes)), _prefix(place))] for place, run, label in _numbered(runs, labels)
    ]
    caption = "Speed of each run's result (batch x tokens); a speed-up is over the run's own reference"
    return table_of(caption, ["run", *columns], rows) if shapes else None


def _speed_row(run: Run, shapes: Sequence[cast.Shape]) -> Iterator[Cell]:
    subject, reference = run.subject or "", run.reference
    for shape in shapes:
        yield measured(run, subject, "latency_p50_ms", **shape.conditions)
        yield compared(run, subject, reference, "speedup", **shape.conditions)


def _numbered(runs: Sequence[Run], labels: Sequence[str]) -> Iterator[tuple[int, Run, str]]:
    for place, (run, label) in enumerate(zip(runs, labels, strict=True), start=1):
        yield place, run, label


def _loss_name(runs: Sequence[Run], metric: str) -> str:
    """What a drop is called, by the first run that measured it."""
    return cast.loss_name(next(run for run in runs if metric in cast.metrics_of(run)), metric)


def _pairs(runs: Sequence[Run], across: Across) -> Iterator[Block]:
    """Every two runs that could be compared, then those that could not, with the reason."""
    yield Paragraph(
        "Results of two runs, compared on identical examples from their predictions; the later run stands first. "
        "p-values are corrected for the number of pairs where an adjusted one is given."
    )
    if across.comparisons:
        table = _pairs_table(runs, across.comparisons)
        title = f"{len(table.rows)} comparisons of two runs"
        yield Fold(title, (Grid(table),)) if len(table.rows) > _MOST_ROWS else Grid(table)
    if across.obstacles:
        rows = [(one.first, one.second, one.what, one.reason) for one in across.obstacles]
        grid = Grid(table_of("What can't be compared, and why", ["run", "and", "by", "because"], rows))
        title = f"{len(rows)} things that can't be compared, and why"
        yield Fold(title, (grid,)) if len(rows) > _MOST_ROWS else grid


def _pairs_table(runs: Sequence[Run], comparisons: Sequence[Comparison]) -> Table:
    rows: list[list[Cell]] = []
    for c in comparisons:
        p_values = (read_p_value(c.p_value), read_p_value(c.adjusted_p_value))
        rows.append([c.target, c.baseline, _what(runs, c), _figure(runs, c), *p_values, verdict_words(c)])
    columns = ["run", "against", "what", "figure", "p-value", "adjusted p-value", "verdict"]
    return table_of("Two runs at a time", columns, rows)


def _what(runs: Sequence[Run], comparison: Comparison) -> str:
    return name_of(_measuring(runs, comparison), comparison)


def _figure(runs: Sequence[Run], comparison: Comparison) -> Reading:
    metric = str(comparison.conditions.get("metric", ""))
    return read_comparison(comparison, unit=cast.loss_unit(_measuring(runs, comparison), metric))


def _measuring(runs: Sequence[Run], comparison: Comparison) -> Run:
    """A run that measured what the comparison is of: it knows the metric's unit and direction."""
    metric = comparison.conditions.get("metric")
    if metric is None:  # of times and sizes every run knows as much
        return runs[0]
    return next((run for run in runs if metric in cast.metrics_of(run)), runs[0])


def _seeds(across: Across) -> Iterator[Block]:
    """Runs of one recipe that differ by seed alone, taken together."""
    if not across.seeds:
        return
    yield Paragraph(
        "Runs that differ by their seed alone, taken together: these intervals cover another seed and other examples, "
        "those of a single run only other examples."
    )
    for group in across.seeds:
        yield Grid(_seed_table(group))


def _seed_table(group: SeedGroup) -> Table:
    rows: list[list[Cell]] = [[m.target, m.name, read_measurement(m), "", ""] for m in group.measurements]
    rows += [
        [c.target, str(c.conditions.get("metric", c.name)), "", read_comparison(c, unit=_unit(group, c)), c.baseline]
        for c in group.comparisons
    ]
    seeds = ", ".join(map(str, group.seeds))
    caption = f"{len(group.seeds)} seeds ({seeds}): {', '.join(group.runs)}"
    return table_of(caption, ["target", "what", "figure", "change", "against"], rows)


def _unit(group: SeedGroup, comparison: Comparison) -> str:
    metric = comparison.conditions.get("metric")
    return next((m.unit for m in group.measurements if m.name == metric), "ratio")


def _doubts(across: Across | None) -> Iterator[Block]:
    for label, doubts in across.doubts.items() if across else ():
        yield Paragraph(f"{label} contradicts itself and is compared with nothing: {'; '.join(doubts)}.", "bad")


def _warnings(runs: Sequence[Run]) -> Iterator[Block]:
    """What makes the runs unlike: figures of different machines, threads or test sets do not compare."""
    machines = {(str(run.environment.get("cpu", "")), str(run.environment.get("device", ""))) for run in runs}
    if len(machines) > 1:
        yield Paragraph("These runs were measured on different machines: their times do not compare.", "bad")
    threads = {str(run.environment["threads"]) for run in runs if "threads" in run.environment}
    if len(threads) > 1:
        yield Paragraph(
            "These runs were measured with different numbers of threads: their times do not compare.", "bad"
        )
    data = {str(m.conditions["data"]) for run in runs for m in run.measurements if "data" in m.conditions}
    if len(data) > 1:
        yield Paragraph("These runs were judged on different test data: their quality does not compare.", "bad")


def _failed_gates(runs: Sequence[Run], labels: Sequence[str]) -> Iterator[Block]:
    for run, label in zip(runs, labels, strict=True):
        for notice in gate_notice(run):
            if notice.tone == "bad":
                yield Paragraph(f"{label}: {notice.text}", "bad")


def _sweeps(runs: Sequence[Run], labels: Sequence[str]) -> Iterator[Block]:
    """A sweep has no one result, so its row of these tables says little."""
    for run, label in zip(runs, labels, strict=True):
        if cast.variants_of(run):
            yield Paragraph(
                f"{label} is a sweep, and has no one result: its own part or report tells of its variants.", "note"
            )
