"""Per-example outputs on disk, so that any two runs on the same data can be compared pair by pair."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compress.data import Split
from compress.errors import DataError

FOLDER = "predictions"


@dataclass(frozen=True, eq=False)
class Predictions:
    """What one target of a run predicts. Files of older versions have neither `names` nor `examples` nor `task`.

    Attributes:
        scores: what the task predicts, (examples, ...); no examples where outputs were not finite.
        data: the split's digest.
        labels: (examples, ...); None where the split has none.
        names: the labels' names, in order of index.
        examples: a hash of each example's text, uint64 (examples,).
        task: the task's name; empty where it is not known.
        evidence: what metrics that need the texts know of each example, by metric.
    """

    scores: np.ndarray
    data: str
    labels: np.ndarray | None
    names: tuple[str, ...] | None
    examples: np.ndarray | None
    task: str
    evidence: Mapping[str, np.ndarray]


def write_predictions(
    predictions: Mapping[str, np.ndarray],
    test: Split,
    folder: Path,
    *,
    task: str = "",
    evidence: Mapping[str, Mapping[str, np.ndarray]] | None = None,
) -> None:
    """Write one `<target>.npz` a target: the fields of `Predictions`, each metric's evidence as `evidence_<metric>`.

    Args:
        predictions: by target, in the order of the split.
        test: the split.
        task: the task's name.
        evidence: by target and metric, of metrics that can't be had from scores and labels alone.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    known: dict[str, np.ndarray] = {
        "data": np.array(test.digest),
        "names": np.array(test.label_names, dtype=np.str_),
        "examples": _hashes(test),
        "task": np.array(task),
    }
    if test.labels is not None:
        known["labels"] = test.labels
    for name, scores in predictions.items():
        told = {f"{_EVIDENCE}{metric}": found for metric, found in ((evidence or {}).get(name) or {}).items()}
        arrays: dict[str, Any] = {"scores": scores} | known | told  # mypy takes them for savez's own options
        np.savez_compressed(folder / f"{name}.npz", **arrays)


def read_predictions(file: Path) -> Predictions:
    """What one target predicts.

    Raises:
        DataError: there is no such file, it is damaged, or it holds other arrays than a run writes.
    """
    try:
        with np.load(file, allow_pickle=False) as kept:  # a pickle can run code when it is opened
            arrays = {name: kept[name] for name in kept.files}
    except FileNotFoundError:
        raise DataError(f"{_place(file)}: no such file; was it removed, or never written?") from None
    except Exception as fault:  # of a damaged file numpy lets through what zip, zlib and its own header parser raise
        raise DataError(f"{_place(file)}: not readable ({fault}); was it cut short?") from None
    scores, labels, data = arrays.get("scores"), arrays.get("labels"), arrays.get("data")
    if scores is None or data is None or scores.ndim == 0:
        raise DataError(f"{_place(file)}: wanted the arrays scores and data, got {', '.join(arrays) or 'none'}")
    if not len(scores):
        raise DataError(f"{_place(file)}: holds no predictions, as the model's outputs were not finite")
    counts = {name: len(array) for name, array in arrays.items() if name in ("scores", "labels", "examples")}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{count} {name}" for name, count in counts.items())
        raise DataError(f"{_place(file)}: {told}, wanted as many of each; a prediction is missing")
    names = arrays.get("names")
    return Predictions(
        scores,
        str(data),
        labels,
        None if names is None else tuple(names.tolist()),
        arrays.get("examples"),
        str(arrays.get("task", "")),
        {name.removeprefix(_EVIDENCE): array for name, array in arrays.items() if name.startswith(_EVIDENCE)},
    )


_EVIDENCE = "evidence_"


def _hashes(test: Split) -> np.ndarray:
    pairs = test.pairs or ("",) * len(test)
    digests = [
        hashlib.sha256(f"{text}\x00{pair}".encode()).digest()[:8] for text, pair in zip(test.texts, pairs, strict=True)
    ]
    return np.frombuffer(b"".join(digests), dtype="<u8")


def _place(file: Path) -> str:
    """The file as a report may name it: reports go to others, and hold no path of this machine."""
    return f"{FOLDER}/{file.name}"
