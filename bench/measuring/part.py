"""What each part of the bench gives: promises kept or broken, figures with their counts, and tables."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any

from evaluation.measurement import Gate, Measurement

TARGET = "measuring"


@dataclass(frozen=True)
class Part:
    """One part's findings."""

    gates: list[Gate] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)
    tables: dict[str, Any] = field(default_factory=dict)


def tell(message: str) -> None:
    """A line for who waits."""
    print(message, file=sys.stderr, flush=True)
