"""How fast every target is, as blocks of a report: at fixed shapes, on real texts, to load; and what a call takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from typing import Any

from evaluation.measurement import Measurement, Run
from reports import cast
from reports.number import read_measurement
from reports.outline import Block, Fold, Grid, Paragraph
from reports.table import Cell, compared, marked, measured, table_of, title_of

_TOKENIZATION = ("apart", "included")
_SPEEDS = ("latency_p50_ms", "latency_p95_ms", "latency_p99_ms", "throughput_per_s")
_SPEED_TITLES = ("p50", "p95", "p99", "throughput")
_MOST_ROWS = 24
_TAKEN: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("peak memory", "peak_memory_bytes", {"of": "host"}),
    ("peak GPU memory", "peak_memory_bytes", {"of": "gpu"}),
    ("activations", "activation_bytes", {}),
    ("work", "flops", {}),
    ("energy for an example", "energy_joules", {}),
    ("cost of a million requests", "cost_per_million", {}),
)


def speed_blocks(run: Run) -> Iterator[Block]:
    """Latency at each shape and on real texts, the noise floor, load times, and memory, work, energy and cost."""
    for shape in cast.shapes_of(run):
        yield from _timed(run, f"{shape} (batch x tokens)", shape.conditions)
    for batch, tokenization in product(_text_batches(run), _TOKENIZATION):
        at = {"inputs": "texts", "batch": batch, "tokenization": tokenization}
        yield from _timed(run, _of_texts(run, batch, tokenization), at)
    noise = _noise(run)
    if noise:
        yield Paragraph(
            "The noise floor of a runtime is how far the ratio of one of its targets to itself lay from 1, timed twice "
            "in the same sitting. The floor of both its sides, joined as the root of the mean of their squares, or 3 % "
            "where that is more, stands beside every ratio at its shape; a ratio whose interval does not clear it is "
            "called a tie."
        )
        yield noise
    if load := _load(run):
        yield load
    yield from _takes(run)


def _timed(run: Run, caption: str, at: Mapping[str, Any]) -> Iterator[Block]:
    """One row a target that was timed there: percentiles, throughput, and the ratio to every baseline."""
    baselines = cast.baselines_of(run)
    targets = [target for target in run.all_targets if run.measured(target.name, "latency_p50_ms", **at)]
    rows: list[list[Cell]] = [
        [
            title_of(target),
            target.runtime,
            *(measured(run, target.name, name, **at) for name in _SPEEDS),
            *(compared(run, target.name, baseline, "speedup", **at) for baseline in baselines),
        ]
        for target in targets
    ]
    if rows:
        columns = ["target", "runtime", *_SPEED_TITLES, *(f"speed-up over {baseline}" for baseline in baselines)]
        yield Grid(marked(caption, columns, rows, targets))


def _text_batches(run: Run) -> list[int]:
    """How many real texts were read at a time."""
    found = dict.fromkeys(m.conditions.get("batch", 1) for m in run.measurements if cast.of_texts(m))
    return [batch for batch in found if isinstance(batch, int)]


def _of_texts(run: Run, batch: int, tokenization: str) -> str:
    read = [m.conditions for m in run.measurements if cast.of_texts(m)]
    lengths = dict.fromkeys(about.get("mean_tokens") for about in read if about.get("batch", 1) == batch)
    mean = next((f", {length:.0f} tokens on average" for length in lengths if isinstance(length, int | float)), "")
    return f"Real texts in their own lengths, {cast.at_a_time(batch)}{mean}; tokenization {tokenization}"


def _noise(run: Run) -> Grid | None:
    """How far the twin's ratio lay from 1, where a twin was timed."""
    rows: list[list[Cell]] = [
        [str(cast.shape_of(m) or _inputs(m)), m.target, _to_itself(m)] for m in run.measurements if m.name == "noise"
    ]
    return (
        Grid(table_of("Noise floor at every shape", ["shape", "timed twice", "ratio to itself"], rows))
        if rows
        else None
    )


def _inputs(measurement: Measurement) -> str:
    if not cast.of_texts(measurement):
        return "all shapes"
    at_a_time = cast.at_a_time(measurement.conditions.get("batch", 1))
    return f"real texts, {at_a_time}, tokenization {measurement.conditions.get('tokenization', '')}".strip()


def _to_itself(noise: Measurement) -> Cell:
    """A ratio, written as every other ratio of times."""
    reading = read_measurement(noise)
    return replace(reading, figure=f"{reading.figure}x")


def _load(run: Run) -> Grid | None:
    """How long each target takes from disk to its first output."""
    targets = [target for target in run.all_targets if run.measured(target.name, "load_ms")]
    rows = [[title_of(target), target.runtime, measured(run, target.name, "load_ms")] for target in targets]
    caption = "Load: from disk to the first output, without imports and tokenizer; in parentheses: shortest and longest"
    return Grid(marked(caption, ["target", "runtime", "load"], rows, targets)) if rows else None


def _takes(run: Run) -> Iterator[Block]:
    """Memory, work, energy and cost of every target at every shape, a row each."""
    rows: list[list[Cell]] = []
    for shape in cast.shapes_of(run):
        for target in run.all_targets:
            cells = [measured(run, target.name, name, **shape.conditions, **more) for _, name, more in _TAKEN]
            if any(str(cell) for cell in cells):
                rows.append([str(shape), title_of(target), *cells])
    if not rows:
        return
    grid = Grid(table_of("What a call takes", ["shape", "target", *(title for title, _, _ in _TAKEN)], rows))
    title = "What a call takes: memory, work, energy and cost of every target at every shape"
    yield Fold(title, (grid,)) if len(rows) > _MOST_ROWS else grid
