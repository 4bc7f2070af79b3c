"""One run as sections of a report, from the headline to how to do it again. What was not recorded is left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import yaml

from evaluation.measurement import Measurement, Run
from reports import cast, sweep
from reports.appendix import record_blocks
from reports.attribution import attribution_blocks, literature_blocks
from reports.broke import broke_blocks
from reports.curve import training_charts
from reports.datacard import data_blocks
from reports.drawing import headline_chart, latency_chart, waterfall_chart
from reports.front import front_table
from reports.headline import gates_table, headline_blocks, quality_table
from reports.layers import anatomy_chart, anatomy_rows, importance_charts
from reports.links import linked
from reports.machine import machine_table
from reports.number import Reading, per_cent, plain, read_measurement
from reports.outline import Block, Code, Fold, Grid, Paragraph, Section
from reports.record import table_of_record
from reports.scatter import tradeoff_block
from reports.size import part_blocks, size_table
from reports.speed import speed_blocks
from reports.study import is_study, study_blocks
from reports.table import Cell, Table, compared, marked, measured, method_of, table_of, title_of

if TYPE_CHECKING:
    from evaluation.measurement import Target

RECORDS = "measurements"
"""The name of the section that figures lead to."""

_MOST_ROWS = 60
_SHOWN_ELSEWHERE = (
    "anatomy",
    "data",
    "source",
    "variants",
    "sweep",
    "parts",
    "flips",
    "flips_count",
    "slices",
    "study",
)

Part = tuple[str, str, Iterable[Block | None]]


def sections_of(run: Run, *, prefix: str = "", level: int = 2) -> list[Section]:
    """The run's sections in reading order. `prefix` keeps anchors and file names of several runs apart."""
    if is_study(run):
        parts: list[Part] = [("headline", "What it comes to", study_blocks(run, prefix))]
    else:
        parts = _of_sweep(run, prefix) if cast.variants_of(run) else _of_one(run, prefix)
    parts += [
        ("training", "Training", training_charts(run, prefix)),
        ("gates", "Gates", _gates(run)),
        ("environment", "Environment", [_grid(machine_table(run.environment))]),
        ("skipped", "Not measured", _skipped(run)),
        ("data", "Data", _data(run)),
        ("recipe", "Recipe", _recipe(run)),
        ("reproduce", "How to reproduce", _reproduce(run)),
        ("tables", "Recorded by the stages" if run.targets else "What was recorded", _other_tables(run)),
        (RECORDS, "All measurements", record_blocks(run)),
    ]
    kept = ((name, title, tuple(block for block in blocks if block)) for name, title, blocks in parts)
    return linked([Section(f"{prefix}{name}", title, blocks, level) for name, title, blocks in kept if blocks], prefix)


def _of_one(run: Run, prefix: str) -> list[Part]:
    """What a run of one recipe shows first: its result, and the way there."""
    headline = [*headline_blocks(run), headline_chart(run, prefix), Paragraph(method_of(run), "note")]
    return [
        ("headline", "What it comes to", headline),
        ("steps", "Step by step", _steps(run, prefix)),
        ("tradeoff", "Quality against latency, size and memory", _tradeoff(run, prefix)),
        ("latency", "Latency by batch and length", [latency_chart(run, prefix), *speed_blocks(run)]),
        ("anatomy", "Anatomy, layer by layer", _anatomy(run, prefix)),
        ("importance", "Head importance", importance_charts(run, prefix)),
        ("broke", "What broke", broke_blocks(run)),
    ]


def _of_sweep(run: Run, prefix: str) -> list[Part]:
    """What a sweep shows first: its variants, and which are worth their cost."""
    return [
        ("headline", "What it comes to", [*sweep.opening(run), Paragraph(method_of(run), "note")]),
        ("front", "Quality against latency, size and memory", sweep.front_blocks(run, prefix)),
        ("variants", "Variants", [*sweep.variants(run), _lineage(run)]),
        ("latency", "Latency by batch and length", speed_blocks(run)),
        ("anatomy", "Anatomy, layer by layer", [_units_of_groups(run)]),
        ("broke", "What broke", broke_blocks(run)),
    ]


def _gates(run: Run) -> Iterable[Block]:
    if cast.variants_of(run):
        return sweep.gate_blocks(run)
    return [Grid(gates_table(run))] if run.gates else []


def _steps(run: Run, prefix: str) -> Iterator[Block | None]:
    path = cast.path_of(run)
    if len(path) < 2:
        return
    yield waterfall_chart(run, prefix)
    yield Grid(_steps_table(run, path))
    yield from attribution_blocks(run)
    yield from literature_blocks(run)
    yield _lineage(run)


def _tradeoff(run: Run, prefix: str) -> Iterator[Block | None]:
    yield tradeoff_block([run], prefix)
    for metric in cast.metrics_of(run)[:1]:
        yield _grid(front_table(run, metric))
    yield _quality(run)
    yield quality_table(run)
    yield size_table(run)


def _steps_table(run: Run, path: list[Target]) -> Table:
    shape, reference = cast.headline_shape(run), run.reference
    metrics = cast.metrics_of(run)[:1]
    rows = [_step_row(run, place, path) for place in range(len(path))]
    columns = ["step", "what it is", "parameters", "size", "change"]
    columns += [f"p50 at {shape}", f"speed-up over {reference}"]
    columns += [name for metric in metrics for name in (metric, cast.loss_name(run, metric))]
    return marked("What each step did", columns, rows, path)


def _step_row(run: Run, place: int, path: list[Target]) -> list[Cell]:
    target, reference = path[place], run.reference
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
    record = Measurement(target="", name=name, value=value, unit=name, higher_is_better=False)
    return Reading(read_measurement(record).figure)


def _quality(run: Run) -> Grid | None:
    metrics = cast.metrics_of(run)
    targets = [target for target in run.all_targets if any(run.measured(target.name, name) for name in metrics)]
    rows = [[title_of(target), *(measured(run, target.name, name) for name in metrics)] for target in targets]
    return Grid(marked("Quality of every target", ["target", *metrics], rows, targets)) if rows else None


def _anatomy(run: Run, prefix: str) -> Iterator[Block | None]:
    if anatomy_rows(run):
        yield anatomy_chart(run, prefix)
        yield _units_of_groups(run)
    yield from part_blocks(run)


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
        elsewhere = name in _SHOWN_ELSEWHERE or name.endswith(".head_scores")
        table = None if elsewhere else table_of_record(name, record)
        if table:
            folded = bool(run.targets) or len(table.rows) > _MOST_ROWS
            yield Fold(name, (Grid(table),)) if folded else Grid(table)


def _skipped(run: Run) -> Iterator[Block]:
    if run.skipped:
        yield Grid(
            table_of("Not measured", ["baseline", "reason"], [(each.target, each.reason) for each in run.skipped])
        )


def _recipe(run: Run) -> Iterator[Block]:
    if run.recipe:
        text = yaml.safe_dump(run.recipe, sort_keys=False, allow_unicode=True, width=100)
        whose = " of the first variant" if cast.variants_of(run) else ""
        yield Fold(f"The resolved recipe{whose}: every default spelled out", (Code(text.rstrip("\n"), "yaml"),))


def _reproduce(run: Run) -> Iterator[Block]:
    commands = list(_commands(run))
    if commands:
        commit = run.environment.get("commit")
        folder = "the run's folder, which holds the recipe and the lock file that pins what it downloads"
        told = [f"In {folder if not run.environment.get('command') else 'the folder that holds what it names'}"]
        told += [f"with this program at commit {commit}"] if commit else []
        told += ["with the package versions that stand under Environment"] if run.environment.get("packages") else []
        yield Paragraph(f"{', '.join(told)}:")
        yield Code("\n".join(commands), "sh")
        yield Paragraph("Weights and decisions come out equal on the same machine. Times are measured anew.", "note")


def _commands(run: Run) -> Iterator[str]:
    """What to type: the command that was typed; of a recipe, that again beside the first run, then both compared."""
    if command := run.environment.get("command"):
        yield str(command)
        return
    if not run.recipe:
        return
    deploy = run.recipe.get("deploy")
    meant = deploy.get("device") if isinstance(deploy, dict) else None
    ran_on = run.environment.get("device")
    device = f" --device {ran_on}" if ran_on in ("cpu", "cuda") and ran_on != meant else ""
    command = sweep.command_of(run) if cast.variants_of(run) else "compress run recipe.yaml"
    yield f"{command} -o again{device}"
    yield "compress report . again -o comparison"


def _grid(table: Table | None) -> Grid | None:
    return Grid(table) if table else None
