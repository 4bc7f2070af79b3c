"""Latency targets: is a model that was cut to a fraction of a call's time really that fast, exported and in int8?

For each shape and precision the whole model and one cut for each target go through the same export. All of them are
then timed in one sitting, in a fresh process that has seen none of them; the twins of that sitting say how large its
noise is. A cut in int8 is held against the whole model in int8.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

import recipes
from bench.pruning.part import Options
from bench.pruning.processes import made
from compress.deploy import Shape
from compress.errors import DataError
from compress.provenance import code_digest
from compress.recipe import read_recipe
from evaluation.measurement import Comparison, Gate, Measurement, Run, read_run

FOLDER = "latency-targets"
RECIPE = "sst2-half-latency"
TARGETS = (0.75, 0.5, 0.33, 0.25)
SHAPES = ("1x128", "32x64")
PRECISIONS = ("fp32", "int8")
WITHIN = 0.10
STRETCH = 0.05
LONGER = 2
_NEAREST = re.compile(r"the nearest that these axes can reach is [0-9.]+")
_FILES = {"fp32": "model.onnx", "int8": "model_int8.onnx"}
_PLAIN = ("--set", "measure.rounds=2", "--set", "measure.footprint=false", "--set", "measure.baselines=[onnx-fp32]")


class Cell(NamedTuple):
    """A shape in a precision; all of its targets are timed together."""

    shape: str
    precision: str

    def __str__(self) -> str:
        return f"{self.precision} {self.shape}"


Asked = tuple[Cell, float]
"""A cell, and the target asked for there."""


class Reached(NamedTuple):
    """What came of one target. `fraction` is of the whole model's time; `noise` is how far from 1 the ratio of a model
    to its own twin was in the same sitting, without the least noise that verdicts of speed allow for."""

    cell: Cell
    asked: float
    fraction: float
    low: float
    high: float
    noise: float
    rounds: int | None
    accuracy: float

    @property
    def off(self) -> float:
        """How far from what was asked, relatively; below 0 where it is faster."""
        return self.fraction / self.asked - 1

    @property
    def surely_off(self) -> float:
        """How far at least: less what the same model differs from itself by."""
        return max(0.0, round(abs(self.off) - self.noise, 9))


def found(options: Options) -> Run:
    """Every target in every cell; what is not there yet is made first, about an hour of it.

    Raises:
        RuntimeError: a run or a sitting failed.
        DataError: a sitting that does not compare what was asked for.
    """
    cells = [Cell(shape, precision) for shape in SHAPES for precision in PRECISIONS]
    targets: Sequence[float] = TARGETS
    if options.small:
        cells, targets = cells[:1], TARGETS[1:2]
    sittings, met = {}, dict[Cell, list[float]]()
    doubts, refused = dict[Asked, list[str]](), dict[Asked, str]()
    root = options.work / "latency"
    for cell in cells:
        whole, cuts = _run(cell, None, root, options), dict[float, Path]()
        for asked in targets:
            try:
                cuts[asked] = _run(cell, asked, root, options)
            except RuntimeError as fault:
                if (nearest := _NEAREST.search(str(fault))) is None:
                    raise
                refused[cell, asked] = nearest[0]
        sittings[cell], met[cell] = read_run(_sitting(cell, [whole, *cuts.values()], options)), list(cuts)
        for asked, folder in cuts.items():
            doubts[cell, asked] = [gate.name for gate in read_run(folder).gates if not gate.passed]
    return as_run(sittings, met, options.command, doubts, refused)


def _sitting(cell: Cell, folders: Sequence[Path], options: Options) -> Path:
    """A fresh process that times the whole model and its cuts."""
    graphs = [str(folder / "model" / "onnx" / _FILES[cell.precision]) for folder in folders]
    words = ["measure", *graphs, "--data", options.validation, "--columns", "text=sentence,label=label"]
    words += ["--latency", cell.shape, "--rounds", str(_rounds(cell, options)), "--no-footprint", "--no-quote"]
    threads = _recipe()["deploy"]["threads"]
    sitting = options.work / "latency" / f"{cell.shape}-{cell.precision}-sitting"
    return made(sitting, [*words, "--threads", str(threads)])


def _rounds(cell: Cell, options: Options) -> int:
    """A sitting ends once it has lasted as long as its rounds of short calls would; of long calls it has few by then,
    and ratios that say little, so more rounds are asked for."""
    shape = Shape.parse(cell.shape)
    return options.rounds * (LONGER if shape.batch * shape.tokens > 1024 else 1)


def _run(cell: Cell, asked: float | None, root: Path, options: Options) -> Path:
    """The whole model where nothing is asked, which is the same at every shape; else a cut of it."""
    whole = asked is None
    name = f"whole-{cell.precision}" if whole else f"{cell.shape}-{cell.precision}-{asked}"
    settings = ["--set", f"stages={json.dumps(stages_for(cell.precision, asked))}"]
    settings += ["--set", f"deploy.shapes=[{SHAPES[0] if whole else cell.shape}]"]
    settings += ["--set", f"deploy.precision={cell.precision}", "--set", "gates={}"]
    return made(root / name, ["run", RECIPE, *options.settings, *settings, *_PLAIN])


def stages_for(precision: str, asked: float | None) -> list[dict[str, Any]]:
    """The recipe's stages for another target and precision.

    >>> [list(stage)[0] for stage in stages_for("fp32", None)]
    ['export']
    """
    kept = []
    for stage in _recipe()["stages"]:
        [(name, settings)] = stage.items()
        if name == "prune" and asked is not None:
            kept.append({name: {**settings, "target": {"latency": asked}}})
        elif name == "export" or (name == "quantize" and precision == "int8"):
            kept.append(stage)
    return kept


def _recipe() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(recipes.find(RECIPE).read_text(encoding="utf-8"))
    return read


def as_run(
    sittings: Mapping[Cell, Run],
    targets: Mapping[Cell, Sequence[float]],
    command: str,
    doubts: Mapping[Asked, Sequence[str]] | None = None,
    refused: Mapping[Asked, str] | None = None,
) -> Run:
    """What the sittings say of each target.

    Args:
        targets: of each cell, those that a cut was made for.
        doubts: names of the stages' own gates that a cut failed.
        refused: targets that can't be met, and what was said of them.
    """
    reached = [one for cell, run in sittings.items() for one in _reached(cell, run, targets[cell])]
    doubts, refused = doubts or {}, refused or {}
    first = next(iter(sittings.values()))
    told = {key: value for key, value in first.environment.items() if key != "command"}
    return Run(
        name=FOLDER,
        recipe=read_recipe(recipes.find(RECIPE)).told(),
        environment={**told, "code": code_digest("compress.stages.prune"), "command": command},
        measurements=[row for one in reached for row in _measured(one)],
        comparisons=[row for cell, run in sittings.items() for row in _speedups(cell, run, targets[cell])],
        gates=[_gate(cell, [one for one in reached if one.cell == cell]) for cell in sittings],
        tables={
            "study": _study(reached, list(sittings), refused),
            "targets": [_row(one, (doubts or {}).get((one.cell, one.asked), ())) for one in reached],
        },
    )


def _pairs(cell: Cell, run: Run, targets: Sequence[float]) -> Iterator[tuple[float, str, Comparison]]:
    """Each target with its cut's name in the sitting and its speed-up; the sitting has them in the order they were
    typed, the whole model first."""
    names, shape = [target.name for target in run.targets], Shape.parse(cell.shape)
    if len(names) != len(targets) + 1:
        raise DataError(f"{cell}: a sitting of {len(names)} models, wanted the whole one and {len(targets)} cuts")
    for asked, name in zip(targets, names[1:], strict=True):
        compared = run.compared(name, names[0], "speedup", batch=shape.batch, tokens=shape.tokens)
        if compared is None or compared.low is None or compared.high is None:
            raise DataError(f"{cell}: no speed-up of {name} over {names[0]} with an interval; were the rounds too few?")
        yield asked, name, compared


def _reached(cell: Cell, run: Run, targets: Sequence[float]) -> Iterator[Reached]:
    for asked, name, speedup in _pairs(cell, run, targets):
        accuracy = run.measured(name, "accuracy")
        assert accuracy is not None, "a sitting judges every model"
        assert speedup.low is not None, "seen by `_pairs`"
        assert speedup.high is not None, "likewise"
        parts = 1 / speedup.value, 1 / speedup.high, 1 / speedup.low
        yield Reached(cell, asked, *parts, _noise(cell, run), speedup.count, accuracy.value)


def _noise(cell: Cell, run: Run) -> float:
    """How far from 1 the ratios of twins lay, relatively: the farthest."""
    shape = Shape.parse(cell.shape)
    found = [m for m in run.measurements if m.name == "noise"]
    here = [
        m.value for m in found if (m.conditions.get("batch"), m.conditions.get("tokens")) == (shape.batch, shape.tokens)
    ]
    if not here:
        raise DataError(
            f"{cell}: a sitting without a twin; wanted the same model timed twice, as `compress measure` does"
        )
    return max(abs(value - 1) for value in here)


def _speedups(cell: Cell, run: Run, targets: Sequence[float]) -> Iterator[Comparison]:
    for asked, _, speedup in _pairs(cell, run, targets):
        conditions = {"precision": cell.precision, "asked": asked, **speedup.conditions}
        names = {"target": f"{cell.precision} cut", "baseline": f"{cell.precision} whole"}
        yield speedup.model_copy(update={**names, "conditions": conditions})


def _measured(one: Reached) -> list[Measurement]:
    shape = Shape.parse(one.cell.shape)
    conditions = {"asked": one.asked, "precision": one.cell.precision, "batch": shape.batch, "tokens": shape.tokens}
    common = {"target": str(one.cell), "unit": "ratio", "count": one.rounds, "higher_is_better": False}
    ends = {"low": one.low, "high": one.high}
    over = {name: value / one.asked for name, value in ends.items()}
    return [
        Measurement(name="fraction_of_time", value=one.fraction, conditions=conditions, **ends, **common),
        Measurement(
            name="measured_over_asked", value=one.fraction / one.asked, conditions=conditions, **over, **common
        ),
    ]


def _gate(cell: Cell, reached: Sequence[Reached]) -> Gate:
    worst = max(reached, key=lambda one: one.surely_off)
    detail = f"the farthest of {len(reached)} targets, {worst.asked:g}: {worst.fraction:.3f} of the time, off by "
    detail += f"{100 * abs(worst.off):.1f} %, of which the twins' noise, {100 * worst.noise:.1f} %, is taken off"
    off = worst.surely_off
    name = f"latency_target_{cell.precision}_{cell.shape}"
    return Gate(name=name, limit=WITHIN, value=off, passed=off <= WITHIN, target=str(cell), detail=detail)


def _row(one: Reached, doubts: Sequence[str]) -> dict[str, Any]:
    return {
        "precision": one.cell.precision,
        "shape": one.cell.shape,
        "asked": one.asked,
        "measured": round(one.fraction, 4),
        "low": round(one.low, 4),
        "high": round(one.high, 4),
        "rounds": one.rounds,
        "off by": f"{100 * one.off:+.1f} %",
        "noise (A/A)": f"{100 * one.noise:.1f} %",
        "off by, less noise": f"{100 * one.surely_off:.1f} %",
        "within 10 %": one.surely_off <= WITHIN,
        "within 5 %": one.surely_off <= STRETCH,
        "within 10 %, noise not taken off": abs(one.off) <= WITHIN,
        "accuracy": round(one.accuracy, 4),
        "failed of the stages' gates": ", ".join(doubts) or "none",
    }


def _study(reached: Sequence[Reached], cells: Sequence[Cell], refused: Mapping[Asked, str]) -> dict[str, Any]:
    close, closer = (sum(one.surely_off <= limit for one in reached) for limit in (WITHIN, STRETCH))
    targets = sorted({one.asked for one in reached})
    return {
        "told": [
            "A cut is asked to take a fraction of the whole model's time; the exported graph is then timed beside the "
            "whole model's, exported alike, in a fresh process. "
            f"Of {len(reached)} targets {close} are met to within 10 %, {closer} to within 5 %, once the noise of the "
            "sitting is taken off.",
            *(f"Refused before any cut: {cell} to {asked:g}; {told}." for (cell, asked), told in refused.items()),
        ],
        "charts": [
            {
                "name": "targets",
                "caption": "Measured time over the time that was asked for, by the fraction asked for. Above 1 a cut "
                "is slower than asked. Whiskers are 95 % intervals. Points are moved aside a little.",
                "measurement": "measured_over_asked",
                "along": "asked",
                "x_title": "fraction of the whole model's time, asked for",
                "y_title": "measured / asked",
                "ticks": targets,
                "falling": True,
                "levels": [
                    {"name": "as asked", "value": 1.0},
                    {"name": "10 % slower", "value": 1 + WITHIN},
                    {"name": "10 % faster", "value": 1 - WITHIN},
                ],
                "lines": [{"target": str(cell), "group": str(cell), "dashed": False} for cell in cells],
            }
        ],
        "notes": [
            "The noise is how far the ratio of a model to its own twin lay from 1 in the same sitting at that shape. "
            "Int8 is compared with the whole model in int8. Accuracy stands in the table to show what a target costs "
            "without training; it is no promise here."
        ],
    }
