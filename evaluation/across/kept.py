"""What a finished run keeps for comparing it with others: who stands for it, and the evidence of its predictions."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from compress.errors import CompressError, DataError
from compress.metric import Metric, evidence_of, metric_of, metrics_for
from compress.task import Task, task_of
from evaluation.across.doubts import doubts
from evaluation.measurement import Measurement, Run
from evaluation.quality.predictions import FOLDER, Predictions, read_predictions

_ROUNDING = 1e-6
"""How far a figure made again from predictions may lie from the one in run.json."""

_VARIANTS = "variants"


@dataclass(frozen=True, eq=False)
class Kept:
    """A run and where it lies.

    Attributes:
        label: what reports call it; different for every run.
        folder: where its run.json lies.
    """

    label: str
    run: Run
    folder: Path
    _read: dict[str, Predictions] = field(default_factory=dict)

    @property
    def subject(self) -> str | None:
        """The target that stands for the run; a sweep has none."""
        return self.run.subject

    @property
    def reference(self) -> str | None:
        """The baseline that all else is compared with."""
        return self.run.reference

    def predictions(self, target: str) -> Predictions:
        """What a target predicts.

        Raises:
            DataError: the file is missing, damaged, or not what a run writes.
        """
        if target not in self._read:
            if Path(target).name != target:  # a name comes from a file that anyone may have written
                raise DataError(f"{target!r} is no target's name: it leads out of the folder")
            file = self.folder / FOLDER / f"{target}.npz"
            if not file.exists() and self.folder.parent.name == _VARIANTS:  # the sweep keeps them, by variants' names
                name = self.folder.name if target == self.subject else target
                file = self.folder.parent.parent / FOLDER / f"{name}.npz"
            self._read[target] = read_predictions(file)
        return self._read[target]

    def task(self, target: str) -> Task:
        """The task that a target's predictions are of.

        Raises:
            DataError: neither the predictions nor the recipe name a known one.
        """
        model = self.run.recipe.get("model")
        name = self.predictions(target).task or (model.get("task") if isinstance(model, dict) else None)
        try:
            return task_of(str(name))
        except CompressError as fault:
            raise DataError(f"predictions of {target}: {fault}") from None

    def names(self, target: str) -> tuple[str, ...]:
        """The labels' names in order of index; those of the data card, where the file is too old to hold them."""
        found = self.predictions(target).names
        if found is not None:
            return found
        card = self.run.tables.get("data")
        split = card.get("splits", {}).get("test", {}) if isinstance(card, dict) else {}
        return tuple(split.get("labels", {})) if isinstance(split, dict) else ()

    def measured(self, target: str) -> dict[str, Measurement]:
        """The figures of quality that run.json has of a target, by metric; those that its task can have."""
        fitting = metrics_for(self.task(target).target)
        return {row.name: row for row in self.run.measurements if row.target == target and row.name in fitting}

    def metric(self, target: str, name: str) -> Metric:
        """A metric, as it judged a target."""
        return metric_of(name, self.task(target).target, labels=self.names(target))

    def evidence(self, target: str, name: str) -> np.ndarray:
        """What a metric knows of each example, made again from the predictions.

        Raises:
            DataError: the predictions can't be read, or the metric needs texts that they do not hold.
        """
        metric, kept = self.metric(target, name), self.predictions(target)
        if not hasattr(metric, "texts"):
            return evidence_of(metric, self.task(target), kept.labels, kept.scores)
        if name not in kept.evidence:
            raise DataError(f"predictions of {target}: do not hold what {name} needs; an older version wrote them")
        return kept.evidence[name]

    def doubts(self) -> list[str]:
        """Where the run's file contradicts itself, or its predictions; what can't be read is no doubt."""
        found = doubts(self.run)
        for target in (self.subject, self.reference):
            try:
                found += self._contradictions(target) if target is not None else []
            except DataError:
                continue
        return found

    def _contradictions(self, target: str) -> list[str]:
        """Figures that the predictions do not give."""
        found = []
        for name, row in self.measured(target).items():
            value = float(self.metric(target, name).value(self.evidence(target, name)))
            if not math.isclose(value, row.value, rel_tol=_ROUNDING, abs_tol=_ROUNDING):
                found.append(f"{name} of {target} is {row.value:g}, but its predictions give {value:g}")
        return found
