"""Several runs side by side: one row per run, quality against latency over all of them, then each run on its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from evaluation.measurement import Run
from reports import cast
from reports.drawing import tradeoff_chart
from reports.headline import gate_notice, verdict_words
from reports.outline import Block, Grid, Paragraph, Section
from reports.story import sections_of
from reports.table import Cell, Table, compared, measured, table_of


def sections_over(runs: Sequence[Run]) -> list[Section]:
    """A comparison of the runs, followed by the sections of each."""
    labels = cast.labels_of(runs)
    tables = [_size_table(runs, labels), _quality_table(runs, labels), _speed_table(runs, labels)]
    warnings = [*_failed_gates(runs, labels), *_warnings(runs), *_sweeps(runs, labels)]
    opening = [*warnings, *(Grid(table) for table in tables if table)]
    sections = [Section("runs", "The runs side by side", tuple(opening))]
    chart = tradeoff_chart(runs, "runs-")
    if chart:
        sections.append(Section("runs-tradeoff", "Quality against latency", (chart,)))
    for place, (run, label) in enumerate(zip(runs, labels, strict=True), start=1):
        prefix = f"run-{place}-"
        sections.append(Section(f"run-{place}", label, ()))
        sections += sections_of(run, prefix=prefix, level=3)
    return sections


def _size_table(runs: Sequence[Run], labels: Sequence[str]) -> Table:
    columns = ["run", "compared with", "parameters", "size", "times smaller", "gates"]
    rows = [[label, *_size_row(run)] for run, label in zip(runs, labels, strict=True)]
    return table_of("Size of each run's result, and its gates", columns, rows)


def _size_row(run: Run) -> Iterator[Cell]:
    subject, reference = cast.subject_of(run) or "", cast.reference_of(run)
    held = sum(gate.passed for gate in run.gates)
    yield reference or ""
    yield measured(run, subject, "parameters")
    yield measured(run, subject, "bytes")
    yield compared(run, subject, reference, "compression_ratio")
    yield f"{held} of {len(run.gates)} held" if run.gates else ""


def _quality_table(runs: Sequence[Run], labels: Sequence[str]) -> Table | None:
    metrics = list(dict.fromkeys(metric for run in runs for metric in cast.metrics_of(run)))
    columns = [name for metric in metrics for name in (metric, cast.loss_name(runs[0], metric), f"verdict on {metric}")]
    rows = [[label, *_quality_row(run, metrics)] for run, label in zip(runs, labels, strict=True)]
    return table_of("Quality of each run's result", ["run", *columns], rows) if metrics else None


def _quality_row(run: Run, metrics: Sequence[str]) -> Iterator[Cell]:
    subject, reference = cast.subject_of(run) or "", cast.reference_of(run)
    for metric in metrics:
        drop = run.compared(subject, reference, "quality_drop", metric=metric) if reference else None
        yield measured(run, subject, metric)
        yield compared(run, subject, reference, "quality_drop", metric=metric)
        yield verdict_words(drop) if drop else ""


def _speed_table(runs: Sequence[Run], labels: Sequence[str]) -> Table | None:
    shapes = list(dict.fromkeys(shape for run in runs for shape in cast.shapes_of(run)))
    columns = [name for shape in shapes for name in (f"p50 at {shape}", f"speed-up at {shape}")]
    rows = [[label, *_speed_row(run, shapes)] for run, label in zip(runs, labels, strict=True)]
    return table_of("Speed of each run's result (batch x tokens)", ["run", *columns], rows) if shapes else None


def _speed_row(run: Run, shapes: Sequence[cast.Shape]) -> Iterator[Cell]:
    subject, reference = cast.subject_of(run) or "", cast.reference_of(run)
    for shape in shapes:
        yield measured(run, subject, "latency_p50_ms", **shape.conditions)
        yield compared(run, subject, reference, "speedup", **shape.conditions)


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
            yield Paragraph(f"{label} is a sweep: its variants stand in its own part below.", "note")
