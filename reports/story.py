"""One run as sections of a report, from the headline to how to do it again. What was not recorded is left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import yaml

from evaluation.measurement import Measurement, Run
from reports import cast, sweep
from reports.datacard import data_blocks
from reports.drawing import anatomy_chart, anatomy_rows, headline_chart, steps_chart, tradeoff_chart, training_charts
from reports.headline import gates_table, headline_blocks, quality_table
from reports.machine import machine_table
from reports.number import Reading, per_cent, plain, read_measurement
from reports.outline import Block, Code, Fold, Grid, Paragraph, Section
from reports.record import table_of_record
from reports.table import Cell, Table, compared, measured, method_of, table_of, title_of

if TYPE_CHECKING:
    from evaluation.measurement import Target

_MOST_ROWS = 60
_SHOWN_ELSEWHERE = ("anatomy", "data", "source", "variants", "sweep")

Part = tuple[str, str, Iterable[Block | None]]


def sections_of(run: Run, *, prefix: str = "", level: int = 2) -> list[Section]:
    """The run's sections in reading order. `prefix` keeps anchors and file names of several runs apart."""
    parts = _of_sweep(run, prefix) if cast.variants_of(run) else _of_one(run, prefix)
    parts += [
        ("training", "Training", training_charts(run, prefix)),
        ("gates", "Gates", _gates(run)),
        ("data", "Data", _data(run)),
        ("tables", "Recorded by the stages" if run.targets else "What was recorded", _other_tables(run)),
        ("environment", "Environment", [_grid(machine_table(run.environment))]),
        ("skipped", "Not measured", _skipped(run)),
        ("measurements", "All measurements", [_all_measurements(run)]),
        ("recipe", "Recipe", _recipe(run)),
        ("reproduce", "How to reproduce", _reproduce(run)),
    ]
    kept = ((name, title, tuple(block for block in blocks if block)) for name, title, blocks in parts)
    return [Section(f"{prefix}{name}", title, blocks, level) for name, title, blocks in kept if blocks]


def _of_one(run: Run, prefix: str) -> list[Part]:
    """What a run of one recipe shows first: its result, and the way there."""
    headline = [*headline_blocks(run), headline_chart(run, prefix), Paragraph(method_of(run), "note")]
    return [
        ("headline", "What it comes to", headline),
        ("steps", "Step by step", _steps(run, prefix)),
        ("tradeoff", "Quality against latency", [tradeoff_chart([run], prefix), _quality(run), quality_table(run)]),
        ("latency", "Latency by shape", _latency(run)),
        ("anatomy", "Anatomy, layer by layer", _anatomy(run, prefix)),
    ]


def _of_sweep(run: Run, prefix: str) -> list[Part]:
    """What a sweep shows first: its variants, and which are worth their cost."""
    return [
        ("headline", "What it comes to", [*sweep.opening(run), Paragraph(method_of(run), "note")]),
        ("front", "Quality against cost", sweep.front_blocks(run, prefix)),
        ("variants", "Variants", [*sweep.variants(run), _lineage(run)]),
        ("latency", "Latency by shape", _latency(run)),
        ("anatomy", "Anatomy, layer by layer", [_units_of_groups(run)]),
    ]


def _gates(run: Run) -> Iterable[Block]:
    if cast.variants_of(run):
        return sweep.gate_blocks(run)
    return [Grid(gates_table(run))] if run.gates else []


def _steps(run: Run, prefix: str) -> Iterator[Block | None]:
    path = cast.path_of(run)
    if len(path) < 2:
        return
    yield steps_chart(run, prefix)
    yield Grid(_steps_table(run, path))
    yield _lineage(run)


def _steps_table(run: Run, path: list[Target]) -> Table:
    shape, reference = cast.headline_shape(run), cast.reference_of(run)
    metrics = cast.metrics_of(run)[:1]
    rows = [_step_row(run, place, path) for place in range(len(path))]
    columns = ["step", "what it is", "parameters", "size", "change"]
    columns += [f"p50 at {shape}", f"speed-up over {reference}"]
    columns += [name for metric in metrics for name in (metric, cast.loss_name(run, metric))]
    return _marked("What each step did", columns, rows, path)


def _step_row(run: Run, place: int, path: list[Target]) -> list[Cell]:
    target, reference = path[place], cast.reference_of(run)
    shape = cast.headline_shape(run)
    at = shape.conditions if shape else {}
    row: list[Cell] = [title_of(target), target.title if target.title != target.name else ""]
    row += [measured(run, target.name, "parameters"), measured(run, target.name, "bytes"), _change(run, place, path)]
    row += [measured(run, target.name, "latency_p50_ms", **at), compared(run, target.name, reference, "speedup", **at)]
    for metric in cast.metrics_of(run)[:1]:
        row += [
            measured(run, target.name, metric),
            compared(run, target.name, reference, "quality_drop", metric=metric),
        ]
    return row


def _change(run: Run, place: int, path: list[Target]) -> Cell:
    """How the size changed since the step before."""
    size = run.measured(path[place].name, "bytes")
    before = run.measured(path[place - 1].name, "bytes") if place else None
    return Reading(per_cent(size.value / before.value)) if size and before and before.value else ""


def _lineage(run: Run) -> Fold | None:
    swept = bool(cast.variants_of(run))
    rows: list[list[Cell]] = [
        [
            *([str(step.get("variant", "all"))] if swept else []),
            str(step.get("stage", "")),
            str(step.get("seed", "")),
            *(_recorded(step, when, name) for name in ("parameters", "bytes") for when in ("before", "after")),
            str(step.get("digest_after", "")).removeprefix("sha256:")[:12],
        ]
        for step in run.lineage
    ]
    columns = ["variant"] if swept else []
    columns += ["stage", "seed", "parameters before", "parameters after", "size before", "size after", "digest after"]
    return Fold("Lineage: what was done to the model", (Grid(table_of("Lineage", columns, rows)),)) if rows else None


def _recorded(step: dict[str, object], when: str, name: str) -> Cell:
    sizes = step.get(when)
    value = sizes.get(name) if isinstance(sizes, dict) else None
    if not isinstance(value, int | float):
        return ""
    return read_measurement(Measurement(target="", name=name, value=value, unit=name, higher_is_better=False))


def _quality(run: Run) -> Grid | None:
    metrics = cast.metrics_of(run)
    targets = [target for target in cast.targets_of(run) if any(run.measured(target.name, name) for name in metrics)]
    rows = [[title_of(target), *(measured(run, target.name, name) for name in metrics)] for target in targets]
    return Grid(_marked("Quality of every target", ["target", *metrics], rows, targets)) if rows else None


def _latency(run: Run) -> Iterator[Block]:
    baselines = cast.baselines_of(run)
    for shape in cast.shapes_of(run):
        at = shape.conditions
        targets = [target for target in cast.targets_of(run) if run.measured(target.name, "latency_p50_ms", **at)]
        rows: list[list[Cell]] = [
            [
                title_of(target),
                target.runtime,
                measured(run, target.name, "latency_p50_ms", **at),
                measured(run, target.name, "latency_p95_ms", **at),
                *(compared(run, target.name, baseline, "speedup", **at) for baseline in baselines),
            ]
            for target in targets
        ]
        if not rows:
            continue
        columns = ["target", "runtime", "p50", "p95", *(f"speed-up over {baseline}" for baseline in baselines)]
        yield Grid(_marked(f"{shape} (batch x tokens)", columns, rows, targets))


def _anatomy(run: Run, prefix: str) -> Iterator[Block | None]:
    if anatomy_rows(run):
        yield anatomy_chart(run, prefix)
        yield _units_of_groups(run)


def _units_of_groups(run: Run) -> Fold | None:
    rows = anatomy_rows(run)
    names = list(dict.fromkeys(target for target, _, _ in rows))
    units = {(target, row["axis"], row.get("layer")): row["units"] for target, _, each in rows for row in each}
    places = list(dict.fromkeys((axis, layer) for _, axis, layer in units))
    body = [
        [
            f"{axis}" if layer is None else f"{axis}, layer {layer}",
            *(_units(units.get((n, axis, layer))) for n in names),
        ]
        for axis, layer in sorted(places, key=lambda place: (str(place[0]), -1 if place[1] is None else place[1]))
    ]
    grid = Grid(table_of("Units of every group", ["group", *names], body))
    return Fold("Units of every group", (grid,)) if rows else None


def _units(count: object) -> Cell:
    return Reading(plain(count)) if isinstance(count, int | float) else ""


def _data(run: Run) -> Iterator[Block | None]:
    yield _grid(table_of_record("Model that went in", run.tables.get("source")))
    yield from data_blocks(run.tables.get("data"))


def _other_tables(run: Run) -> Iterator[Block]:
    """Tables that the stages recorded, folded; open where no target was measured, as they are what the run is about."""
    for name, record in run.tables.items():
        table = None if name in _SHOWN_ELSEWHERE else table_of_record(name, record)
        if table:
            folded = bool(run.targets) or len(table.rows) > _MOST_ROWS
            yield Fold(name, (Grid(table),)) if folded else Grid(table)


def _skipped(run: Run) -> Iterator[Block]:
    if run.skipped:
        yield Grid(
            table_of("Not measured", ["baseline", "reason"], [(each.target, each.reason) for each in run.skipped])
        )


def _all_measurements(run: Run) -> Fold | None:
    rows: list[list[Cell]] = []
    for m in run.measurements:
        reading = read_measurement(m)
        conditions = ", ".join(f"{name} {value}" for name, value in m.conditions.items())
        count = "" if m.count is None else Reading(f"{m.count:,}")
        rows.append([m.target, m.name, Reading(reading.figure), reading.interval, count, m.unit, conditions])
    columns = ["target", "name", "value", "95 % interval", "count", "unit", "conditions"]
    accent = [place for place, m in enumerate(run.measurements) if m.target == "result"]
    title = f"{len(rows)} figures; in full precision they are in summary.csv"
    return Fold(title, (Grid(table_of("All measurements", columns, rows, accent=accent)),)) if rows else None


def _recipe(run: Run) -> Iterator[Block]:
    if run.recipe:
        text = yaml.safe_dump(run.recipe, sort_keys=False, allow_unicode=True, width=100)
        whose = " of the first variant" if cast.variants_of(run) else ""
        yield Fold(f"The resolved recipe{whose}: every default spelled out", (Code(text.rstrip("\n"), "yaml"),))


def _reproduce(run: Run) -> Iterator[Block]:
    if run.recipe:
        commit = run.environment.get("commit")
        told = ["In the run's folder, which holds the recipe and the lock file that pins what it downloads"]
        told += [f"with this program at commit {commit}"] if commit else []
        told += ["with the package versions that stand under Environment"] if run.environment.get("packages") else []
        yield Paragraph(f"{', '.join(told)}:")
        yield Code(sweep.command_of(run) if cast.variants_of(run) else "compress run recipe.yaml", "sh")
        yield Paragraph("Weights and decisions come out equal on the same machine. Times are measured anew.", "note")


def _marked(caption: str, columns: list[str], rows: list[list[Cell]], targets: list[Target]) -> Table:
    """A table of one row per target: the result stands out, baselines stand back."""
    accent = [place for place, target in enumerate(targets) if target.kind == "result"]
    muted = [place for place, target in enumerate(targets) if target.kind == "baseline"]
    return table_of(caption, columns, rows, accent=accent, muted=muted)


def _grid(table: Table | None) -> Grid | None:
    return Grid(table) if table else None
