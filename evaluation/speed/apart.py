"""Targets made ready for processes of their own: `Parcel`s, with the weights of torch models written to disk."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from compress.bundle import Bundle, Form
from compress.errors import CompressError
from compress.weights import write_weights
from evaluation.sitting import Conditions, Opened
from evaluation.speed.worker import Parcel


@contextmanager
def parcels(
    opened: Sequence[Opened], conditions: Conditions, *, with_processor: bool
) -> Iterator[Mapping[str, Parcel | str]]:
    """Each target's parcel by its name; or why there is none: a model that can't be written can't be opened elsewhere.

    Targets that are ways to run the same torch model share its file, which is gone afterwards. Graphs lie on disk.
    """
    with tempfile.TemporaryDirectory(prefix="compress-") as scratch:
        written: dict[int, Path | str] = {}
        found: dict[str, Parcel | str] = {}
        for one in opened:
            bundle = one.subject.bundle
            if bundle.form is Form.ONNX:
                weights: Path | str = bundle.graph.path
            elif id(bundle.model) in written:
                weights = written[id(bundle.model)]
            else:
                weights = written[id(bundle.model)] = _written(bundle, Path(scratch, str(len(written))))
            found[one.name] = weights if isinstance(weights, str) else _parcel(one, conditions, weights, with_processor)
        yield found


def _written(bundle: Bundle, folder: Path) -> Path | str:
    folder.mkdir()
    try:
        write_weights(bundle.module, folder)
    except (CompressError, OSError, ValueError, RuntimeError) as fault:  # weights of a kind that safetensors lacks
        return f"its weights can't be written: {str(fault).strip().splitlines()[0]}"
    return folder


def _parcel(one: Opened, conditions: Conditions, weights: Path, with_processor: bool) -> Parcel:
    bundle = one.subject.bundle
    return Parcel(
        runtime=one.subject.target.runtime,
        device=conditions.device,
        threads=conditions.threads,
        form=bundle.form,
        weights=weights,
        config=bundle.config,
        anatomy=bundle.anatomy,
        task=bundle.task,
        labels=bundle.labels,
        processor=bundle.processor if with_processor else None,
    )
