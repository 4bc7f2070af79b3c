"""Rewrite a graph for GPUs: onnxruntime's own attention, norms with the sum before them, GELUs with their bias, as
transformers fuses them for CUDA and WebGPU kernels. What the graph says stays the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import onnx_ir


def fuse(model: onnx_ir.Model, kernels: Literal["cuda", "webgpu"]) -> None:
    """In place; attention has to be spelled out in the graph that comes in."""
    from transformers.exporters.onnxruntime_fusions import fuse_for_onnxruntime

    keep_tokens_apart(model)
    fuse_for_onnxruntime(model, kernels)


def keep_tokens_apart(model: onnx_ir.Model) -> None:
    """Write products of texts whose tokens were joined in one axis as products of whole texts. Of GPT-2's, attention is
    otherwise fused together with what joins, and onnxruntime then refuses what follows."""
    for node in list(model.graph):
        joins = node.inputs[0].producer() if node.op_type == "Gemm" and node.inputs[0] is not None else None
        plain = all(node.attributes.get_int(name, 0) == 0 for name in ("transA", "transB"))
        scaled = any(node.attributes.get_float(name, 1.0) != 1.0 for name in ("alpha", "beta"))
        if joins is not None and joins.op_type == "Reshape" and plain and not scaled and _parted(node, joins):
            _apart(model, node, joins)


def _parted(product: onnx_ir.Node, joins: onnx_ir.Node) -> bool:
    """Whether all that read the product part its tokens into the texts again that were joined."""
    texts, weight, readers = joins.inputs[0], product.inputs[1], product.outputs[0].consumers()
    if texts is None or texts.shape is None or texts.shape.rank() < 3 or weight is None or weight.shape is None:
        return False
    wanted = [*texts.shape[:2], weight.shape[1]]
    made = [one.outputs[0] for one in readers if one.op_type == "Reshape"]
    alike = all(one.shape is not None and list(one.shape) == wanted and not one.is_graph_output() for one in made)
    return bool(readers) and len(made) == len(readers) and alike


def _apart(model: onnx_ir.Model, product: onnx_ir.Node, joins: onnx_ir.Node) -> None:
    import numpy as np
    import onnx_ir

    tape = onnx_ir.tape.Tape()
    texts = joins.inputs[0]
    assert texts is not None, "a Reshape has what it turns"
    assert texts.shape is not None, "looked at before"
    if texts.shape.rank() > 3:  # heads, which are joined as well
        whole = tape.initializer(onnx_ir.tensor(np.array([0, 0, -1], np.int64), name=f"{product.name}/whole"))
        texts = tape.op("Reshape", [texts, whole])
    made = tape.op("MatMul", [texts, product.inputs[1]])
    if len(product.inputs) > 2 and product.inputs[2] is not None:
        made = tape.op("Add", [made, product.inputs[2]])
    parted = product.outputs[0].consumers()
    first = parted[0].outputs[0]
    made.shape, made.type, made.name = first.shape, first.type, first.name
    for value in tape.initializers:
        model.graph.register_initializer(value)
    model.graph.insert_before(product, tape.nodes)
    for one in parted:
        one.outputs[0].replace_all_uses_with(made)
        model.graph.remove(one, safe=True)
    model.graph.remove(product, safe=True)
