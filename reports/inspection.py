"""What `compress inspect` found out as sections of a page: sizes and latency layer by layer, heads, what is missing.

The run is about one model. Its tables: `parameters`, `flops` and `latency` by layer and part, `head_scores`,
`head_roles` and `head_counts`; `conditions` says of each how it came about.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from evaluation.measurement import Measurement, Run
from reports.appendix import record_blocks
from reports.head_maps import importance_blocks, role_blocks, trade_off_blocks
from reports.headline import measurement_tiles
from reports.links import linked
from reports.machine import machine_table
from reports.marks import mark_of
from reports.number import Reading, plain, read_measurement
from reports.outline import Block, Chart, Code, Grid, Paragraph, Section, Switch, Tiles
from reports.page import write_sections
from reports.record import facts
from reports.table import Cell, Table, escape, table_of, to_markdown

Rows = Sequence[dict[str, Any]]

_PARTS = {"attention": "attention", "ffn_and_norms": "rest of it", "outside_layers": "outside"}
_OUTSIDE = {
    "embeddings": "embeddings",
    "encoder_rest": "encoder beside the layers",
    "head": "head",
    "outside_layers": "all outside",
}


def write_inspection(run: Run, folder: Path) -> Path:
    """Write `index.html`, `report.md`, `summary.csv` and the charts into `folder`; returns the page's path."""
    return write_sections(title_of(run), [run], inspection_sections(run), folder, formats=("html", "markdown"))


def inspection_sections(run: Run) -> list[Section]:
    """The sections in reading order; what was not looked at is left out, and named in a section of its own."""
    parts: list[tuple[str, str, Iterable[Block]]] = [
        ("headline", "What it is", _headline(run)),
        ("layers", "Layer by layer", _layers(run)),
        ("importance", "Head importance", importance_blocks(run)),
        ("roles", "Head roles", role_blocks(run)),
        ("head-counts", "Heads against quality at equal parameters", trade_off_blocks(run)),
        ("skipped", "Not looked at", _skipped(run)),
        ("environment", "Environment", _environment(run)),
        ("measurements", "All measurements", record_blocks(run)),
    ]
    filled = [(name, title, tuple(blocks)) for name, title, blocks in parts]
    return linked([Section(name, title, blocks) for name, title, blocks in filled if blocks], "")


def title_of(run: Run) -> str:
    return f"{run.targets[0].title}: inspected"


def in_terminal(run: Run) -> str:
    """The layers, the strongest and weakest heads, the trade-off and what was left out, as Markdown."""
    blocks: list[Block] = []
    for section in inspection_sections(run):
        if section.name in ("headline", "layers", "importance", "roles", "head-counts", "skipped"):
            blocks += section.blocks
    text = "\n\n".join(_written(block) for block in blocks if isinstance(block, Tiles | Grid | Paragraph))
    return html.unescape(text)  # a terminal shows what Markdown would have to hide


def _written(block: Tiles | Grid | Paragraph) -> str:
    if isinstance(block, Paragraph):
        return escape(block.text)
    if isinstance(block, Grid):
        return f"{escape(block.table.caption)}\n\n{to_markdown(block.table)}"
    return "\n".join(f"- {tile.name}: {tile.reading}" for tile in block.tiles)


def _headline(run: Run) -> Iterator[Block]:
    target = run.targets[0]
    form = "an ONNX file" if target.form == "onnx" else "a torch model"
    yield Paragraph(f"{target.title}, {form} of {len(_layer_numbers(run))} layers. Nothing is compared here.")
    yield Tiles(measurement_tiles(run, target.name))
    device = run.environment.get("device", "cpu")
    machine = run.environment.get("cpu", device) if device == "cpu" else device
    yield Paragraph(
        f"Latency was measured on {machine} with {run.environment.get('threads')} threads in {target.runtime}; in "
        "parentheses 95 % intervals and n. "
        "FLOPs are those of matrix products, a multiply-accumulate as 2. Parameters and FLOPs are counted.",
        "note",
    )


# Layers


def _layers(run: Run) -> Iterator[Block]:
    latency = run.tables.get("latency", [])
    charts = [_latency_chart(run, shape) for shape in _shapes(latency)]
    if len(charts) > 1:
        yield Switch("Shape", tuple(charts))
    else:
        yield from charts
    yield Grid(_size_table(run))
    if latency:
        yield Grid(_time_table(run))
        how = run.tables["conditions"]["latency"]
        yield Paragraph(
            f"Times by layer are {how['how']}, in {how['runtime']} on {how['device']} with {how['threads']} threads; "
            f"tokens are {how['tokens_are']}. Attention is {how['attention']}; the other part is "
            f"{how['ffn_and_norms']}. Outside the layers is {how['outside_layers']}. Not in it: {how['excluded']}. "
            "Every median is one of its own, so parts add up only nearly. An exported graph fuses what is apart here: "
            "its layers take other times.",
            "note",
        )
    if any("shared_with" in row for row in run.tables["parameters"]):
        yield Paragraph(
            "Layers that share weights run them again; their parameters count where they first run.", "note"
        )


def _latency_chart(run: Run, shape: tuple[int, int]) -> Chart:
    rows = [row for row in _at(run.tables["latency"], shape) if row["part"] in _PARTS]
    named = f"{shape[0]}x{shape[1]}"
    told = [(_row_name(row["layer"]), _PARTS[row["part"]], _time(row, run)) for row in rows]
    alt = f"Median latency by layer at {named}. "
    alt += "; ".join(f"{name}, {part}: {read_measurement(time).figure}" for name, part, time in told)

    def draw() -> dict[str, Any]:
        from reports.charts.layer_latency import Piece, layer_latency

        return layer_latency([Piece(name, part, mark_of(time)) for name, part, time in told])

    caption = f"Median latency of each layer at {named} (batch x tokens), its attention first, then its FFN with norms "
    caption += "and residual sums; last what is outside the layers. A bar is as long as the sum of its parts' medians; "
    caption += "intervals are in the table."
    return Chart(f"layers-{named}", caption, alt, draw, label=named)


def _size_table(run: Run) -> Table:
    """One row a layer, then what is no layer's: parameters under `other parameters`, FLOPs under the last column."""
    shapes = _shapes(run.tables["flops"])
    columns = ["layer", "heads", "KV groups", "FFN channels"]
    columns += ["attention parameters", "FFN parameters", "other parameters"]
    columns += [
        f"{part} FLOPs at {batch}x{tokens}" for batch, tokens in shapes for part in ("attention", "FFN", "other")
    ]
    rows = [_layer_row(run, layer) for layer in _layer_numbers(run)]
    rows += [_outside_row(run, part, name) for part, name in _OUTSIDE.items()]
    return table_of("Parameters and FLOPs, layer by layer", columns, [row for row in rows if any(row[1:])])


def _layer_row(run: Run, layer: int) -> list[Cell]:
    parts = {row["part"]: row for row in run.tables["parameters"] if row["layer"] == layer}
    attention, ffn, others = (parts.get(part, {}) for part in ("attention", "ffn", "norms_and_biases"))
    groups = attention["units"] if attention.get("axis") == "kv_groups" else None
    row: list[Cell] = [_row_name(layer), *map(_count, (attention.get("heads"), groups, ffn.get("units")))]
    row += [_size(part.get("parameters"), "parameters") for part in (attention, ffn, others)]
    for shape in _shapes(run.tables["flops"]):
        flops = {each["part"]: each["flops"] for each in _at(run.tables["flops"], shape) if each["layer"] == layer}
        row += [_size(flops.get(part), "FLOPs") for part in ("attention", "ffn")] + [""]
    return row


def _outside_row(run: Run, part: str, name: str) -> list[Cell]:
    held = [row["parameters"] for row in run.tables["parameters"] if row["layer"] is None and row["part"] == part]
    row: list[Cell] = [name, *[""] * 5, _size(held[0] if held else None, "parameters")]
    for shape in _shapes(run.tables["flops"]):
        flops = [r["flops"] for r in _at(run.tables["flops"], shape) if r["layer"] is None and r["part"] == part]
        row += ["", "", _size(flops[0] if flops else None, "FLOPs")]
    return row


def _time_table(run: Run) -> Table:
    """One row a layer that runs, and one of what is outside them."""
    shapes = _shapes(run.tables["latency"])
    columns = [
        f"{what} at {batch}x{tokens}" for batch, tokens in shapes for what in ("attention", "rest of it", "whole")
    ]
    rows: list[list[Cell]] = []
    for layer in (*_layer_numbers(run), None):
        row: list[Cell] = [_row_name(layer)]
        for shape in shapes:
            times = {each["part"]: each for each in _at(run.tables["latency"], shape) if each["layer"] == layer}
            parts = ("attention", "ffn_and_norms", "layer") if layer is not None else ("", "", "outside_layers")
            row += [read_measurement(_time(times[part], run)) if part else "" for part in parts]
        rows.append(row)
    return table_of("Median latency, layer by layer", ["layer", *columns], rows)


def _time(row: dict[str, Any], run: Run) -> Measurement:
    ends = {name: row[name] for name in ("low", "high", "count")}
    conditions = {"batch": row["batch"], "tokens": row["tokens"], "threads": run.environment.get("threads")}
    value = row["latency_p50_ms"]
    return Measurement(
        target="", name="latency_p50_ms", value=value, unit="ms", higher_is_better=False, conditions=conditions, **ends
    )


def _size(count: int | None, unit: str) -> Cell:
    if not count:
        return ""
    if count < 1000:
        return Reading(plain(count))
    record = Measurement(target="", name=unit, value=count, unit=unit, higher_is_better=False)
    return Reading(read_measurement(record).figure)


def _count(count: int | None) -> Cell:
    return "" if count is None else Reading(plain(count))


def _shapes(rows: Rows) -> list[tuple[int, int]]:
    return list(dict.fromkeys((row["batch"], row["tokens"]) for row in rows))


def _at(rows: Rows, shape: tuple[int, int]) -> list[dict[str, Any]]:
    return [row for row in rows if (row["batch"], row["tokens"]) == shape]


def _layer_numbers(run: Run) -> list[int]:
    return list(dict.fromkeys(row["layer"] for row in run.tables["parameters"] if row["layer"] is not None))


def _row_name(layer: int | None) -> str:
    return "outside" if layer is None else f"layer {layer}"


# The rest


def _skipped(run: Run) -> Iterator[Block]:
    if run.skipped:
        rows = [(skipped.target, skipped.reason) for skipped in run.skipped]
        yield Grid(table_of("Not looked at, and why", ["what", "why"], rows))


def _environment(run: Run) -> Iterator[Block]:
    command = run.environment.get("command")
    if command:
        yield Paragraph("The command that asks for this again:")
        yield Code(str(command), "sh")
    machine = machine_table({name: value for name, value in run.environment.items() if name != "command"})
    if machine:
        yield Grid(machine)
    for name, conditions in run.tables["conditions"].items():
        if table := facts(f"Conditions of {name}", conditions):
            yield Grid(table)
