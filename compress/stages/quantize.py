"""Quantize an exported graph."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from compress.bundle import Form
from compress.graph.portable import nameless, opens_afresh
from compress.graph.quantize import dynamic_int8
from compress.graph.verify import agreement, quantized
from compress.settings import Settings
from compress.stage import Context, Sight

if TYPE_CHECKING:
    from compress.anatomy import Anatomy
    from compress.bundle import Bundle


class Quantize(Settings):
    """Store weights as int8, one scale a channel, embeddings included; activations are quantized as they come.

    It follows `export`, because onnxruntime's integer kernels are what will run: a torch model quantized first could
    be neither exported nor fused.

    Recipe:
        - quantize: {method: dynamic_int8}
    """

    consumes: ClassVar[Form] = Form.ONNX
    produces: ClassVar[Form] = Form.ONNX
    sees: ClassVar[tuple[Sight, ...]] = ("calibration",)
    weight_bytes: ClassVar[float | None] = 1.0

    method: Literal["dynamic_int8"] = Field("dynamic_int8", description="how weights and activations become integers")

    def apply(self, bundle: Bundle, context: Context) -> Bundle:
        graph = dynamic_int8(bundle.graph, context.scratch / "model_int8.onnx")
        linears = {part.module for group in bundle.anatomy.groups for part in group.slices}
        context.check(**vars(quantized(bundle.graph, graph, at_least=len(linears))))
        context.check(**vars(agreement(bundle, bundle.graph, graph, context.calibration)))
        context.check(**vars(nameless(graph)))
        context.check(**vars(opens_afresh(bundle, graph, seed=context.seed)))
        return replace(bundle, model=graph)

    def predict(self, anatomy: Anatomy) -> Anatomy:
        """Quantizing changes no shapes."""
        return anatomy
