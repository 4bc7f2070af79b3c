"""Make every file: ours through `compress export` and the stage that quantizes, the peers' by their own scripts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.environments import python_of
from bench.onnx.files import FLOAT, NNCF, PORTABLE, RESULT, SMALLEST, File
from compress.bundle import Bundle, OnnxGraph
from compress.commands.export import CALIBRATION
from compress.commands.options import DataOption, asked_rows
from compress.data import Split
from compress.folder import load
from compress.graph.calibration import calibration_inputs, observe
from compress.graph.static import product_inputs, static_int8
from compress.inputs import Inputs
from compress.lineage import digest_of
from compress.provenance import code_digest

PEERS = Path(__file__).parent / "peers"
COLUMNS = "text=sentence,label=label"
PLAIN = "ours-plain"
_OURS = {
    FLOAT: (),
    PLAIN: ("--attention", "plain"),
    "ours-dynamic": ("--precision", "int8"),
    RESULT: ("--precision", "int8", "--method", "static_int8"),
}
_OTHERWISE: dict[str, dict[str, Any]] = {PORTABLE: {"form": "qdq"}, SMALLEST: {"tables": 4}}
_SHOWN = 300


@dataclass(frozen=True)
class Material:
    """What all files are made from and judged on.

    Attributes:
        model: the fine-tuned model's folder.
        bundle: the same, read.
        calibration: rows of train, the same for all who calibrate.
        test: rows that nothing was made by.
        train: the table that ours are calibrated on, as the command takes it.
    """

    model: str
    bundle: Bundle
    calibration: Split
    test: Split
    train: str


def material_of(model: str, train: str, validation: str) -> Material:
    """The model and its rows.

    Raises:
        CompressError: it is no model, or a table is not as expected.
    """
    bundle = load(model)
    rows = [asked_rows(DataOption(table, COLUMNS), bundle.task, bundle.labels) for table in (train, validation)]
    return Material(model, bundle, rows[0].take(CALIBRATION), rows[1], train)


def write_inputs(inputs: list[Inputs], file: Path) -> Path:
    """Inputs as the scripts of `peers/` read them."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as opened:
        np.savez(opened, **{f"{i}.{name}": value for i, fed in enumerate(inputs) for name, value in fed.items()})
    return file


def make(
    files: Sequence[File], material: Material, work: Path, environments: Path
) -> tuple[dict[str, Path], dict[str, str]]:
    """Each file by name, and for what can't be made the reason; what is there of the same model, texts and code is not
    made again."""
    code = [code_digest(module) for module in ("compress.stages.export", "compress.stages.quantize")]
    work = work / digest_of([material.bundle.digest, material.calibration.digest, code])[7:19]
    needed = {FLOAT, PLAIN, *(file.name for file in files)}  # others are made of these two
    paths, faults = {name: _ours(name, material, work) for name in _OURS if name in needed}, dict[str, str]()
    for name, options in _OTHERWISE.items():
        if name in needed:
            paths[name] = _calibrated(name, options, paths[FLOAT], material, work)
    for file in files:
        if file.made:
            try:
                paths[file.name] = _peers(file, paths, material, work, environments)
            except RuntimeError as fault:
                faults[file.name] = str(fault)
    for file in files:
        if file.shares in paths:
            paths[file.name] = paths[file.shares]
        elif file.shares:
            faults[file.name] = faults[file.shares]
    return paths, faults


def _ours(name: str, material: Material, work: Path) -> Path:
    folder, options = work / name, list(_OURS[name])
    made = folder / "onnx" / ("model_int8.onnx" if "int8" in options else "model.onnx")
    if "int8" in options:
        options += ["--data", material.train, "--columns", COLUMNS]
    if not made.exists():
        command = [sys.executable, "-m", "compress", "export", material.model, "-o", str(folder), *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{name}: compress export ends with {done.returncode}: {done.stderr.strip()[-_SHOWN:]}")
    return made


def _calibrated(name: str, options: dict[str, Any], whole: Path, material: Material, work: Path) -> Path:
    """The calibrated file again, written otherwise."""
    made, graph = work / name / "model_int8.onnx", OnnxGraph(whole)
    if not made.exists():
        inputs = calibration_inputs(material.bundle, material.calibration)
        seen = observe(graph, set(product_inputs(graph).values()), inputs, seed=13)
        static_int8(graph, made, seen, **options)
    return made


def _peers(file: File, paths: dict[str, Path], material: Material, work: Path, environments: Path) -> Path:
    made = work / file.name / f"model.{file.suffix}"
    if made.exists():
        return made
    made.parent.mkdir(parents=True, exist_ok=True)
    script, *more = file.made
    given = [material.model]
    if file.name == NNCF[0]:
        encoded = [one for row in _rows(material.calibration) for one in calibration_inputs(material.bundle, row)]
        given = [str(paths[PLAIN]), str(write_inputs(encoded, work / "calibration.npz"))]
    command = [str(python_of(file.environment, environments)), str(PEERS / script), *given, str(made), *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not made.exists():
        made.unlink(missing_ok=True)  # or it would be taken for whole another time
        said = done.stderr.strip().splitlines() or ["it says nothing"]
        raise RuntimeError(f"{script} ends with exit code {done.returncode}: {said[-1][:_SHOWN]}")
    return made


def _rows(split: Split) -> list[Split]:
    """Each row alone, so that none is padded."""
    return [split.rows(np.array([place])) for place in range(len(split))]
