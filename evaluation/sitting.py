"""What one sitting is about and what it finds out: `Subject`, `Conditions`, `Opened`, `Sitting`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.data import Split
from compress.deploy import Deploy, Shape
from compress.metric import Metric
from compress.runtime import Session
from evaluation.measurement import Comparison, Measurement, Skipped, Target

if TYPE_CHECKING:
    from compress.bundle import Bundle

Progress = Callable[[str, float, str], None]


@dataclass(frozen=True)
class Subject:
    """One target and the bundle that stands for it."""

    target: Target
    bundle: Bundle


@dataclass(frozen=True)
class Conditions:
    """What a sitting is measured on."""

    test: Split
    deploy: Deploy
    device: str
    metrics: tuple[str, ...]
    seed: int
    rounds: int = 8

    @property
    def threads(self) -> int:
        return self.deploy.thread_count


@dataclass
class Opened:
    """A subject that is open for running."""

    subject: Subject
    session: Session
    metrics: Mapping[str, Metric]
    predictions: np.ndarray = field(default_factory=lambda: np.empty(0))
    evidence: dict[str, np.ndarray] = field(default_factory=dict)
    """What each metric knows of each example, (examples, columns)."""
    times: dict[Shape, list[np.ndarray]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.subject.target.name


@dataclass(frozen=True)
class Sitting:
    """All that one sitting found out."""

    targets: tuple[Target, ...]
    skipped: tuple[Skipped, ...]
    measurements: tuple[Measurement, ...]
    comparisons: tuple[Comparison, ...]
    predictions: Mapping[str, np.ndarray]
    """What the task predicts with each target, (examples, ...) in the order of the split."""


def ran_on(one: Opened, conditions: Conditions) -> dict[str, Any]:
    return {
        "runtime": one.subject.target.runtime,
        "device": conditions.device,
        "threads": conditions.threads,
        "seed": conditions.seed,
    }


def split_of(conditions: Conditions) -> dict[str, Any]:
    return {"split": conditions.test.name, "data": conditions.test.digest}
