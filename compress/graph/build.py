"""Write a torch model as an ONNX graph, with attention as one node a layer or spelled out."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from compress.bundle import Bundle, OnnxGraph
from compress.errors import ExportError
from compress.garbage import uncollected
from compress.graph.fuse import fuse
from compress.graph.suit import suit_cpu
from compress.graph.target import Kernels
from compress.graph.wire import write_file
from compress.inputs import dynamic_axes, example_inputs

if TYPE_CHECKING:
    import onnx
    import onnx_ir
    import torch
    from transformers import PreTrainedModel

AttentionForm = Literal["fused", "plain"]

# Opset 23 is the first with the standard Attention operator, which torch's exporter then writes for sdpa. It carries
# no head count of its own, so layers with different head counts stay right; onnxruntime's own fusion pass writes the
# config's count into every layer and is silently wrong there.
OPSETS: dict[AttentionForm, int] = {"fused": 23, "plain": 20}

# A protobuf file ends at 2 GB; the rest of the graph needs some room.
LARGEST_SINGLE_FILE = 1_800_000_000


def build_graph(bundle: Bundle, path: Path, *, attention: AttentionForm, kernels: Kernels = "cpu") -> OnnxGraph:
    """Export the bundle's torch model to `path`: float32, any batch and length; inside are task, labels and lineage,
    and no path or stack trace.

    Args:
        kernels: whose the graph is to suit; where attention is fused, GPUs' are given onnxruntime's own nodes.

    Raises:
        ExportError: torch's exporter can't express the model; the message holds its reason.
    """
    import torch

    fused_after = attention == "fused" and kernels != "cpu"
    form: AttentionForm = "plain" if fused_after else attention
    inputs = {name: torch.from_numpy(array) for name, array in example_inputs(bundle).items()}
    model = bundle.module.eval()
    with _quiet(), uncollected(), bundle.family.sdpa(model), _without_cache(model), torch.no_grad():
        graph = torch_graph(
            bundle.task.graph(model),
            inputs,
            output_names=list(bundle.task.outputs),
            dynamic_shapes=dynamic_axes(bundle),
            opset_version=_opset(bundle, form),
        )
    if kernels == "cpu":
        suit_cpu(graph)
    elif fused_after:
        fuse(graph, kernels)
    _write(graph, path, _about(bundle))
    return OnnxGraph(path)


def torch_graph(model: torch.nn.Module, inputs: Mapping[str, torch.Tensor], **options: Any) -> onnx_ir.Model:
    """What torch's exporter makes of a module and inputs for it.

    Args:
        options: of `torch.onnx.export`.

    Raises:
        ExportError: as `build_graph`.
    """
    import torch

    try:
        program = torch.onnx.export(
            model, (), kwargs=dict(inputs), input_names=list(inputs), dynamo=True, verbose=False, **options
        )
    except torch.onnx.errors.OnnxExporterError as fault:
        reason = str(fault).strip().splitlines()[0]
        raise ExportError(f"export: torch can't write {type(model).__name__} as ONNX: {reason}") from fault
    assert program is not None, "the dynamo exporter returns a program"
    return program.model


def _about(bundle: Bundle) -> dict[str, str]:
    """What the file says of itself: `session.get_modelmeta().custom_metadata_map` has it where it is loaded. How the
    source was spelled, and so where it lay, is left out."""
    lineage = {**bundle.lineage.as_json(), "source": ""}
    about = {"task": bundle.task.name, "labels": bundle.labels, "lineage": lineage}
    return {
        key: value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
        for key, value in about.items()
    }


def _opset(bundle: Bundle, attention: AttentionForm) -> int:
    rotary = "rope_parameters" in bundle.config or "rope_theta" in bundle.config
    # Opset 23's RotaryEmbedding, as the exporter writes it, is wrong for more than one text; 24's is right.
    return max(OPSETS[attention], 24) if rotary and attention == "fused" else OPSETS[attention]


def _write(model: onnx_ir.Model, path: Path, about: dict[str, str]) -> None:
    import onnx_ir

    _strip(model)
    model.metadata_props.update(about)
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value)
    if weights > LARGEST_SINGLE_FILE:
        onnx_ir.save(model, path, external_data=f"{path.name}.data")
    else:
        write_file(model, path)


def save_proto(proto: onnx.ModelProto, path: Path) -> Path:
    """Write a graph; what is too large for one file keeps its weights in another beside it."""
    import onnx

    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(f"{path.name}.data").unlink(missing_ok=True)  # of an earlier graph: onnx would append to it
    weights = sum(len(tensor.raw_data) for tensor in proto.graph.initializer)
    apart = weights > LARGEST_SINGLE_FILE
    onnx.save(proto, path, save_as_external_data=apart, location=f"{path.name}.data" if apart else None)
    return path


def _strip(model: onnx_ir.Model) -> None:
    """Drop what the exporter notes about this machine: source paths, module names and stack traces."""
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    model.doc_string = None
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
        for output in node.outputs:
            output.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()


@contextmanager
def _without_cache(model: PreTrainedModel) -> Iterator[None]:
    """While it is open, a decoder gives no keys and values for a next call: each call reads whole texts."""
    cached = getattr(model.config, "use_cache", None)
    if not cached:
        yield
        return
    model.config.use_cache = False
    try:
        yield
    finally:
        model.config.use_cache = cached


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes on operators of absent libraries off the terminal; its errors still come through."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
