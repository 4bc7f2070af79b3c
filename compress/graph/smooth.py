"""SmoothQuant (Xiao et al. 2022, section 4): channels that hold large numbers are divided by a factor, and the weights
that read them multiplied by it, so that what rounds badly is shared between both. What the graph says stays the same.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compress.bundle import OnnxGraph
from compress.errors import ExportError
from compress.graph.build import save_proto
from compress.graph.divisible import Divisible, Source
from compress.graph.static import product_inputs

if TYPE_CHECKING:
    import onnx
    from jaxtyping import Float

    from compress.graph.calibration import Seen


LEAST = 1e-3
"""Of the widest channel's numbers, as how wide a channel counts at least."""


def smooth(
    graph: OnnxGraph, path: Path, seen: Mapping[str, Seen], *, strength: float
) -> tuple[OnnxGraph, dict[str, Seen]]:
    """An equal graph whose products read smoother tensors, and what is seen in them then.

    Args:
        seen: what flowed into each product, by the name of the tensor.
        strength: the paper's alpha, 0 to 1: how much of the difficulty moves into the weights.

    Raises:
        ExportError: no tensor of the graph can be divided.
    """
    import onnx

    proto = onnx.load(graph.path)
    divisible, constants, found = Divisible(proto), _Constants(proto), dict(seen)
    for tensor in dict.fromkeys(product_inputs(graph).values()):
        weights, source = divisible.weights_of(tensor), divisible.source_of(tensor)
        channels = len(seen[tensor].lowest) if tensor in seen else 0
        if weights is None or source is None or not _fits(source, channels):
            continue
        largest = np.max([constants.largest(name, turned=turned) for name, turned in weights.items()], axis=0)
        factors = _factors(seen[tensor], largest, source, strength)
        for columns in source.columns:
            constants.divide(columns.name, columns.start, _of_columns(factors, source)[:, 0].reshape(-1))
        for name, turned in weights.items():
            constants.multiply(name, factors, turned=turned)
        found[tensor] = _divided(seen[tensor], factors)
    if not constants.changed:
        raise ExportError(
            f"{graph.path.name}: no tensor can be smoothed: before each product stands an activation, or a norm that "
            "the residual reads as well; leave `smooth` out"
        )
    save_proto(constants.written(), path)
    return replace(graph, path=path), found


def _factors(seen: Seen, weights: np.ndarray, source: Source, strength: float) -> Float[np.ndarray, "channel"]:
    """Equation 4 of the paper. Channels in which next to nothing flows, or that next to nothing reads, are taken for
    wider than they are: what is rare in calibration may be common elsewhere."""
    flows = np.maximum(np.abs(seen.lowest), np.abs(seen.highest))
    flows, weights = (_most(of_channels, source) for of_channels in (flows, weights))
    if not flows.max() or not weights.max():
        return np.ones(len(flows), dtype=np.float32)
    flows, weights = (np.maximum(one, LEAST * one.max()) for one in (flows, weights))
    factors: np.ndarray = flows**strength / weights ** (1 - strength)
    return factors.astype(np.float32)


def _most(of_channels: np.ndarray, source: Source) -> np.ndarray:
    """For each channel the most among those that stand for the same column."""
    grouped = _of_columns(of_channels, source)
    return np.broadcast_to(grouped.max(axis=1, keepdims=True), grouped.shape).reshape(-1)


def _of_columns(of_channels: np.ndarray, source: Source) -> np.ndarray:
    """(head of keys, head of queries that reads it, channel of a head), of what is (channel,): after attention whose
    heads of queries share values, several channels stand for one column."""
    shared = len(of_channels) // source.width
    heads = source.queries // shared if shared > 1 else 1
    return of_channels.reshape(heads, shared, -1)


def _fits(source: Source, channels: int) -> bool:
    shared, rest = divmod(channels, source.width)
    return shared >= 1 and rest == 0 and (shared == 1 or (source.queries > 0 and source.queries % shared == 0))


def _divided(seen: Seen, factors: np.ndarray) -> Seen:
    return replace(seen, lowest=seen.lowest / factors, highest=seen.highest / factors, sample=seen.sample / factors)


class _Constants:
    """Those of a graph, some of them changed."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        self._proto = proto
        self._held = {tensor.name: tensor for tensor in proto.graph.initializer}
        self._values: dict[str, np.ndarray] = {}

    @property
    def changed(self) -> Collection[str]:
        return self._values.keys()

    def largest(self, name: str, *, turned: bool) -> Float[np.ndarray, "channel"]:
        """Of each channel's weights, without signs; `turned` are (output, channel)."""
        found: np.ndarray = np.abs(self._value(name)).max(axis=0 if turned else 1)
        return found

    def divide(self, name: str, start: int, divisor: np.ndarray) -> None:
        """Some of the last axis' entries, from `start` on."""
        value = self._value(name).copy()
        value[..., start : start + len(divisor)] /= divisor
        self._values[name] = value

    def multiply(self, name: str, factors: np.ndarray, *, turned: bool) -> None:
        """Each channel's weights."""
        self._values[name] = self._value(name) * (factors if turned else factors[:, None])

    def written(self) -> onnx.ModelProto:
        from onnx import numpy_helper

        for name, value in self._values.items():
            self._held[name].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return self._proto

    def _value(self, name: str) -> np.ndarray:
        from onnx import numpy_helper

        found: np.ndarray = self._values[name] if name in self._values else numpy_helper.to_array(self._held[name])
        return found
