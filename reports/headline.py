"""The headline of a run: how much smaller, how much faster, what it cost, and whether the gates held."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.measurement import Comparison, Gate, Measurement, Run
from reports import cast
from reports.marks import conditions_of
from reports.number import (
    Reading,
    includes,
    read_comparison,
    read_gate,
    read_measurement,
    read_p_value,
    size,
    tie_reason,
)
from reports.outline import Block, Grid, Paragraph, Tile, Tiles, Tone
from reports.table import Cell, Table, table_of

_MOST_METRICS = 2
_VERDICTS = {
    ("speedup", "better"): "faster, beyond the noise",
    ("speedup", "worse"): "slower, beyond the noise",
    ("speedup", "tie"): "no difference shown",
    ("quality_drop", "better"): "a gain, beyond chance",
    ("quality_drop", "worse"): "a loss, beyond chance",
}
_LIKENESS = {"agreement": "agreement", "logit_error": "logit error"}
_HALF_PRECISION = ("F16", "BF16")  # as safetensors files name them

_PROMISES = {
    "fusion": "the graph holds the attention that was asked for, in every layer",
    "parity": "the graph gives what the torch model gives, however texts are padded",
    "nameless": "nothing in the file names this machine or its user",
    "opens_afresh": "a fresh process with onnxruntime alone gets the same from the file",
    "latency": "the cut takes no more of a call's time than was asked, and a tenth",
    "quantized_operators": "everything that is to be in int8 is",
    "quantized_agreement": "quantizing changes few decisions",
    "finite_outputs": "every output is a number",
    "max_quality_drop": "not more quality is lost",
    "min_speedup": "it is that much faster",
    "min_compression": "it is that much smaller",
}


def headline_blocks(run: Run) -> tuple[Block, ...]:
    """What the run comes to: gates that failed first, then figures against the reference, each with its interval."""
    subject, reference = run.subject, run.reference
    blocks: list[Block] = list(gate_notice(run))
    if subject is None:
        bare = not run.gates and not run.tables
        return (*blocks, Paragraph("Nothing was measured in this run.", "note")) if bare else tuple(blocks)
    tiles = comparison_tiles(run, subject, reference) if reference else ()
    if tiles:
        stage = next((f" ({t.stage})" for t in run.all_targets if t.name == subject and t.stage), "")
        blocks.append(Paragraph(f"{subject}{stage}, compared with {reference}."))
    else:
        tiles = measurement_tiles(run, subject)
        blocks.append(Paragraph(f"{subject}, as measured. There is nothing to compare it with in this run."))
    return (*blocks, Tiles(tiles), *source_note(run))


def source_note(run: Run) -> tuple[Paragraph, ...]:
    """Says of a source in half precision that sizes are not compared with its file; nothing of other sources."""
    source, reference = run.tables.get("source"), run.reference
    if not isinstance(source, Mapping) or source.get("stored as") not in _HALF_PRECISION:
        return ()
    count = source.get("bytes")
    if reference is None or not isinstance(count, int):
        return ()
    whole = run.measured(reference, "bytes")
    told = (
        f"The file that went in is {size(count)} (half precision, {source['stored as']}); sizes are compared with its "
    )
    told += f"float32 form, {reference}" + (f", of {read_measurement(whole).figure}." if whole else ".")
    return (Paragraph(told),)


def comparison_tiles(run: Run, subject: str, reference: str) -> tuple[Tile, ...]:
    """One tile for size, one for each shape and batch of real texts as users have them, tokenization included, and for
    the first metrics that the two were compared in."""
    metrics = (None, *cast.metrics_of(run)[:_MOST_METRICS])
    found = [c for c in run.comparisons if (c.target, c.baseline) == (subject, reference)]
    found = [c for c in found if c.conditions.get("tokenization") != "apart"]
    found = [c for c in found if c.name != "quality_drop" or c.conditions.get("metric") in metrics]
    order = ("compression_ratio", "speedup", "quality_drop", "agreement", "logit_error")
    return tuple(_tile(run, c) for name in order for c in found if c.name == name)


def measurement_tiles(run: Run, subject: str) -> tuple[Tile, ...]:
    """What was measured of a target that nothing was compared with; of like names, the conditions that differ too."""
    shown = [m for m in run.measurements if m.target == subject and not cast.of_texts(m)]
    named: dict[str, list[Measurement]] = {}
    for m in shown:
        named.setdefault(_with_shape(m.name, cast.shape_of(m)), []).append(m)
    return tuple(
        Tile(name, read_measurement(m), conditions_of(_apart(m, alike))) for name, alike in named.items() for m in alike
    )


def gate_notice(run: Run) -> tuple[Paragraph, ...]:
    """A box that says which gates failed, or that all of them held; nothing where there are none."""
    failed = [gate for gate in run.gates if not gate.passed]
    if not run.gates:
        return ()
    if not failed:
        count = len(run.gates)
        return (
            Paragraph(f"The gate held: {run.gates[0].name}." if count == 1 else f"All {count} gates held.", "good"),
        )
    told = "; ".join(_failure(run, gate) for gate in failed)
    return (Paragraph(f"{len(failed)} of {len(run.gates)} gates failed: {told}.", "bad"),)


def gates_table(run: Run) -> Table:
    """Every gate: what was promised, what came, and whether it held."""
    rows: list[list[Cell]] = []
    for gate in run.gates:
        value, limit = _gate(run, gate)
        outcome = "held" if gate.passed else "FAILED"
        row: list[Cell] = [gate.name, _PROMISES.get(gate.name, ""), gate.target, limit, Reading(value)]
        rows.append([*row, read_p_value(gate.p_value), outcome, gate.detail])
    failed = [place for place, gate in enumerate(run.gates) if not gate.passed]
    columns = ["gate", "what it promises", "judged", "wanted", "measured", "p-value", "outcome", "detail"]
    return table_of("Gates", columns, rows, accent=failed)


def quality_table(run: Run) -> Grid | None:
    """The result's quality against each baseline, metric by metric, with p-values."""
    subject = run.subject
    rows: list[list[Cell]] = [
        [
            c.baseline,
            _LIKENESS.get(c.name) or cast.loss_name(run, str(c.conditions.get("metric", "quality"))),
            reading_of(run, c),
            read_p_value(c.p_value),
            read_p_value(c.adjusted_p_value),
            verdict_words(c) if c.name == "quality_drop" else "",
        ]
        for baseline in cast.baselines_of(run)
        for c in run.comparisons
        if (c.target, c.baseline) == (subject, baseline) and c.name in ("quality_drop", *_LIKENESS)
    ]
    columns = ["baseline", "what", "figure", "p-value", "adjusted p-value", "verdict"]
    return Grid(table_of(f"Quality of {subject} against each baseline", columns, rows)) if rows else None


def name_of(run: Run, comparison: Comparison) -> str:
    """What a comparison is of, for a reader: `times faster at 1 x 128`."""
    names = {"compression_ratio": "times smaller", "speedup": "times faster", "agreement": "same decisions"}
    names |= {"logit_error": _LIKENESS["logit_error"]}
    metric = str(comparison.conditions.get("metric", "quality"))
    name = names.get(comparison.name) or cast.loss_name(run, metric)
    if cast.of_texts(comparison):
        tokenization, batch = comparison.conditions.get("tokenization"), comparison.conditions.get("batch", 1)
        told = f"{name} on real texts" + (f", {cast.at_a_time(batch)}" if batch != 1 else "")
        return told + (f", tokenization {tokenization}" if tokenization else "")
    return _with_shape(name, cast.shape_of(comparison))


def reading_of(run: Run, comparison: Comparison) -> Reading:
    """The comparison, in the unit that the run has its metric in."""
    return read_comparison(comparison, unit=cast.loss_unit(run, str(comparison.conditions.get("metric", ""))))


def verdict_words(comparison: Comparison) -> str:
    """A comparison's verdict in words; from its interval where it has no verdict of its own, else nothing."""
    verdict: str | None = comparison.verdict
    if verdict is None and comparison.low is not None and comparison.high is not None:
        neutral, better_above = (0.0, False) if comparison.name == "quality_drop" else (1.0, True)
        above, below = comparison.low > neutral, comparison.high < neutral
        verdict = "tie" if not (above or below) else "better" if above is better_above else "worse"
    if verdict == "tie" and comparison.name == "quality_drop":
        return _no_loss(comparison)
    if verdict == "tie" and comparison.noise is not None:
        return f"a tie: {tie_reason(comparison)}"
    words = _VERDICTS.get((comparison.name, verdict or ""), "")
    # Where nothing was timed twice there is no floor to be beyond, only the interval.
    return words if comparison.noise is not None else words.replace("beyond the noise", "beyond chance")


def _no_loss(comparison: Comparison) -> str:
    """Why a quality drop is a tie: its interval, or a test that does not agree with an interval without 0."""
    if includes(comparison, 0.0):
        return "no loss shown: the interval includes 0"
    adjusted, plain = comparison.adjusted_p_value, comparison.p_value
    if adjusted is not None:
        return f"not beyond chance: adjusted p-value {read_p_value(adjusted)}"
    return f"not beyond chance: p-value {read_p_value(plain)}" if plain is not None else "not beyond chance"


def _tile(run: Run, comparison: Comparison) -> Tile:
    name, reading = name_of(run, comparison), reading_of(run, comparison)
    if comparison.name == "compression_ratio":
        return Tile(name, reading, _sizes(run, comparison), _tone(comparison))
    if comparison.name == "agreement":
        return Tile(name, reading, "share of test examples")
    if comparison.name == "logit_error":
        return Tile(name, reading, "distance of the scores, in units of their own spread")
    return Tile(name, reading, verdict_words(comparison), _tone(comparison))


def _tone(comparison: Comparison) -> Tone:
    words = verdict_words(comparison)
    if comparison.name == "compression_ratio":
        return "bad" if comparison.value < 1 else "plain"
    return "bad" if words.startswith(("slower", "a loss")) else "plain"


def _apart(measurement: Measurement, alike: Sequence[Measurement]) -> dict[str, Any]:
    """The conditions by which a measurement can be told from others of its name."""
    others = [m.conditions for m in alike]
    return {name: value for name, value in measurement.conditions.items() if any(o.get(name) != value for o in others)}


def _sizes(run: Run, comparison: Comparison) -> str:
    ends = [run.measured(name, "bytes") for name in (comparison.baseline, comparison.target)]
    before, after = (read_measurement(end).figure if end else "" for end in ends)
    return f"{before} to {after}; counted, so without an interval" if before and after else ""


def _failure(run: Run, gate: Gate) -> str:
    value, limit = _gate(run, gate)
    reason = f" ({gate.detail})" if value == "none" and gate.detail else ""
    whose = f" of {gate.target}" if cast.variants_of(run) else ""
    return f"{gate.name}{whose} is {value}{reason}, wanted {limit}"


def _gate(run: Run, gate: Gate) -> tuple[str, str]:
    metric = str(cast.gate_settings(run, "max_quality_drop").get("metric", ""))
    return read_gate(gate, unit=cast.loss_unit(run, metric))


def _with_shape(name: str, shape: cast.Shape | None) -> str:
    return f"{name} at {shape}" if shape else name
