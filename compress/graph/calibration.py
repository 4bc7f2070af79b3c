"""What flows into a graph's products on calibration inputs, and the range that its integers will stand for."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from compress.batching import batches
from compress.errors import DataError, ExportError
from compress.graph.taps import Tapped

if TYPE_CHECKING:
    from jaxtyping import Float

    from compress.bundle import Bundle, OnnxGraph
    from compress.data import Split
    from compress.inputs import Inputs

RangeMethod = Literal["minmax", "percentile", "entropy"]

PERCENTILE = 99.99
"""Of the numbers that flowed, what the range of `percentile` holds."""
_BATCH = 8
"""Texts at a time: all that products read of them is held at once."""
ROWS = 2048
"""Tokens of each tensor whose numbers are kept, at most: 13 MB of 1,536 channels."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What one tensor held, padding left out.

    Attributes:
        lowest: the least number of each channel of the last axis.
        highest: the greatest.
        sample: rows of it, some of all that flowed.
    """

    lowest: Float[np.ndarray, "channel"]
    highest: Float[np.ndarray, "channel"]
    sample: Float[np.ndarray, "row channel"]


def calibration_inputs(bundle: Bundle, split: Split) -> Iterator[Inputs]:
    """The split's texts or pictures as the model is given them, in batches."""
    if len(split):
        encoded = bundle.task.encode(split, bundle.processor, max_tokens=bundle.max_tokens, seed=0)
        yield from (batch.inputs for batch in batches(encoded, _BATCH))


def observe(graph: OnnxGraph, tensors: Collection[str], inputs: Iterable[Inputs], *, seed: int) -> dict[str, Seen]:
    """What each of the tensors holds on the inputs. A tensor's last axis is its channels; of one that has a row for
    each token, rows of padding are left out.

    Args:
        seed: draws which rows are kept.

    Raises:
        DataError: no inputs.
        ExportError: a tensor held a number that is not finite.
    """
    tapped, generator = Tapped(graph, tensors), np.random.default_rng(seed)
    lowest: dict[str, np.ndarray] = {}
    highest: dict[str, np.ndarray] = {}
    drawn: dict[str, Drawn] = {}
    for fed in inputs:
        for name, value in tapped.run(fed).items():
            rows = _rows(value, fed.get("attention_mask"))
            if not len(rows):  # of empty texts
                continue
            least, most = rows.min(axis=0), rows.max(axis=0)
            if not (np.isfinite(least).all() and np.isfinite(most).all()):
                raise ExportError(f"{graph.path.name}: {name} is not finite on a calibration text; it has no range")
            lowest[name] = np.minimum(lowest.get(name, least), least)
            highest[name] = np.maximum(highest.get(name, most), most)
            drawn.setdefault(name, Drawn(rows.shape[1])).show(rows, generator)
    if not lowest:
        raise DataError("no calibration texts, so it is not known which numbers flow in the graph")
    return {name: Seen(lowest[name], highest[name], drawn.pop(name).rows()) for name in lowest}


def range_of(seen: Seen, channels: np.ndarray, method: RangeMethod) -> tuple[float, float]:
    """The least and the greatest number that integers stand for; zero is among them, as padding needs it.

    Args:
        channels: which of them count, as bool (channel,).
        method: all that was seen; what `PERCENTILE` of it lies in; or the range whose integers hold most of the
            information (Migacz 2017, "8-bit Inference with TensorRT"), as onnxruntime's calibrator finds it.
    """
    if method == "minmax":
        low, high = seen.lowest[channels].min(), seen.highest[channels].max()
    elif method == "percentile":
        outside = (100 - PERCENTILE) / 2
        low, high = np.percentile(seen.sample[:, channels], [outside, 100 - outside])
    else:
        low, high = _most_telling(seen.sample[:, channels])
    return min(float(low), 0.0), max(float(high), 0.0)


def _rows(value: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """(row, channel), without the rows of padding where the tensor has one for each token."""
    rows = value.reshape(-1, value.shape[-1])
    return rows[mask.reshape(-1) == 1] if mask is not None and len(rows) == mask.size else rows


class Drawn:
    """`ROWS` of all rows that are shown one batch after another, each as likely to be kept as any other: those
    that draw the least numbers. A reservoir, as Vitter 1985 ("Random Sampling with a Reservoir") calls it."""

    def __init__(self, channels: int) -> None:
        self._rows = np.empty((ROWS, channels), np.float32)
        self._numbers = np.full(ROWS, np.inf)

    def show(self, rows: Float[np.ndarray, "row channel"], generator: np.random.Generator) -> None:
        numbers = generator.random(len(rows))
        stays = np.zeros(ROWS + len(rows), bool)
        stays[np.argpartition(np.concatenate([self._numbers, numbers]), ROWS - 1)[:ROWS]] = True
        leave, come = np.flatnonzero(~stays[:ROWS]), np.flatnonzero(stays[ROWS:])
        self._rows[leave], self._numbers[leave] = rows[come], numbers[come]

    def rows(self) -> Float[np.ndarray, "row channel"]:
        taken = np.isfinite(self._numbers)
        return self._rows if taken.all() else self._rows[taken]


def _most_telling(values: np.ndarray) -> tuple[float, float]:
    from onnxruntime.quantization.calibrate import HistogramCollector

    collector = HistogramCollector("entropy", False, 2048, 256, PERCENTILE, None)
    with contextlib.redirect_stdout(io.StringIO()):  # it tells of every step
        collector.collect({"it": [values.reshape(-1)]})
        found = collector.compute_collection_result()["it"]
    return float(found[0]), float(found[1])
