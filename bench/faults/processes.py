"""Malformed recipes planned by a process each, as a user starts it: its time has the start of Python in it."""

from __future__ import annotations

import subprocess
import time
from random import Random

from bench.faults import recipes
from bench.faults.cell import Trial
from bench.faults.sample import Sample, compress_command, outside
from bench.faults.tally import Row

SECONDS = 3.0
"""How long a refusal may take then: what planning a good recipe may."""


def refused(sample: Sample, count: int, seed: int) -> list[Row]:
    """One row of `count` recipes that no reader could make sense of."""
    bases = {sample.recipe.name: sample.recipe.read_text(encoding="utf-8")}
    certain = (trial for trial in recipes.mutations(bases, Random(f"{seed} processes")) if trial.hopeless)
    row = Row("all kinds")
    for _, trial in zip(range(count), certain, strict=False):
        code, message, seconds = _planned(sample, trial)
        row.seconds.append(seconds)
        if fault := _objection(code, message, seconds):
            row.objections.append(f"{trial.kind}, {trial.what}: {fault}")
        else:
            row.refused += 1
    return [row]


def _objection(code: int, message: str, seconds: float) -> str:
    if code != 2 or f"{recipes.FILE}:" not in message or "Traceback" in message:
        return f"exit code {code}: {message[:200]!r}"
    return f"took {seconds:.2f} s" if seconds >= SECONDS else ""


def _planned(sample: Sample, trial: Trial) -> tuple[int, str, float]:
    file = sample.home / recipes.FILE
    file.write_bytes(trial.files[recipes.FILE] or b"")
    started = time.perf_counter()
    done = subprocess.run(
        compress_command("plan", recipes.FILE),
        cwd=sample.home,
        env=outside(sample.cache),
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    seconds = time.perf_counter() - started
    file.unlink()
    return done.returncode, done.stderr, seconds
