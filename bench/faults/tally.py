"""Trials counted by kind: how many, how many were refused as wanted, how long that took, and what was not."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from bench.faults.cell import Answer, Cell, Trial

Objection = Callable[[Answer, Trial], str]
"""What is wrong with an answer; empty where nothing is."""

Validity = Callable[[Answer, Trial], bool]
"""Whether a mutation left the file good."""

SHOWN = 20
"""Objections that are written down for each kind."""


@dataclass
class Row:
    """All trials of one kind."""

    kind: str
    refused: int = 0
    valid: int = 0
    """Mutations that left the file good, and that were replaced by others."""
    seconds: list[float] = field(default_factory=list)
    growth_bytes: int = 0
    objections: list[str] = field(default_factory=list)

    @property
    def tried(self) -> int:
        """Trials of files that are not good any more."""
        return self.refused + len(self.objections)

    def as_table_row(self) -> dict[str, object]:
        return {
            "kind": self.kind,
            "tried": self.tried,
            "refused_as_wanted": self.refused,
            "still_valid": self.valid,
            "seconds_median": round(statistics.median(self.seconds), 4) if self.seconds else None,
            "seconds_max": round(max(self.seconds), 4) if self.seconds else None,
            "memory_growth_bytes": self.growth_bytes,
            "objections": self.objections[:SHOWN],
        }


def is_taken(answer: Answer, trial: Trial) -> bool:
    """The plain kind of validity: the program takes the file, and it is not one that nobody could take."""
    return answer.code == 0 and not trial.hopeless and not answer.escaped


def tallied(
    cell: Cell,
    trials: Iterable[Trial],
    wanted: int,
    objection: Objection,
    tell: Callable[[str], object],
    is_valid: Validity = is_taken,
) -> list[Row]:
    """Run trials until `wanted` of them were of files that are not good any more. A row a kind, in order of kind."""
    rows: dict[str, Row] = {}
    counted = 0
    for trial in trials:
        if counted == wanted:
            break
        row = rows.setdefault(trial.kind, Row(trial.kind))
        answer = cell.run(trial)
        if is_valid(answer, trial):
            row.valid += 1
            continue
        counted += 1
        row.seconds.append(answer.seconds)
        row.growth_bytes = max(row.growth_bytes, answer.growth_bytes)
        if fault := objection(answer, trial):
            row.objections.append(f"{trial.what}: {fault}")
            tell(f"{trial.kind}: {row.objections[-1]}")
        else:
            row.refused += 1
    return sorted(rows.values(), key=lambda row: row.kind)
