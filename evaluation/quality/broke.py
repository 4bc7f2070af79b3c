"""What broke: for every target, the examples that it decides differently than the reference, and where it got worse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evaluation.quality.flips import flipped
from evaluation.quality.slices import sliced
from evaluation.sitting import Conditions, Opened

EXAMPLES = 100
"""Flipped examples that are shown of one target, at most."""

EXAMPLES_IN_ALL = 1000
"""Flipped examples that are shown of all targets together: a sweep has many, and the table stands on a page."""


def what_broke(opened: Sequence[Opened], conditions: Conditions, *, reference: str | None) -> dict[str, Any]:
    """The tables `flips`, `flips_count` and `slices` of every target that came after the reference.

    Empty where the reference was not measured, or nothing else was. `flips` are there for tasks that decide something
    (classes, tags, spans), not for those that give numbers.

    Args:
        reference: the name of the target that all others are compared with.
    """
    sound = [one for one in opened if not one.not_finite]
    before = next((one for one in sound if one.name == reference), None)
    others = [one for one in sound if before is not None and one is not before]
    if before is None or not others:
        return {}
    tables: dict[str, Any] = {}
    if before.subject.bundle.task.target not in ("number", None):
        most = min(EXAMPLES, EXAMPLES_IN_ALL // len(others) + 1)
        quote = conditions.quote
        found = [flipped(one, before, conditions.test, most, quote=quote) for one in others]
        tables["flips"] = [row for rows, _ in found for row in rows]
        tables["flips_count"] = [counts for _, counts in found]
    tables["slices"] = sliced(others, before, conditions)
    return tables
