"""A third of the encoder, taught: what a model loses that was cut once, then learned from the whole one; and in int8.

Each seed is a run of its own: it draws the calibration examples, the order in which the texts are learned from, and
what dropout leaves out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.pruning import curves
from bench.pruning.part import Options
from bench.pruning.processes import made
from bench.pruning.sweep import right_of
from compress.errors import DataError
from evaluation.measurement import Comparison, Gate, Run, read_run
from evaluation.metrics.accuracy import Accuracy
from evaluation.quality.predictions import FOLDER as PREDICTIONS
from evaluation.quality.predictions import read_predictions
from evaluation.statistics.seeds import combined_drop

FOLDER = "sst2-third"
RECIPE = "sst2-third"
WHOLE = "torch-fp32"
TAUGHT = "01-prune"
RESULT = "result"
LEFT = 0.335
"""The most of the encoder's parameters that may be left: a third, and a block more than that."""
DROP = 0.015
STRETCH = 0.01


@dataclass(frozen=True, eq=False)
class Taught:
    """One seed's run.

    Attributes:
        right: by target, whether each example is right, (examples, 1).
    """

    run: Run
    right: Mapping[str, np.ndarray]

    @property
    def seed(self) -> int:
        return int(self.run.recipe["seed"])

    def figure(self, target: str, name: str) -> float:
        """What was counted of a target."""
        counted = self.run.measured(target, name)
        assert counted is not None, "every sitting counts it"
        return counted.value


def found(options: Options) -> Run:
    """All seeds together; runs that are not there yet are made first, some forty minutes each.

    Raises:
        RuntimeError: a run failed.
        DataError: runs of different models or data.
    """
    return as_run([read_taught(_run(seed, options)) for seed in options.seeds], options.command)


def _run(seed: int, options: Options) -> Path:
    words = ["run", RECIPE, *options.settings, "--set", f"seed={seed}", "--set", "gates={}"]
    return made(options.work / f"third-{seed}", words)


def read_taught(folder: Path) -> Taught:
    """A finished run of the recipe."""
    run = read_run(folder)
    kept = {name: read_predictions(folder / PREDICTIONS / f"{name}.npz") for name in (WHOLE, TAUGHT, RESULT)}
    return Taught(run, {name: right_of(one) for name, one in kept.items()})


def as_run(seeds: Sequence[Taught], command: str) -> Run:
    """What the seeds say together."""
    first = seeds[0]
    if any(not np.array_equal(one.right[WHOLE], first.right[WHOLE]) for one in seeds):
        raise DataError("runs of different models or test data in the folder; wanted seeds of one recipe")
    told = {key: value for key, value in first.run.environment.items() if key not in curves.OF_ONE_RUN}
    shared = {"split": "test", "seeds": len(seeds)}
    lost = [_lost(target, seeds, shared) for target in (TAUGHT, RESULT)]
    return Run(
        name=FOLDER,
        recipe=first.run.recipe,
        environment={**told, "command": command},
        measurements=[
            curves.accuracy(target, [one.right[target] for one in seeds], shared) for target in (WHOLE, TAUGHT, RESULT)
        ],
        comparisons=[*lost, *(row for one in seeds for row in _ratios(one))],
        gates=[*map(_kept, lost), _cut(seeds)],
        tables={"study": _study(lost, seeds), "seeds": [_row(one) for one in seeds]},
    )


def _lost(target: str, seeds: Sequence[Taught], shared: Mapping[str, Any]) -> Comparison:
    """What a target loses against the whole model, as other seeds would show it."""
    sides = ([one.right[name] for one in seeds] for name in (WHOLE, target))
    drop = combined_drop(Accuracy().value, *sides, higher_is_better=True, seed=0)
    return curves.lost(target, WHOLE, drop, shared, len(seeds[0].right[target]))


def _ratios(one: Taught) -> list[Comparison]:
    """Speed-ups and compression of the result, of one seed each."""
    return [
        row.model_copy(update={"conditions": {**row.conditions, "seed": one.seed}})
        for row in one.run.comparisons
        if (row.target, row.baseline) == (RESULT, WHOLE) and row.name in ("speedup", "compression_ratio")
    ]


def _kept(lost: Comparison) -> Gate:
    near = "within" if lost.value <= STRETCH else "beyond"
    detail = f"the mean of {lost.conditions['seeds']} seeds, n = {lost.count}; {near} the {100 * STRETCH:.1f} points "
    detail += f"that are hoped for; 95 % interval {100 * (lost.low or 0):.1f} to {100 * (lost.high or 0):.1f} points"
    return Gate(
        name="accuracy_lost",
        limit=DROP,
        value=lost.value,
        passed=lost.value <= DROP,
        target=lost.target,
        detail=detail,
    )


def _left(one: Taught) -> float:
    return one.figure(TAUGHT, "encoder_parameters") / one.figure(WHOLE, "encoder_parameters")


def _cut(seeds: Sequence[Taught]) -> Gate:
    most = max(map(_left, seeds))
    detail = "the most that a seed has left of the encoder's parameters"
    return Gate(name="encoder_left", limit=LEFT, value=most, passed=most <= LEFT, target=TAUGHT, detail=detail)


def _row(one: Taught) -> dict[str, Any]:
    accuracies = {f"accuracy, {name}": float(right.mean()) for name, right in one.right.items()}
    sizes = {"encoder left": round(_left(one), 4), "MB, result": round(one.figure(RESULT, "bytes") / 1e6, 1)}
    return {"seed": one.seed, **accuracies, **sizes}


def _study(lost: Sequence[Comparison], seeds: Sequence[Taught]) -> dict[str, Any]:
    taught, result = (
        f"{100 * one.value:.1f} points ({100 * (one.low or 0):.1f} to {100 * (one.high or 0):.1f})" for one in lost
    )
    named = ", ".join(str(one.seed) for one in seeds)
    return {
        "told": [
            f"The encoder is cut to {_left(seeds[0]):.3f} of its parameters at once, then taught by the whole model. "
            f"It loses {taught} of accuracy, and {result} once it is exported in int8. In brackets 95 % intervals, on "
            f"{lost[0].count:,} examples and {len(seeds)} seeds ({named})."
        ],
        "notes": [
            "The intervals are for other examples and other seeds. Speed-ups and sizes are of each seed's own sitting."
        ],
    }
