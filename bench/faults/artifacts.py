"""What is given away: folders that a run, a sweep and a measurement leave, looked through for paths, names, tokens."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench.faults import weights
from bench.faults.kills import LONGEST_S
from bench.faults.sample import Sample, outside, quick_command

SWEPT = "stages.prune.target.encoder_parameters=0.7,0.6"


def leaked(sample: Sample, *, swept: bool = True) -> tuple[list[str], list[str]]:
    """Names of the folders that were looked through, and what leaks from them; the sample's recipe has been run.

    Args:
        swept: make a sweep, too.

    Raises:
        RuntimeError: the sweep or the measurement fails, and so there is nothing to look through.
    """
    _made(sample, *weights.WORDS, "-o", "measured")
    folders = [sample.run, sample.home / "measured"]
    if swept:
        _made(sample, "sweep", sample.recipe.name, "--over", SWEPT, "-o", "swept")
        folders.append(sample.home / "swept")
    return looked_through(folders)


def looked_through(folders: Sequence[Path]) -> tuple[list[str], list[str]]:
    """Names of the folders, and what leaks from them: `FOLDER/FILE: WHAT`."""
    from compress.leaks import leaks

    return [folder.name for folder in folders], [
        f"{folder.name}/{leak}" for folder in folders for leak in leaks(folder)
    ]


def _made(sample: Sample, *words: str) -> None:
    done = subprocess.run(
        quick_command(*words),
        cwd=sample.home,
        env=outside(sample.cache),
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)} ends with exit code {done.returncode}: {done.stderr[-2000:]}")
