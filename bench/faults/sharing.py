"""Recipes that share a teacher and a store, some of them at the same time: how often is the teacher trained?"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

import yaml

from bench.faults.kills import LONGEST_S
from bench.faults.sample import Sample, outside, quick_command, sample_recipe

TEACHER = "p1-finetune"


@dataclass(frozen=True)
class Shared:
    """What became of the recipes.

    Attributes:
        recipes: how many there were.
        trained: how many of them trained the teacher themselves.
        reused: how many found it in the store.
        failed: what those said that did not end well.
    """

    recipes: int
    trained: int
    reused: int
    failed: tuple[str, ...]


def shared(sample: Sample, recipes: int, at_once: int, tell: Callable[[str], object]) -> Shared:
    """Run that many recipes, `at_once` at a time, in the sample's folder and store."""
    names = [_written(sample, number) for number in range(recipes)]
    trained, reused, failed = 0, 0, []
    for first in range(0, recipes, at_once):
        running = [(name, _start(sample, name)) for name in names[first : first + at_once]]
        for name, process in running:
            _, errors = process.communicate(timeout=LONGEST_S)
            told = re.findall(rf"{TEACHER} 100% (done.*)", errors)
            trained += told[-1:] == ["done"]
            reused += told[-1:] == ["done before"]
            if process.returncode != 0:
                failed.append(f"{name}: exit code {process.returncode}: {errors[-500:]}")
            tell(f"{name}: {TEACHER} {told[-1] if told else 'not reached'}, exit code {process.returncode}")
    return Shared(recipes, trained, reused, tuple(failed))


def _written(sample: Sample, number: int) -> str:
    """A recipe like the sample's, with another cut, so that only what comes before is shared."""
    recipe = sample_recipe() | {"name": f"shared-{number}"}
    prune = recipe["stages"][1]["prune"]
    prune["target"] = {"encoder_parameters": round(0.9 - 0.03 * number, 2)}
    recipe["stages"] = [recipe["stages"][0], {"prune": prune}, *recipe["stages"][2:]]
    (sample.home / f"shared-{number}.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    return f"shared-{number}"


def _start(sample: Sample, name: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        quick_command("run", f"{name}.yaml", "-o", f"runs/{name}"),
        cwd=sample.home,
        env=outside(sample.cache),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
