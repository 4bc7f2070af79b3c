"""A whole run in small, without a network: a source folder, a table that can be learnt from, a recipe, a store."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny import tiny_bundle, tiny_split

from compress import cli
from compress.bundle import save

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
    """Every stage there is, an epoch each; sources relative to the recipe's folder. New values at each call."""
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
        "prepare": [{"finetune": {"epochs": 1, "learning_rate": 2e-3, "batch": 16}}],
        "deploy": {"threads": 1, "precision": "int8", "shapes": ["1x8", "2x16"]},
        "stages": [
            {"distill": {"student": {"layers": 3}, "epochs": 1, "learning_rate": 2e-3, "batch": 16}},
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
        "measure": {"baselines": ["torch-fp32"], "metrics": ["accuracy", "f1"]},
    }


def make_small(home: Path, **changes: Any) -> Small:
    """Write source, table and recipe into `home`; `changes` replace top-level keys of the recipe."""
    small = Small(home)
    home.mkdir(parents=True, exist_ok=True)
    save(tiny_bundle(seed=7), small.model)
    for extra in ("anatomy.json", "lineage.json"):  # a model from the hub has neither
        (small.model / extra).unlink()
    split = tiny_split("all", ROWS, seed=11)
    rows = [f"{text}\t{split.label_names[label]}" for text, label in zip(split.texts, split.labels, strict=True)]
    small.table.write_text("\n".join(["text\tlabel", *rows]) + "\n", encoding="utf-8")
    write_recipe(small.recipe, small_recipe() | changes)
    return small


def write_recipe(file: Path, values: Any) -> Path:
    """Write a recipe's values as YAML."""
    file.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return file


def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str | Path, cache: Path | None = None
) -> Answer:
    """Run the command line in this process."""
    monkeypatch.setattr(sys, "argv", ["compress", *map(str, words)])
    if cache is not None:
        monkeypatch.setenv("COMPRESS_CACHE", str(cache))
    capsys.readouterr()
    code = cli._exit_code()
    said = capsys.readouterr()
    return Answer(code, said.out, said.err)


def outside(cache: Path) -> dict[str, str]:
    """The environment of a subprocess that runs this checkout with a store of its own."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "COMPRESS_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
