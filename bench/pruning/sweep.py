"""A finished sweep over ways to prune: what each variant keeps of the FLOPs, gets right, and took to be made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.pruning.processes import log_of
from compress.errors import DataError
from evaluation.measurement import Run, read_run
from evaluation.metrics.accuracy import Accuracy
from evaluation.quality.predictions import FOLDER, Predictions, read_predictions

WHOLE = "onnx-fp32"
"""The baseline that is the uncut model in the variants' own runtime."""
_LINE = re.compile(r"(\d\d:\d\d:\d\d) (\S+) +\d+%(.*)")
_DAY = timedelta(days=1)


class Method(NamedTuple):
    """How units are chosen, and what is done to what is left."""

    criterion: str
    repair: str
    interactions: bool = True
    """Of the criterion fisher: whether units are judged beside those that left before, or by F's diagonal alone."""


@dataclass(frozen=True, eq=False)
class Variant:
    """One cut.

    Attributes:
        asked: the fraction of the FLOPs that was asked for.
        left: the fraction that is left.
        right: whether each example is right, (examples, 1).
        seconds: reading the model, then pruning it; None where the log does not say, or it had been pruned before.
    """

    method: Method
    asked: float
    left: float
    right: np.ndarray
    seconds: float | None


@dataclass(frozen=True, eq=False)
class Sweep:
    """All that one seed's sweep says.

    Attributes:
        data: digest of the test split.
        examples: hashes of its texts.
        uncut: whether each is right before any cut, (examples, 1).
    """

    name: str
    run: Run
    data: str
    examples: np.ndarray
    uncut: np.ndarray
    variants: tuple[Variant, ...]

    @property
    def seed(self) -> int:
        return int(self.run.recipe["seed"])


def read_sweep(folder: Path) -> Sweep:
    """The sweep in a folder, with the log beside it where that is there.

    Raises:
        DataError: a variant failed, or nothing says what it was asked for; or a file that can't be read.
    """
    run = read_run(folder)
    failed = [row["variant"] for row in run.tables.get("variants", ()) if row.get("status") == "failed"]
    if failed:
        raise DataError(f"{folder.name}: the variants {', '.join(failed)} failed; wanted a sweep that is whole")
    took = _seconds(folder, run)
    kept = read_predictions(folder / FOLDER / f"{WHOLE}.npz")
    if kept.examples is None:
        raise DataError(f"{folder.name}: predictions without examples; was an older version at work?")
    whole = run.measured(WHOLE, "flops")
    assert whole is not None, "every sweep counts its baselines' FLOPs"
    variants = []
    for step in run.lineage:
        if step.get("stage") != "prune":
            continue
        name, settings = step["variant"], step["settings"]
        counted = run.measured(name, "flops", **whole.conditions)
        assert counted is not None, "counted at the baseline's shape, in a graph as well"
        right = right_of(read_predictions(folder / FOLDER / f"{name}.npz"))
        criterion = settings["criterion"]
        method = Method(criterion["use"], settings["repair"], criterion.get("interactions", True))
        left = counted.value / whole.value
        variants.append(Variant(method, settings["target"]["flops"], left, right, took.get(name)))
    return Sweep(folder.name, run, kept.data, kept.examples, right_of(kept), tuple(variants))


def right_of(kept: Predictions) -> np.ndarray:
    """Whether each example is right, (examples, 1).

    Raises:
        DataError: the predictions came without labels.
    """
    if kept.labels is None:
        raise DataError("predictions without labels; was an older version at work?")
    return Accuracy().evidence(kept.labels, kept.scores.argmax(axis=-1))


def _seconds(folder: Path, run: Run) -> dict[str, float]:
    """By variant: from the log's first line of it to the one after its pruning, up to 10 s later than its end."""
    log = log_of(folder)
    if not log.exists():
        return {}
    reused = {row["variant"] for row in run.tables.get("variants", ()) if row.get("stages_reused")}
    began: dict[str, datetime] = {}
    took: dict[str, float] = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        if (found := _LINE.match(line)) is None:
            continue
        time, name, told = datetime.strptime(found[1], "%H:%M:%S"), found[2], found[3].strip()
        begun = began.setdefault(name, time)
        if name not in took and (told.endswith("-prune done") or "-export" in told):
            took[name] = ((time - begun) % _DAY).total_seconds()
    variants: Mapping[str, Any] = {target.name: target for target in run.targets if target.kind == "variant"}
    return {name: seconds for name, seconds in took.items() if name in variants and name not in reused}
