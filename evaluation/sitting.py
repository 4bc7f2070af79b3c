"""What one sitting is about and what it finds out: `Subject`, `Conditions`, `Opened`, `Sitting`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from compress.data import Split
from compress.deploy import Deploy, Shape
from compress.metric import Metric
from compress.price import Price
from compress.recipe import ROUNDS
from compress.runtime import Session
from evaluation.measurement import Comparison, Measurement, Skipped, Target

if TYPE_CHECKING:
    from compress.bundle import Bundle

Progress = Callable[[str, float, str], None]

Tokenization = Literal["apart", "included"]
TOKENIZATION: tuple[Tokenization, ...] = ("apart", "included")


@dataclass(frozen=True)
class Read:
    """Real texts, so many at a time, with tokenization apart or included."""

    batch: int
    tokenization: Tokenization


Timed = Shape | Read
"""What was timed: a shape, or real texts."""
Processes = Literal["one", "apart"]
"""Whether targets are timed in one process, or each in one of its own."""


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
    rounds: int = ROUNDS
    processes: Processes = "one"
    footprint: bool = True
    """Whether load time and peak memory are measured, which takes a fresh process for each target."""
    margins: Mapping[str, float] = field(default_factory=dict)
    """The drop that a gate allows, by metric: how sure it is that a target is no worse than that is then said."""

    quote: bool = True
    """Whether texts of flipped examples, and values of columns that few examples have, are kept and stand on pages."""
    price: Price | None = None
    """What the machine costs; None where nobody said."""

    @property
    def threads(self) -> int:
        return self.deploy.thread_count


@dataclass
class Opened:
    """A subject that is open for running."""

    subject: Subject
    session: Session
    metrics: Mapping[str, Metric]
    reopen: Callable[[], Session] | None = None
    """Opens it once more, for a twin; None where the twin has to share the session."""
    predictions: np.ndarray = field(default_factory=lambda: np.empty(0))
    evidence: dict[str, np.ndarray] = field(default_factory=dict)
    """What each metric knows of each example, (examples, columns)."""
    not_finite: int = 0
    """Examples whose outputs are not finite. Where there are any, there are no predictions and no evidence."""
    times: dict[Timed, list[np.ndarray]] = field(default_factory=dict)
    """Milliseconds of each call, one array per round; round i ran beside round i of every other target."""
    twin: dict[Timed, list[np.ndarray]] = field(default_factory=dict)
    """The same again, where this target is timed twice; empty for all others."""
    noise: dict[Timed, float] = field(default_factory=dict)
    """How far the ratio to itself of the twin on this target's runtime lay from 1, as a fraction."""
    mean_tokens: dict[int, float] = field(default_factory=dict)
    """Of a real text that it was timed on, padding left out, by the texts at a time."""

    @property
    def name(self) -> str:
        return self.subject.target.name

    @cached_property
    def weight_bytes(self) -> int:
        """Of the weight files; asked of the session once, as a torch model is written out to find it."""
        return self.session.weight_bytes


@dataclass(frozen=True)
class Sitting:
    """All that one sitting found out."""

    targets: tuple[Target, ...]
    skipped: tuple[Skipped, ...]
    measurements: tuple[Measurement, ...]
    comparisons: tuple[Comparison, ...]
    predictions: Mapping[str, np.ndarray]
    """What the task predicts with each target, (examples, ...) in the order of the split; no examples where outputs are
    not finite."""
    evidence: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    """By target, what metrics that need the texts know of each example: from predictions alone it can't be had."""
    tables: Mapping[str, Any] = field(default_factory=dict)
    """What broke against the reference, and the parts of every target, as rows."""
    seconds: float = 0.0
    """What measuring took."""


def ran_on(one: Opened, conditions: Conditions) -> dict[str, Any]:
    return {
        "runtime": one.subject.target.runtime,
        "device": conditions.device,
        "threads": conditions.threads,
        "seed": conditions.seed,
    }


def split_of(conditions: Conditions) -> dict[str, Any]:
    return {"split": conditions.test.name, "data": conditions.test.digest}
