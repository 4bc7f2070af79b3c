"""Static int8: activations are rounded on grids that calibration settled.

In the form `integer` a product is the node that onnxruntime's own fusion would make of it, com.microsoft's
MatMulIntegerToFloat, bias included: what its optimizer makes of other forms has the bias in a pass of its own. In the
form `qdq` a product's input and weight are read through DequantizeLinear, which every runtime understands. Results stay
in float in both: rounded as well, as is usual in QDQ files, they break up what is fused after them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from compress.bundle import OnnxGraph
from compress.errors import ExportError
from compress.graph.build import save_proto
from compress.graph.grid import Grid, grid_of
from compress.graph.tables import block_of, four_bits, packed

if TYPE_CHECKING:
    import onnx

    from compress.graph.calibration import RangeMethod, Seen

MICROSOFT = "com.microsoft"
IntegerForm = Literal["integer", "qdq"]
TableBits = Literal[4, 8]
REDUCED = 63
"""The largest weight of a reduced range."""
LARGE_TABLE = 4096
"""Rows of a table from which on each row has a scale of its own: one for all costs accuracy, and a few more nodes cost
less time than they save where the table is small."""


def product_inputs(graph: OnnxGraph) -> dict[str, str]:
    """For each product with a constant float weight, by its name, the tensor that it multiplies."""
    import onnx

    writer = _Writer(onnx.load(graph.path), "qdq")
    return {node.name: node.input[0] for node in writer.nodes if writer.is_product(node)}


def static_int8(
    graph: OnnxGraph,
    path: Path,
    seen: Mapping[str, Seen],
    *,
    ranges: RangeMethod = "minmax",
    split_outliers: bool = True,
    form: IntegerForm = "integer",
    tables: TableBits = 8,
    reduce_range: bool = False,
    keep: Collection[str] = (),
    only: Collection[str] | None = None,
) -> OnnxGraph:
    """Products and tables in int8: weights with a scale for each output channel, inputs of products as calibrated.

    Args:
        seen: what flowed into each product, by the name of the tensor.
        split_outliers: give channels that hold far larger numbers than others columns of their own.
        form: how products of integers are written.
        tables: bits of a number of a large table; of one whose rows can't be divided into blocks, 8 all the same.
        reduce_range: weights of products in 7 bits, as in `dynamic_int8`.
        keep: names of nodes that stay in float.
        only: names of the nodes that are quantized; all that can be where it is left out.

    Raises:
        ExportError: the graph holds weights that are quantized already, or nothing was seen of a product's input.
    """
    import onnx

    if graph.precision != "fp32":
        raise ExportError(f"{graph.path.name}: its weights are {graph.precision} already; quantize starts from fp32")
    writer = _Writer(onnx.load(graph.path), form)
    wanted = {node.name for node in writer.nodes} if only is None else set(only)
    wanted -= set(keep)
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in writer.nodes:
        if node.name in wanted and writer.is_product(node):
            readers.setdefault(node.input[0], []).append(node)
    for tensor, nodes in readers.items():
        if tensor not in seen:
            raise ExportError(f"{graph.path.name}: nothing is known of {tensor}, which {nodes[0].name} reads")
        weights = [writer.weight(node) for node in nodes]
        energy = np.sum([np.square(weight).sum(axis=1) for weight in weights], axis=0)
        # A layer that runs many times has its weights once: columns for one pass would be a copy of them all.
        alone = all(writer.readers_of_weight(node) == 1 for node in nodes)
        grid = grid_of(seen[tensor], energy, ranges, split_outliers=split_outliers and alone)
        rounded = writer.round(tensor, grid)
        for node, weight in zip(nodes, weights, strict=True):
            writer.multiply(node, rounded, *grid.integers(weight, REDUCED if reduce_range else 127))
    for node in writer.nodes:
        if node.name in wanted and writer.is_table(node):
            writer.look_up(node, tables)
    save_proto(writer.finished(), path)
    return OnnxGraph(path, "int8")


def with_integer_tables(proto: onnx.ModelProto, tables: TableBits, *, keep: Collection[str] = ()) -> onnx.ModelProto:
    """A graph whose constant tables are in integers, whatever its products are in.

    Args:
        tables: bits of a number of a large table.
        keep: names of lookups that stay in float.
    """
    writer = _Writer(proto, "integer")
    for node in writer.nodes:
        if node.name not in keep and writer.is_table(node):
            writer.look_up(node, tables)
    return writer.finished()


@dataclass(frozen=True)
class _Rounded:
    """Names: of a tensor's integers, their scale and zero, and, in the form `qdq`, of the floats they stand for."""

    integers: str
    scale: str
    zero: str
    floats: str


class _Writer:
    """Rewrites a graph's products and lookups; new nodes stand right before the first that reads them. What is new has
    a slash in its name, which names of the exporter have not."""

    def __init__(self, proto: onnx.ModelProto, form: IntegerForm) -> None:
        self._proto = proto
        self._form = form
        self._weights = {tensor.name: tensor for tensor in proto.graph.initializer}
        self._before: dict[str, list[onnx.NodeProto]] = {}
        self._instead: dict[str, list[onnx.NodeProto]] = {}
        self._added: dict[str, np.ndarray] = {}
        self._packed: dict[str, onnx.TensorProto] = {}
        self._outputs = {output.name for output in proto.graph.output}
        self.nodes = list(proto.graph.node)

    def is_product(self, node: onnx.NodeProto) -> bool:
        """A product of an activation and a constant matrix of floats."""
        if node.op_type not in ("MatMul", "Gemm") or not self._is_float_matrix(node.input[1]):
            return False
        options = _options(node)
        return not options.get("transA") and options.get("alpha", 1.0) == options.get("beta", 1.0) == 1.0

    def is_table(self, node: onnx.NodeProto) -> bool:
        """A lookup of rows in a constant matrix of floats."""
        return node.op_type == "Gather" and self._is_float_matrix(node.input[0]) and not _options(node).get("axis")

    def readers_of_weight(self, node: onnx.NodeProto) -> int:
        """How many nodes read a product's weight."""
        return sum(node.input[1] in other.input for other in self.nodes)

    def weight(self, node: onnx.NodeProto) -> np.ndarray:
        """(channel, output)."""
        found = self._array(node.input[1])
        return found.T if _options(node).get("transB") else found

    def round(self, tensor: str, grid: Grid) -> _Rounded:
        """Round a tensor, with the columns that the grid appends."""
        first = next(node for node in self.nodes if tensor in node.input)
        add = self._before.setdefault(first.name, [])
        scale, zero = self._keep(f"{tensor}/scale", grid.scale), self._keep(f"{tensor}/zero", np.uint8(grid.zero))
        integers = f"{tensor}/int8"
        add.append(_node("QuantizeLinear", [tensor, scale, zero], integers))
        if len(grid.columns):
            wide = self._keep(f"{tensor}/outlier_scale", grid.column_scale)
            for channel in np.unique(grid.columns):
                add += self._column(tensor, int(channel), [wide, zero])
            columns = [f"{tensor}/channel_{channel}/int8" for channel in grid.columns]
            add.append(_node("Concat", [integers, *columns], f"{tensor}/joined", axis=-1))
            integers = f"{tensor}/joined"
        if self._form == "qdq":
            add.append(_node("DequantizeLinear", [integers, scale, zero], f"{tensor}/rounded"))
        return _Rounded(integers, scale, zero, f"{tensor}/rounded")

    def _column(self, tensor: str, channel: int, grid: list[str]) -> list[onnx.NodeProto]:
        """One channel alone, rounded. (Slices: Gather of a last axis goes number by number.)"""
        ends = [self._keep(f"at/{place}", np.array([place])) for place in (channel, channel + 1, -1)]
        alone = f"{tensor}/channel_{channel}"
        return [_node("Slice", [tensor, *ends], alone), _node("QuantizeLinear", [alone, *grid], f"{alone}/int8")]

    def multiply(self, node: onnx.NodeProto, rounded: _Rounded, weight: np.ndarray, steps: np.ndarray) -> None:
        """The product of a rounded tensor with a weight in int8, and what is added to it.

        Args:
            steps: what a step of the weight stands for in each output.
        """
        name, own = node.name, node.input[1]
        integers, scale = self._keep(f"{own}/int8", weight), self._keep(f"{own}/scale", steps)
        bias, output = self._bias(node)
        if self._form == "integer":
            inputs = [rounded.integers, integers, rounded.scale, scale, rounded.zero, "", bias]
            made = [_node("MatMulIntegerToFloat", inputs, output, name=name, domain=MICROSOFT)]
        else:
            zero = self._keep(f"{own}/zero", np.zeros(len(steps), np.int8))
            made = [_node("DequantizeLinear", [integers, scale, zero], f"{name}/weight", axis=1)]
            made.append(_node("MatMul", [rounded.floats, f"{name}/weight"], output, name=name))
        if output != node.output[0] and node.op_type == "Gemm":
            made.append(_node("Add", [output, node.input[2]], node.output[0]))
        self._instead[name] = made

    def _bias(self, node: onnx.NodeProto) -> tuple[str, str]:
        """What the product's own node adds, nothing where that is left to another, and the name of what it gives.

        In the form `integer` a node that only adds a bias to the product is taken out of the graph.
        """
        width, product, apart = [self.weight(node).shape[1]], node.output[0], f"{node.name}/product"
        if node.op_type == "Gemm":
            added = node.input[2] if len(node.input) > 2 else ""
            within = self._form == "integer" and list(self._dims(added)) == width
            return (added, product) if within else ("", apart if added else product)
        readers = [other for other in self.nodes if product in other.input]
        if self._form == "qdq" or len(readers) != 1 or readers[0].op_type != "Add" or product in self._outputs:
            return "", product
        [added] = [name for name in readers[0].input if name != product] or [""]
        if list(self._dims(added)) != width:
            return "", product
        self._instead[readers[0].name] = []
        return added, readers[0].output[0]

    def look_up(self, node: onnx.NodeProto, bits: TableBits) -> None:
        """A lookup in a table of int8, or of int4 where it is large; of a large one of int8, each row has a scale."""
        name, own, rows = node.name, node.input[0], node.input[1]
        table = self._array(own)
        block = block_of(table.shape[1])
        if bits == 4 and block and len(table) >= LARGE_TABLE:
            integers_of_4, scales = four_bits(table, block)
            pairs = packed(f"{own}/int4", integers_of_4)
            self._packed[pairs.name] = pairs
            inputs = [pairs.name, rows, self._keep(f"{own}/table_scale", scales)]
            options = {"gather_axis": 0, "quantize_axis": 1, "block_size": block, "domain": MICROSOFT}
            self._instead[name] = [_node("GatherBlockQuantized", inputs, node.output[0], name=name, **options)]
            return
        largest = np.abs(table).max(axis=1, keepdims=True) if len(table) >= LARGE_TABLE else np.abs(table).max()
        steps = (np.maximum(largest, np.finfo(np.float32).tiny) / 127).astype(np.float32)
        rounded = table / steps
        np.rint(rounded, out=rounded)  # a table is most of a small model: no copy of it for each operation
        integers = self._keep(f"{own}/table_int8", np.clip(rounded, -127, 127, out=rounded).astype(np.int8))
        scale = self._keep(f"{own}/table_scale", steps)
        # Multiplied, not read through DequantizeLinear: onnxruntime carries that on through other nodes, and in opset
        # 23 writes a graph there that it then refuses.
        made = [_node("Gather", [integers, rows], f"{name}/int8", name=name)]
        made.append(_node("Cast", [f"{name}/int8"], f"{name}/steps", to=1))
        if steps.ndim:
            made.append(_node("Gather", [scale, rows], f"{name}/scale"))
            scale = f"{name}/scale"
        made.append(_node("Mul", [f"{name}/steps", scale], node.output[0]))
        self._instead[name] = made

    def finished(self) -> onnx.ModelProto:
        """The graph, without weights that nothing reads any more."""
        from onnx import helper, numpy_helper

        graph = self._proto.graph
        written = []
        for node in self.nodes:
            written += [*self._before.get(node.name, ()), *self._instead.get(node.name, (node,))]
        read = {name for node in written for name in node.input}
        kept = [tensor for tensor in graph.initializer if tensor.name in read]
        kept += self._packed.values()
        kept += [numpy_helper.from_array(value, name) for name, value in self._added.items()]
        del graph.node[:], graph.initializer[:]
        graph.node.extend(written)
        known = {one.domain for one in self._proto.opset_import}
        if MICROSOFT not in known and any(node.domain == MICROSOFT for node in written):
            self._proto.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
        graph.initializer.extend(kept)
        return self._proto

    def _keep(self, name: str, value: Any) -> str:
        self._added[name] = np.asarray(value, np.float32 if isinstance(value, float) else None)
        return name

    def _array(self, name: str) -> np.ndarray:
        from onnx import numpy_helper

        found: np.ndarray = numpy_helper.to_array(self._weights[name])
        return found

    def _dims(self, name: str) -> Sequence[int]:
        """Of a constant; nothing of what is none."""
        return self._weights[name].dims if name in self._weights else ()

    def _is_float_matrix(self, name: str) -> bool:
        from onnx import TensorProto

        return len(self._dims(name)) == 2 and self._weights[name].data_type == TensorProto.FLOAT


def _node(operator: str, inputs: list[str], output: str, name: str = "", **options: Any) -> onnx.NodeProto:
    from onnx import helper

    return helper.make_node(operator, inputs, [output], name=name or f"{output}/{operator}", **options)


def _options(node: onnx.NodeProto) -> dict[str, Any]:
    from onnx import helper

    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
