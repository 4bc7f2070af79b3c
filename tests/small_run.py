"""A whole run in small, without a network: a source folder, a table that can be learnt from, a recipe, a store."""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock
from tiny import tiny_bundle, tiny_split

from compress import cli
from compress.commands.run import run
from compress.folder import save
from compress.runtimes.timing import Limits

ROOT = Path(__file__).resolve().parents[1]
"""The checkout, which a subprocess has to import from."""
ROWS = 240


@dataclass(frozen=True)
class Small:
    """Where everything of a small run lies."""

    home: Path

    @property
    def recipe(self) -> Path:
        return self.home / "small.yaml"

    @property
    def model(self) -> Path:
        return self.home / "source"

    @property
    def table(self) -> Path:
        return self.home / "texts.tsv"

    @property
    def cache(self) -> Path:
        return self.home / "cache"

    @property
    def output(self) -> Path:
        return self.home / "runs" / "small"


@dataclass(frozen=True)
class Answer:
    """What a command left: its exit code, and what it printed where."""

    code: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """What the program itself said went wrong."""
        return self.err[self.err.index("compress: ") :] if "compress: " in self.err else ""


def small_recipe() -> dict[str, Any]:
    """Every stage there is, in a few seconds; sources relative to the recipe's folder. New values at each call."""
    return {
        "version": 1,
        "name": "small",
        "seed": 3,
        "model": {"task": "text-classification", "source": "source"},
        "data": {
            "tables": {
                "texts": {"source": "texts.tsv", "label": {"column": "label", "names": ["negative", "positive"]}}
            },
            "train": {"table": "texts", "split": 0.6},
            "dev": {"table": "texts", "split": 0.15},
            "test": {"table": "texts", "split": 0.25},
            "calibration": {"from": "train", "examples": 32},
        },
        "prepare": [{"finetune": {"epochs": 6, "learning_rate": 2e-3, "batch": 8}}],
        "deploy": {"threads": 1, "precision": "int8", "shapes": ["1x8", "2x16"]},
        "stages": [
            {"distill": {"student": {"layers": 3}, "epochs": 3, "learning_rate": 2e-3, "batch": 8}},
            {
                "prune": {
                    "target": {"encoder_parameters": 0.7},
                    "criterion": {"use": "magnitude"},
                    "repair": "least_squares",
                    "round_to": 8,
                }
            },
            {"export": {"attention": "fused"}},
            {"quantize": {"method": "dynamic_int8"}},
        ],
        "measure": {"baselines": ["torch-fp32"], "metrics": ["accuracy", "f1"], "rounds": 6, "footprint": False},
    }


def make_small(home: Path, **changes: Any) -> Small:
    """Write source, table and recipe into `home`; `changes` replace top-level keys of the recipe.

    Where they leave out the stage that makes integers, the deployment is in float32.
    """
    small = Small(home)
    home.mkdir(parents=True, exist_ok=True)
    save(tiny_bundle(seed=7), small.model)
    for extra in ("anatomy.json", "lineage.json"):  # a model from the hub has neither
        (small.model / extra).unlink()
    (small.model / "README.md").write_text("---\nlicense: mit\n---\n", encoding="utf-8")
    split = tiny_split("all", ROWS, seed=11, words=12)
    rows = [f"{text}\t{split.label_names[label]}" for text, label in zip(split.texts, split.labels, strict=True)]
    small.table.write_text("\n".join(["text\tlabel", *rows]) + "\n", encoding="utf-8")
    recipe = small_recipe() | changes
    if not any("quantize" in stage for stage in recipe["stages"]):
        recipe["deploy"] = recipe["deploy"] | {"precision": "fp32"}
    write_recipe(small.recipe, recipe)
    return small


def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of a session share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """The small recipe, run to its end; not to be changed by any test. It is run once a session, and each process has a
    copy: commands that are typed in it write into its store."""
    small = Small(tmp_path_factory.getbasetemp() / "finished")
    if not small.home.exists():
        first = Small(shared_folder(tmp_path_factory) / "finished-first")
        with FileLock(first.home.with_suffix(".lock")):
            if not first.output.joinpath("run.json").exists():
                make_small(first.home)
                run_small(first, report=True)
        copy_of(first, small.home)
    return small


def copy_of(small: Small, home: Path, *, cache: bool = True) -> Small:
    """A copy that a test may change, with the finished stages or without."""
    shutil.copytree(small.home, home, ignore=None if cache else shutil.ignore_patterns("cache", "runs"))
    return Small(home)


def run_small(
    small: Small,
    *changes: str,
    fresh: bool = False,
    report: bool = False,
    tell: Callable[[str, float, str], None] | None = None,
) -> list[tuple[str, float, str]]:
    """`compress run` in this process, with fewer rounds of timing; gives what progress was told. A report is drawn only
    where one is asked for: that takes longer than all else in a run whose stages are done."""
    told: list[tuple[str, float, str]] = []

    @contextmanager
    def shown() -> Iterator[Callable[[str, float, str], None]]:
        def both(work: str, fraction: float, message: str) -> None:
            told.append((work, fraction, message))
            if tell is not None:
                tell(work, fraction, message)

        yield both

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMPRESS_CACHE", str(small.cache))
        patch.setattr("compress.commands.run.shown", shown)
        few_rounds(patch)
        if not report:
            patch.setattr("compress.commands.run.write_report", lambda *_, **__: None)
        run(str(small.recipe), small.output, changes, None, fresh)
    return told


def few_rounds(patch: pytest.MonkeyPatch) -> None:
    """Time as little as can be: what is tested here is not how fast anything is."""
    limits = Limits(block_seconds=0.0, block_calls=1, pause_seconds=0.0, warmup_calls=1, fewest_calls=1)
    patch.setattr("evaluation.speed.speed.LIMITS", limits)
    patch.setattr("evaluation.speed.speed.SECONDS_A_ROUND", 0.0)  # no more rounds than an interval needs
    patch.setattr("evaluation.speed.speed.TEXTS", 8)
    patch.setattr("evaluation.suite.footprints", lambda *_: ([], []))  # takes seconds a target


def write_recipe(file: Path, values: Any) -> Path:
    """Write a recipe's values as YAML."""
    file.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return file


def command(patch: pytest.MonkeyPatch, *words: str | Path, cache: Path | None = None) -> Answer:
    """Run the command line in this process."""
    patch.setattr(sys, "argv", ["compress", *map(str, words)])
    if cache is not None:
        patch.setenv("COMPRESS_CACHE", str(cache))
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = cli._exit_code()
    return Answer(code, out.getvalue(), err.getvalue())


INTERRUPTIBLE = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\nfrom compress import cli; cli.main()"
)
"""The program, for a process that is to be interrupted. A shell starts what it puts in the background with interrupts
ignored, and children inherit that: undone here, so that the tests themselves may run in the background."""


def outside(cache: Path) -> dict[str, str]:
    """The environment of a subprocess that runs this checkout with a store of its own."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "COMPRESS_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
