"""Quantize an exported graph."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from compress.bundle import Form
from compress.graph import sensitivity
from compress.graph.portable import nameless, opens_afresh
from compress.graph.quantize import dynamic_int8
from compress.graph.verify import agreement, quantized
from compress.settings import Settings
from compress.stage import Context, Sight

if TYPE_CHECKING:
    from pathlib import Path

    from compress.anatomy import Anatomy
    from compress.bundle import Bundle, OnnxGraph


class Quantize(Settings):
    """Store weights as int8, one scale a channel, embeddings included; activations are quantized as they come.

    It follows `export`, because onnxruntime's integer kernels are what will run: a torch model quantized first could
    be neither exported nor fused. With a budget, each operator's own effect is measured on dev, and those that cost
    most stay in float, as few of them as keep it.

    Recipe:
        - quantize: {method: dynamic_int8}
    """

    consumes: ClassVar[Form] = Form.ONNX
    produces: ClassVar[Form] = Form.ONNX
    weight_bytes: ClassVar[float | None] = 1.0

    method: Literal["dynamic_int8"] = Field("dynamic_int8", description="how weights and activations become integers")
    logit_error: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="the most that scores may move on dev, in units of their spread; left out: all is quantized",
    )

    @property
    def sees(self) -> tuple[Sight, ...]:
        """Dev as well, where there is a budget to keep on it."""
        return ("calibration",) if self.logit_error is None else ("calibration", "dev")

    def apply(self, bundle: Bundle, context: Context) -> Bundle:
        graph, kept = self._quantized(bundle, context)
        linears = {part.module for group in bundle.anatomy.groups for part in group.slices}
        context.check(**vars(quantized(bundle.graph, graph, at_least=len(linears), kept=kept)))
        context.check(**vars(agreement(bundle, bundle.graph, graph, context.calibration)))
        context.check(**vars(nameless(graph)))
        context.check(**vars(opens_afresh(bundle, graph, seed=context.seed)))
        return replace(bundle, model=graph)

    def predict(self, anatomy: Anatomy) -> Anatomy:
        """Quantizing changes no shapes."""
        return anatomy

    def _quantized(self, bundle: Bundle, context: Context) -> tuple[OnnxGraph, tuple[str, ...]]:
        """The graph in integers, and the names of what stays in float."""
        path = context.scratch / "model_int8.onnx"
        if self.logit_error is None:
            return dynamic_int8(bundle.graph, path), ()
        about = {"operators in float": [bundle.digest, context.dev.digest, self.method, self.logit_error]}
        effects, kept, tried = context.kept(about, lambda: self._chosen(bundle, context, path))
        context.record(
            "sensitivity", [{"operator": name, "logit error": e, "stays in float": name in kept} for name, e in effects]
        )
        context.record("operators_in_float", tried)
        return dynamic_int8(bundle.graph, path, keep=kept), tuple(kept)

    def _chosen(self, bundle: Bundle, context: Context, path: Path) -> list[Any]:
        """What each operator costs, which stay in float, and what was tried: kept, so that it is chosen but once."""
        assert self.logit_error is not None, "asked where there is a budget"
        judge = sensitivity.judge_of(bundle, bundle.graph, context.dev)
        effects = sensitivity.scan(bundle.graph, dynamic_int8, judge, context.scratch, context.progress)
        kept, tried = sensitivity.within(self.logit_error, bundle.graph, path, dynamic_int8, judge, effects)
        return [[[effect.operator, effect.error] for effect in effects], kept, tried]
