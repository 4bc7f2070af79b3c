"""Memory: the most that pruning a decoder of 135 M parameters holds, as a multiple of the model, axis by axis."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from bench.pruning.part import Options, tell
from bench.pruning.peak import TEXTS, TOKENS
from compress.deploy import Deploy
from compress.provenance import code_digest, environment
from evaluation.measurement import Gate, Measurement, Run

FOLDER = "pruning-memory"
AXES = (("hidden",), ("ffn",), ("kv_groups",), ("layers",), ("hidden", "ffn", "kv_groups", "layers"))
CRITERIA = ("magnitude", "taylor")
REPAIRS = ("none", "least_squares")
LIMIT = 2.5
LEFT = {"kv_groups": 0.95, "layers": 0.7}
"""The fraction of the parameters asked for; of an axis that holds little of them it can't be much less than all."""
_LEFT = 0.7
_BATCH = 1
"""Texts at a time that Taylor takes gradients of: activations of all layers are held for so many."""


class Case(NamedTuple):
    """What is cut, by which criterion, and what is done to what is left."""

    axes: Sequence[str]
    criterion: str
    repair: str

    @property
    def name(self) -> str:
        repaired = ", repaired" if self.repair != "none" else ""
        return f"{' + '.join(self.axes)}, {self.criterion}{repaired}"

    @property
    def settings(self) -> dict[str, Any]:
        """The stage's."""
        fraction = LEFT.get(self.axes[0], _LEFT) if len(self.axes) == 1 else _LEFT
        criterion = {"use": self.criterion} | ({} if self.criterion == "magnitude" else {"batch": _BATCH})
        target = {"parameters": fraction}
        return {"target": target, "axes": list(self.axes), "criterion": criterion, "repair": self.repair}


def found(options: Options) -> Run:
    """Every case in a fresh process.

    Raises:
        RuntimeError: a case failed.
    """
    rows = []
    for case in cases()[-2:] if options.small else cases():
        rows.append({"case": case, **peak_of(case, tiny=options.small)})
        tell(f"{case.name}: {rows[-1]['peak_bytes'] / rows[-1]['model_bytes']:.2f} times, {rows[-1]['seconds']:.0f} s")
    machine = {**environment("cpu", Deploy().thread_count), "code": code_digest("compress.stages.prune")}
    return as_run(rows, {**machine, "command": options.command})


def cases() -> list[Case]:
    """Axes alone and together by each criterion, as cut and repaired; nothing reads a layer that left, so where layers
    leave alone there is nothing to repair."""
    every = [Case(axes, criterion, repair) for axes in AXES for criterion in CRITERIA for repair in REPAIRS]
    return [case for case in every if case.axes != ("layers",) or case.repair == "none"]


def peak_of(case: Case, *, tiny: bool) -> dict[str, Any]:
    """What `peak.peak` says in a process of its own.

    Raises:
        RuntimeError: it failed, or the system can't say what was held.
    """
    given = json.dumps({"settings": case.settings, "tiny": tiny})
    words = [sys.executable, "-m", "bench.pruning.peak", given]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{case.name}: {done.stderr[-2000:]}")
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if not measured["counted"]:
        raise RuntimeError(f"{case.name}: this system can't say the most memory that was held since a moment")
    return measured


def as_run(rows: Sequence[dict[str, Any]], machine: dict[str, Any]) -> Run:
    """What the cases took."""
    measurements = [measurement for row in rows for measurement in _measured(row)]
    worst = max((m for m in measurements if m.name == "peak_over_model"), key=lambda m: m.value)
    detail = f"the most of {len(rows)} cases: {worst.target}; resident memory above imports over the model's bytes"
    gate = Gate(
        name="peak_memory",
        limit=LIMIT,
        value=worst.value,
        passed=worst.value <= LIMIT,
        target=worst.target,
        detail=detail,
    )
    cut = all(row["left"] < 1 for row in rows)
    axes = sorted({axis for row in rows for axis in row["case"].axes})
    reachable = Gate(
        name="axes_cut",
        limit=len(axes),
        value=len(axes) if cut else 0,
        passed=cut,
        target="all cases",
        detail=f"axes that parameters left by: {', '.join(axes)}",
    )
    size = rows[0]["model_bytes"]
    told = [
        f"A Llama-type model of {size / 4e6:.0f} M parameters in float32, {size / 1e6:.0f} MB, random weights, is "
        f"pruned in a fresh process for each case; {TEXTS} texts of {TOKENS} tokens are what criteria and repair read. "
        f"At the most {worst.value:.2f} times the model is held above imports ({worst.target})."
    ]
    return Run(
        name=FOLDER,
        environment=machine,
        measurements=measurements,
        gates=[gate, reachable],
        tables={"study": {"told": told, "notes": [_NOTE]}, "cases": [_row(row) for row in rows]},
    )


_NOTE = (
    "The model itself is in the figure: 1 is what it takes before anything is done. What imports take is what the "
    "process holds after a small model was pruned by the same settings. Memory is resident, by the "
    f"kernel's own mark. Taylor takes gradients of {_BATCH} text at a time: what more at once would hold comes on top."
)


def _measured(row: dict[str, Any]) -> list[Measurement]:
    conditions = {"parameters_left": round(row["left"], 4)}
    common = {"target": row["case"].name, "count": 1, "higher_is_better": False, "conditions": conditions}
    over = row["peak_bytes"] / row["model_bytes"]
    return [
        Measurement(name="peak_over_model", value=over, unit="ratio", **common),
        Measurement(name="prune_seconds", value=row["seconds"], unit="s", **common),
    ]


def _row(row: dict[str, Any]) -> dict[str, Any]:
    case: Case = row["case"]
    return {
        "axes": " + ".join(case.axes),
        "criterion": case.criterion,
        "repair": case.repair,
        "parameters left": round(row["left"], 3),
        "hidden size left": row["hidden"],
        "layers left": row["layers"],
        "peak over model": round(row["peak_bytes"] / row["model_bytes"], 2),
        "seconds": round(row["seconds"], 1),
    }
