"""A sweep as blocks of a report: its variants, how each ended, and which of them are worth their cost."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from evaluation.measurement import Comparison, Run, Verdict
from reports import cast
from reports.front import Cost, Place, between, costs_of, places
from reports.headline import gate_notice, gates_table, source_note
from reports.number import Reading, plain, read_comparison, read_measurement
from reports.outline import Block, Fold, Grid, Paragraph, Tile, Tiles
from reports.scatter import front_chart
from reports.table import Cell, Table, results, table_of

_SAID: dict[Verdict | None, str] = {"better": "better", "worse": "worse", "tie": "a tie", None: ""}


def opening(run: Run) -> Iterator[Block]:
    """What varied, what came of it, and the ends of the range that the variants span."""
    yield from gate_notice(run)
    rows = _rows(run)
    measured, failed = cast.variants_of(run), [row for row in rows if row.get("status") == "failed"]
    settings = "; ".join(f"{path.split('.', 1)[-1]}: {', '.join(values)}" for path, values in _settings(rows).items())
    told = [f"{len(measured)} variants of one recipe, made from one reference and measured in one sitting."]
    told += [f"Varied: {settings}."] if settings else []
    told += [f"{len(failed)} failed: {', '.join(str(row.get('variant', '')) for row in failed)}."] if failed else []
    yield Paragraph(" ".join(told))
    yield Tiles(tuple(_best(run)))
    yield from source_note(run)


def variants(run: Run) -> Iterator[Block]:
    """What each variant changes and how it ended, then every figure of every target."""
    rows, settings = _rows(run), _settings(_rows(run))
    if rows:
        labels = _labels(list(settings))
        columns = ["variant", *labels.values(), "how it ended", "why", "stages found done", "stages"]
        yield Grid(
            table_of(
                "What each variant changes, and how it ended",
                columns,
                [_variant_row(row, list(labels)) for row in rows],
            )
        )
    yield Grid(results(run))


def front_blocks(run: Run, prefix: str) -> Iterator[Block]:
    """For each cost, the first metric against it: the front drawn, and every target with the one it is measured by."""
    for metric in cast.metrics_of(run)[:1]:
        yield Paragraph(
            "On the front is what no other target beats in quality and cost at once, baselines included. Each target "
            "there stands beside the next cheaper one on the front, each behind it beside the best of those that beat "
            "it. A tie is a paired difference that may be chance: of two such, take the cheaper."
        )
        for place, cost in enumerate(costs_of(run)):
            if not places(run, metric, cost):
                continue
            yield front_chart(run, metric, cost, f"{prefix}front-{place + 1}")
            yield Grid(_front_table(run, metric, cost))


def gate_blocks(run: Run) -> Iterator[Block]:
    """The gates that failed; all of them, which are many, in a fold."""
    if not run.gates:
        return
    failed = run.model_copy(update={"gates": [gate for gate in run.gates if not gate.passed]})
    if failed.gates:
        yield Grid(gates_table(failed))
    yield Fold(f"All {len(run.gates)} gates of all variants", (Grid(gates_table(run)),))


def command_of(run: Run) -> str:
    """The command that makes the sweep again from its folder."""
    about = run.tables.get("sweep")
    over = about.get("over") if isinstance(about, Mapping) else None
    options = [f"--over {shlex.quote(str(each))}" for each in over] if isinstance(over, list) else []
    return " ".join(["compress sweep recipe.yaml", *options])


def _best(run: Run) -> Iterator[Tile]:
    """The best of the variants by each figure of the front."""
    names = {target.name for target in cast.variants_of(run)}
    for metric in cast.metrics_of(run)[:1]:
        found = [m for m in run.measurements if m.name == metric and m.target in names]
        best = max(found, key=lambda m: m.value if m.higher_is_better else -m.value)
        yield Tile(f"best {metric}", read_measurement(best), best.target)
    for cost in costs_of(run):
        paid = [m for name in names if (m := run.measured(name, cost.measurement, **cost.conditions))]
        if paid:
            least = min(paid, key=lambda m: (m.value, m.target))
            name = "smallest" if cost.measurement == "bytes" else cost.title.replace("p50", "fastest")
            yield Tile(name, read_measurement(least), least.target)


def _variant_row(row: Mapping[str, Any], paths: Sequence[str]) -> list[Cell]:
    changes = row.get("changes")
    values = changes if isinstance(changes, Mapping) else {}
    stages, reused = row.get("stages"), row.get("stages_reused")
    told: list[Cell] = [str(row.get("variant", "")), *(str(values.get(path, "")) for path in paths)]
    told += [str(row.get("status", "")), str(row.get("reason", ""))]
    return [*told, *(Reading(plain(count)) if isinstance(count, int) else "" for count in (reused, stages))]


def _front_table(run: Run, metric: str, cost: Cost) -> Table:
    gained = "times smaller" if cost.measurement == "bytes" else "speed-up"
    columns = ["target", metric, cost.title, "on the front", "beside", cast.loss_name(run, metric), gained]
    listed = places(run, metric, cost)
    rows = [_front_row(run, metric, cost, place) for place in listed]
    front = [index for index, place in enumerate(listed) if place.on_front and place.target.kind == "variant"]
    back = [index for index, place in enumerate(listed) if not place.on_front]
    return table_of(f"{metric} against {cost.title}, the cheapest first", columns, rows, accent=front, muted=back)


def _front_row(run: Run, metric: str, cost: Cost, place: Place) -> list[Cell]:
    name = place.target.name
    row: list[Cell] = [cast.short_name(name), read_measurement(place.quality), read_measurement(place.cost)]
    row.append("yes" if place.on_front else "no")
    if place.rival is None:
        return [*row, "", "", ""]
    rival = place.rival.name
    drop = between(run, name, rival, "quality_drop", metric=metric)
    ratio = between(run, name, rival, cost.comparison, **cost.conditions)
    return [*row, cast.short_name(rival), _said(run, drop), _said(run, ratio)]


def _said(run: Run, comparison: Comparison | None) -> Cell:
    """A comparison, with its verdict behind the interval; sizes are counted, and have none to doubt."""
    if comparison is None:
        return ""
    reading = read_comparison(comparison, unit=cast.loss_unit(run, str(comparison.conditions.get("metric", ""))))
    verdict = _SAID[comparison.verdict] if comparison.name != "compression_ratio" else ""
    return replace(reading, interval=": ".join(part for part in (verdict, reading.interval) if part), count=None)


def _rows(run: Run) -> list[Mapping[str, Any]]:
    rows = run.tables.get("variants")
    return [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []


def _settings(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The values that each setting takes, in order."""
    found: dict[str, list[str]] = {}
    for row in rows:
        changes = row.get("changes")
        for path, value in changes.items() if isinstance(changes, Mapping) else ():
            if str(value) not in found.setdefault(str(path), []):
                found[str(path)].append(str(value))
    return found


def _labels(paths: Sequence[str]) -> dict[str, str]:
    """The last word of each path, or all of it where two end alike."""
    last = [path.rpartition(".")[2] for path in paths]
    return {path: end if last.count(end) == 1 else path for path, end in zip(paths, last, strict=True)}
