"""Where a tensor of a graph can be divided, channel by channel, at no cost: in constants that stand before it.

A norm's scale and bias, a projection's columns and bias are such constants. Through attention, values can be divided:
it weighs them, and mixes no channels. So can the half of a gated FFN that has no activation. What comes out of a GELU
can't, nor what others read as well, as in BERT the residual reads what a norm makes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from compress.graph.inspect import attention_nodes

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Columns:
    """Of a constant's last axis, `width` entries from `start` on."""

    name: str
    start: int
    width: int


@dataclass(frozen=True)
class Source:
    """How a tensor can be divided.

    Attributes:
        columns: of constants; all are as wide.
        queries: heads of queries of the attention in between, of which several may read the same columns; 0 if none.
    """

    columns: tuple[Columns, ...]
    queries: int = 0

    @property
    def width(self) -> int:
        return self.columns[0].width


class Divisible:
    """A graph, of whose tensors it is asked where they can be divided."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        self._held = {tensor.name: tensor for tensor in proto.graph.initializer}
        self._made = {name: node for node in proto.graph.node for name in node.output if name}
        self._outputs = {output.name for output in proto.graph.output}
        self._queries = {node.name: node.heads or 0 for node in attention_nodes(proto)}
        self._shapes = {info.name: info.type.tensor_type.shape.dim for info in proto.graph.value_info}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in proto.graph.node:
            for name in filter(None, _read_by(node)):
                self._readers.setdefault(name, []).append(node)

    def source_of(self, tensor: str) -> Source | None:
        """The constants through which it can be divided; None where there are none."""
        node = self._made.get(tensor)
        if node is None or tensor in self._outputs:
            return None
        return _BEFORE[node.op_type](self, node, tensor) if node.op_type in _BEFORE else None

    def weights_of(self, tensor: str) -> Mapping[str, bool] | None:
        """The weights that are multiplied with it, and whether they are (output, channel); None where others read it,
        or the weights, as well."""
        found = {}
        for node in self._readers.get(tensor, ()):
            product = node.op_type in ("MatMul", "Gemm") and node.input[0] == tensor and not _flag(node, "transA")
            if not product or not self._is_own(node.input[1], axes=2):
                return None
            found[node.input[1]] = bool(_flag(node, "transB"))
        return found if found and tensor not in self._outputs else None

    def _alone(self, tensor: str) -> Source | None:
        """As `source_of`, of a tensor that nothing else may read."""
        return self.source_of(tensor) if len(self._readers.get(tensor, ())) == 1 else None

    def _norm(self, node: onnx.NodeProto, _tensor: str) -> Source | None:
        return self._constants(list(node.input[1:]))

    def _product(self, node: onnx.NodeProto, _tensor: str) -> Source | None:
        """A projection; or, where attention is spelled out, what weighs values."""
        if node.op_type == "MatMul" and node.input[1] not in self._held:
            return self._alone(node.input[1])
        plain = not _flag(node, "transA") and not _flag(node, "transB") and self._is_own(node.input[1], axes=2)
        return self._constants(list(node.input[1:])) if plain else None

    def _handed_on(self, node: onnx.NodeProto, _tensor: str) -> Source | None:
        return self._alone(node.input[0])

    def _turned(self, node: onnx.NodeProto, _tensor: str) -> Source | None:
        """Tokens and heads may change places; the channels of a head stay the last axis."""
        order = next((list(one.ints) for one in node.attribute if one.name == "perm"), [])
        return self._alone(node.input[0]) if order and order[-1] == len(order) - 1 else None

    def _times(self, node: onnx.NodeProto, _tensor: str) -> Source | None:
        """Of two factors, either: a constant one, else one that can be divided itself."""
        constant = next((name for name in node.input if self._is_own(name, axes=1)), None)
        if constant is not None:
            return self._constants([constant])
        return next((source for name in node.input if (source := self._alone(name))), None)

    def _plus(self, node: onnx.NodeProto, _tensor: str) -> Source | None:
        """A bias, and what it is added to."""
        bias = next((name for name in node.input if self._is_own(name, axes=1)), None)
        other = next((name for name in node.input if name != bias), None)
        if bias is None or other is None:
            return None
        source, own = self._alone(other), self._constants([bias])
        if source is None or own is None or source.queries or source.width != own.width:
            return None
        return replace(source, columns=source.columns + own.columns)

    def _attention(self, node: onnx.NodeProto, _tensor: str) -> Source | None:
        source = self._alone(node.input[2])
        return replace(source, queries=self._queries[node.name]) if source else None

    def _part(self, node: onnx.NodeProto, tensor: str) -> Source | None:
        """Of projections that are joined in equal parts, one."""
        source, parts = self._alone(node.input[0]), len(node.output)
        if source is None or source.queries or len(node.input) > 1 or source.width % parts:
            return None
        shape, axis = self._shapes.get(node.input[0], ()), _flag(node, "axis")
        # Of all channels in one axis, not of each head's: there, parts of several heads would be one.
        if not shape or axis % len(shape) != len(shape) - 1 or shape[-1].dim_value != source.width:
            return None
        width = source.width // parts
        start = list(node.output).index(tensor) * width
        return Source(tuple(Columns(one.name, one.start + start, width) for one in source.columns))

    def _constants(self, names: list[str]) -> Source | None:
        own = [name for name in names if name]
        if not own or not all(self._is_own(name) for name in own):
            return None
        columns = tuple(Columns(name, 0, self._held[name].dims[-1]) for name in own)
        return Source(columns) if len({one.width for one in columns}) == 1 else None

    def _is_own(self, name: str, axes: int | None = None) -> bool:
        """A constant of floats that one node alone reads."""
        from onnx import TensorProto

        found = self._held.get(name)
        floats = found is not None and found.data_type == TensorProto.FLOAT and bool(found.dims)
        return floats and axes in (None, len(self._held[name].dims)) and len(self._readers[name]) == 1


_Rule = Callable[[Divisible, "onnx.NodeProto", str], Source | None]
_BEFORE: Mapping[str, _Rule] = {
    **dict.fromkeys(("LayerNormalization", "RMSNormalization"), Divisible._norm),
    **dict.fromkeys(("MatMul", "Gemm"), Divisible._product),
    # What hands on every number, or none that is below zero: dividing before them is dividing after them.
    **dict.fromkeys(("Reshape", "Unsqueeze", "Expand", "Relu"), Divisible._handed_on),
    "Transpose": Divisible._turned,
    "Mul": Divisible._times,
    "Add": Divisible._plus,
    "Attention": Divisible._attention,
    "Split": Divisible._part,
}
"""By operator, how what it makes can be divided."""


def _read_by(node: onnx.NodeProto) -> Iterator[str]:
    """What it reads, and what the graphs read that it runs."""
    yield from node.input
    for attribute in node.attribute:
        for inner in attribute.g.node:
            yield from _read_by(inner)


def _flag(node: onnx.NodeProto, name: str) -> int:
    """Zero where it has none."""
    return next((attribute.i for attribute in node.attribute if attribute.name == name), 0)
