"""What one forward pass takes: its FLOPs, and the memory of its intermediate tensors.

Of an ONNX graph both are counted on the graph itself. Of a torch model torch's own `FlopCounterMode` counts the FLOPs
while the model runs, and what lives at once is watched (`live.py`). The model's `Anatomy` stands in where a
graph can't be read on this machine. All three count matrix products, a multiply-accumulate as 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from compress.bundle import Bundle, Form
from compress.deploy import Shape
from compress.errors import ExportError
from compress.graph.activations import activation_bytes
from compress.graph.flops import graph_flops
from compress.graph.shapes import shaped_graph
from compress.inputs import example_inputs, input_names
from evaluation.size.live import live_bytes

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Work:
    """What one forward pass takes, and who counted it. `activation_bytes` is None where nobody could."""

    flops: int
    counted: Literal["graph", "torch", "anatomy"]
    activation_bytes: int | None = None


def work_of(bundle: Bundle, shape: Shape) -> Work:
    """What the bundle's model takes for one batch of this shape."""
    if bundle.form is Form.TORCH:
        # Products cost so many times what one example does; memory has a part that all examples share, such as masks.
        one, two = (_inputs(bundle, Shape(batch, shape.tokens)) for batch in (1, 2))
        first, second = (live_bytes(bundle.module, inputs) for inputs in (one, two))
        live = first + (shape.batch - 1) * (second - first)
        return Work(shape.batch * _torch_flops(bundle.module, one), "torch", live)
    path = bundle.graph.path
    try:
        graph = shaped_graph(path, input_shapes(bundle, shape))
        return Work(graph_flops(graph, path), "graph", activation_bytes(graph))
    except ExportError:  # an operator that is for GPUs alone, or an input that is none of a text's
        return Work(bundle.anatomy.flops(shape.batch, shape.tokens), "anatomy")


def input_shapes(bundle: Bundle, shape: Shape) -> dict[str, tuple[int, ...]]:
    """The shape of every input of the model, for one batch; pictures have but one size."""
    if bundle.task.modality == "image":
        return {name: (shape.batch, *array.shape[1:]) for name, array in example_inputs(bundle).items()}
    return dict.fromkeys(input_names(bundle), (shape.batch, shape.tokens))


def _inputs(bundle: Bundle, shape: Shape) -> dict[str, torch.Tensor]:
    import torch

    device = next(bundle.module.parameters()).device
    inputs = {
        name: torch.ones(sizes, device=device, dtype=torch.float32 if len(sizes) > 2 else torch.int64)
        for name, sizes in input_shapes(bundle, shape).items()
    }
    if "token_type_ids" in inputs:
        inputs["token_type_ids"].zero_()  # a model may have one type alone
    return inputs


def _torch_flops(model: PreTrainedModel, inputs: Mapping[str, torch.Tensor]) -> int:
    """FLOPs of the model as it stands, run once."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    before = model.config._attn_implementation
    model.set_attn_implementation("eager")  # the counter does not see the CPU's fused kernel
    try:
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            model(**inputs)
    finally:
        model.set_attn_implementation(before)
    return int(counter.get_total_flops())
