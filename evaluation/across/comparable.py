"""Why two runs can't be compared: other data, labels or task for their quality, other conditions for their speed."""

from __future__ import annotations

from typing import Any

import numpy as np

from evaluation.across.kept import Kept
from evaluation.measurement import Measurement
from evaluation.quality.predictions import Predictions

_MACHINE = {"cpu": "processor", "cores": "number of cores", "os": "operating system", "device": "device"}
_RUNTIMES = ("torch", "onnxruntime", "openvino")
"""What a runtime's name begins with, and the packages that run it."""


def why_not_quality(first: Kept, second: Kept) -> str | None:
    """Why the quality of two runs' subjects can't be compared pair by pair; None where it can.

    Raises:
        DataError: predictions are missing or damaged, or of no known task.
    """
    one, other = _subject(first), _subject(second)
    ours, theirs = first.predictions(one), second.predictions(other)
    tasks = first.task(one).name, second.task(other).name
    if tasks[0] != tasks[1]:
        return f"other tasks: {tasks[0]} and {tasks[1]}"
    names = first.names(one), second.names(other)
    if names[0] != names[1]:
        told = "; ".join(", ".join(each) or "not known" for each in names)
        if sorted(names[0]) == sorted(names[1]):
            return f"the labels stand in another order ({told}), so a score's place means another label"
        return f"other labels: {told}"
    if (reason := _why_not_data(ours, theirs)) is not None:
        return reason
    asked = first.task(one).comparable(ours.scores, theirs.scores)
    return None if asked else "other tokens were asked for, or the two number their tokens otherwise"


def why_not_speed(first: Kept, second: Kept, rows: tuple[Measurement, Measurement]) -> str | None:
    """Why two times can't be compared; None where machine, threads and the way of running agree.

    Args:
        rows: a time of the first run and one of the second, at the same shape.
    """
    ours, theirs = first.run.environment, second.run.environment
    for key, called in _MACHINE.items():
        if (reason := _differing(called, ours.get(key), theirs.get(key))) is not None:
            return reason
    one, other = (row.conditions for row in rows)
    for key in ("device", "threads", "runtime"):
        if (reason := _differing(key, one.get(key), other.get(key))) is not None:
            return reason
    if one.get("processes", "one") != other.get("processes", "one"):  # older files know of one process alone
        return "one timed its targets in one process, the other each in its own"
    versions = [_packages(environment) for environment in (ours, theirs)]
    name = str(one.get("runtime"))
    for package in (called + ending for called in _RUNTIMES if name.startswith(called) for ending in ("", "-gpu")):
        if versions[0].get(package) != versions[1].get(package):
            return f"other version of {package}: {versions[0].get(package)} and {versions[1].get(package)}"
    return None


def _subject(kept: Kept) -> str:
    assert kept.subject is not None, "runs without a subject are left out before"
    return kept.subject


def _why_not_data(ours: Predictions, theirs: Predictions) -> str | None:
    if len(ours.scores) != len(theirs.scores):
        return f"{len(ours.scores)} and {len(theirs.scores)} test examples{_shared(ours, theirs)}"
    if ours.data != theirs.data:
        if ours.examples is not None and theirs.examples is not None and np.array_equal(ours.examples, theirs.examples):
            return "the same test texts, but with other labels"
        return f"other test examples{_shared(ours, theirs)}"
    if not _same_labels(ours, theirs):
        return "the same data by its digest, but the labels kept beside the predictions differ; was a file edited?"
    return None


def _differing(called: str, first: Any, second: Any) -> str | None:
    if first is None or second is None:
        return f"{called} is not known of {'both' if first == second else 'one of them'}"
    return None if first == second else f"other {called}: {first} and {second}"


def _packages(environment: dict[str, Any]) -> dict[str, Any]:
    found = environment.get("packages")
    return found if isinstance(found, dict) else {}


def _shared(ours: Predictions, theirs: Predictions) -> str:
    """How many examples both have, where the files are new enough to say."""
    if ours.examples is None or theirs.examples is None:
        return ""
    return f"; {len(np.intersect1d(ours.examples, theirs.examples))} are in both"


def _same_labels(ours: Predictions, theirs: Predictions) -> bool:
    if ours.labels is None or theirs.labels is None:
        return ours.labels is theirs.labels
    return np.array_equal(ours.labels, theirs.labels)
