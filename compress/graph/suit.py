"""Rewrite what torch exports so that it suits onnxruntime's CPU kernels. What the graph says stays the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import onnx_ir


def suit_cpu(model: onnx_ir.Model) -> None:
    """Everything that is faster on a CPU, in place."""
    keep_norms_apart(model)
    flatten_attention(model)


def keep_norms_apart(model: onnx_ir.Model) -> None:
    """Write sums that are normalized as Sum. Of Add and LayerNormalization onnxruntime makes one node, which on a CPU
    takes longer than the two; it does not look for Sum."""
    for node in model.graph.all_nodes():
        before = node.inputs[0].producer() if node.op_type == "LayerNormalization" and node.inputs[0] else None
        if before is not None and before.op_type == "Add":
            # What adds a bias is left to be one with its product.
            before.op_type = "Add" if any(one and one.is_initializer() for one in before.inputs) else "Sum"


def flatten_attention(model: onnx_ir.Model) -> None:
    """Give Attention its query, key and value as (batch, tokens, heads x size) and the numbers of heads, as the
    operator allows, where the exporter splits and turns them in nodes of their own. Attention
    that is fed otherwise, as where positions are rotated in between, stays as it is."""
    import onnx_ir

    for node in list(model.graph):
        if node.op_type != "Attention" or node.domain or len(node.outputs) != 1:
            continue
        fed = [_unsplit(value) for value in node.inputs[:3]]
        joined = _joined(node.outputs[0])
        heads = [value.shape[1] if value is not None and value.shape else None for value in node.inputs[:2]]
        if None in fed or joined is None or not all(isinstance(count, int) for count in heads):
            continue
        left = [*_between(node.inputs[:3]), *reversed(list(_after(node.outputs[0])))]
        for place, value in enumerate(fed):
            node.replace_input_with(place, value)
        for name, count in zip(("q_num_heads", "kv_num_heads"), heads, strict=True):
            assert isinstance(count, int), "seen above"
            node.attributes[name] = onnx_ir.AttrInt64(name, count)
        node.outputs[0].shape = joined.shape
        joined.replace_all_uses_with(node.outputs[0])
        for unread in left:
            if not any(value.uses() for value in unread.outputs):
                model.graph.remove(unread, safe=True)


def _unsplit(value: onnx_ir.Value | None) -> onnx_ir.Value | None:
    """What was split into heads, and these put before the tokens, to give this value; None where it is not so made."""
    turned = value.producer() if value is not None else None
    split = turned.inputs[0].producer() if turned is not None and _turns(turned) and turned.inputs[0] else None
    if split is None or split.op_type != "Reshape" or split.inputs[0] is None:
        return None
    whole = split.inputs[0]
    return whole if whole.shape is not None and whole.shape.rank() == 3 else None


def _joined(value: onnx_ir.Value) -> onnx_ir.Value | None:
    """What is made of this value by putting tokens before heads, and joining these; None where anything else is."""
    after = list(_after(value))
    if len(after) != 2:
        return None
    [turned], [joined] = after[0].outputs, after[1].outputs
    alone = len(value.uses()) == len(turned.uses()) == 1 and not joined.is_graph_output()
    return joined if alone and joined.shape is not None and joined.shape.rank() == 3 else None


def _between(values: Sequence[onnx_ir.Value | None]) -> Iterator[onnx_ir.Node]:
    """The nodes that turn and split, the last first, so that each is unread when it is asked about."""
    for value in values:
        turned = value.producer() if value is not None else None
        if turned is not None and turned.inputs[0] is not None:
            yield turned
            if (split := turned.inputs[0].producer()) is not None:
                yield split


def _after(value: onnx_ir.Value) -> Iterator[onnx_ir.Node]:
    """The nodes that turn back and join."""
    for turned in value.consumers()[:1]:
        joins = turned.outputs[0].consumers()[:1]
        if _turns(turned) and joins and joins[0].op_type == "Reshape":
            yield from (turned, joins[0])


def _turns(node: onnx_ir.Node) -> bool:
    """Whether it exchanges tokens and heads."""
    perm = node.attributes.get("perm")
    return node.op_type == "Transpose" and perm is not None and list(perm.as_ints()) == [0, 2, 1, 3]
