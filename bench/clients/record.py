"""What the clients said as a run: how far each lies from our own answers, and whether it decides alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from bench.clients.asking import Told
from bench.clients.clients import FILES
from compress.provenance import code_digest, environment
from evaluation.measurement import Gate, Measurement, Run, Target

FOLDER = "clients"
LIMITS = {"float": 1e-3, "bfloat": 1e-3, "web": 2e-2, "calibrated": 5e-2, "blocks": 5e-2}
"""The most that a score may differ, as a share of the largest. Kernels add up in other orders, and round to integers
and to float16 at other places; a mask or a token that is read wrongly moves scores by a tenth and more."""
ALIKE = 0.97
"""The share of texts that have to be decided alike: of some hundred, a few lie on the border."""


def as_run(told: Mapping[tuple[str, str], Told], wanted: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> Run:
    """Every client with every file.

    Args:
        told: by client and folder.
        wanted: by folder, torch's scores for `float` and `web`, our own runtime's of the same file for others.
    """
    rows = [_row(client, folder, one, wanted[folder]) for (client, folder), one in told.items()]
    names = {name: f"{name[0]}, {name[1]}" for name in told}
    return Run(
        name=FOLDER,
        environment={**environment("cpu", about["threads"]), "code": code_digest("compress.stages.export"), **about},
        targets=[
            Target(
                name=names[name],
                kind="stage",
                title=f"{name[0]} reading {FILES[name[1]]}",
                runtime=name[0],
                form="onnx",
            )
            for name in told
        ],
        measurements=[row for name, one in told.items() for row in _measured(names[name], one, wanted[name[1]])],
        gates=[_gate(names[name], name[1], one, wanted[name[1]]) for name, one in told.items()],
        tables={"clients": rows},
    )


def difference(got: np.ndarray, wanted: np.ndarray) -> float:
    """The largest, as a share of the largest score."""
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())


def alike(got: np.ndarray, wanted: np.ndarray) -> float:
    """The share of texts that are decided alike."""
    return float((got.argmax(axis=-1) == wanted.argmax(axis=-1)).mean())


def _fault(told: Told, wanted: np.ndarray) -> str:
    """Why there is nothing to hold against what was wanted."""
    if told.scores is None:
        return told.reason
    if told.scores.shape != wanted.shape:
        return f"scores of shape {told.scores.shape}, wanted {wanted.shape}"
    return "" if np.isfinite(told.scores).all() else "scores that are not finite"


def _measured(name: str, told: Told, wanted: np.ndarray) -> Iterator[Measurement]:
    if told.scores is None or _fault(told, wanted):
        return
    common = {"target": name, "unit": "ratio", "count": len(wanted)}
    far, same = difference(told.scores, wanted), alike(told.scores, wanted)
    yield Measurement(name="largest_difference", value=far, higher_is_better=False, **common)
    yield Measurement(name="decided_alike", value=same, higher_is_better=True, **common)


def _gate(name: str, folder: str, told: Told, wanted: np.ndarray) -> Gate:
    common = {"name": "reads_our_file", "limit": LIMITS[folder], "target": name}
    if told.scores is None or (fault := _fault(told, wanted)):
        return Gate(value=None, passed=False, detail=told.reason or fault, **common)
    far, same = difference(told.scores, wanted), alike(told.scores, wanted)
    detail = f"scores differ by {far:.2g} of the largest, {same:.3f} of {len(wanted)} texts are decided alike; "
    detail += ", ".join(f"{library} {version}" for library, version in told.versions.items())
    return Gate(value=far, passed=far <= LIMITS[folder] and same >= ALIKE, detail=detail, **common)


def _row(client: str, folder: str, told: Told, wanted: np.ndarray) -> dict[str, Any]:
    fault = _fault(told, wanted)
    return {
        "client": client,
        "file": FILES[folder],
        "asked for": folder,
        "versions": ", ".join(f"{library} {version}" for library, version in told.versions.items()),
        "largest difference": round(difference(told.scores, wanted), 6)
        if told.scores is not None and not fault
        else "",
        "decided alike": alike(told.scores, wanted) if told.scores is not None and not fault else fault,
    }
