"""What a sitting is about, and what it finds: effort, findings, and the reasons why something is missing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import torch

BASELINE = "torch-fp32"


@dataclass(frozen=True)
class Effort:
    """How much is timed: shapes (batch, tokens), tokens of the attention part, and the blocks."""

    shapes: tuple[tuple[int, int], ...]
    attention_tokens: tuple[int, ...]
    rounds: int = 8
    block_seconds: float = 0.5
    block_calls: int = 20
    pause_seconds: float = 0.1


@dataclass
class Findings:
    """What goes to run.json, as it is found."""

    targets: dict[str, dict[str, Any]] = field(default_factory=dict)
    skipped: list[dict[str, str]] = field(default_factory=list)
    measurements: list[dict[str, Any]] = field(default_factory=list)
    comparisons: list[dict[str, Any]] = field(default_factory=list)
    parity: list[dict[str, Any]] = field(default_factory=list)
    attention: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Sitting:
    """One machine, one amount of effort, one seed, and what has been found so far."""

    device: torch.device
    effort: Effort
    seed: int
    findings: Findings = field(default_factory=Findings)
    keep: Callable[[Findings], object] = lambda _: None
    """Called whenever there is something more to write down."""

    @property
    def half(self) -> torch.dtype:
        """CPUs compute in bfloat16 where they have a half precision at all."""
        return torch.float16 if self.device.type == "cuda" else torch.bfloat16


def skip(findings: Findings, target: str, reason: str | None, *, shape: str | None = None) -> None:
    """Note what could not be measured; no reason, nothing to note."""
    if reason:
        findings.skipped.append({"target": target, "reason": f"{shape}: {reason}" if shape else reason})


def say(message: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {message}", file=sys.stderr, flush=True)
