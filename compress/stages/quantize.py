"""Quantize an exported graph."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from compress.bundle import Form
from compress.graph import sensitivity
from compress.graph.calibration import RangeMethod, calibration_inputs, observe
from compress.graph.portable import nameless, opens_afresh
from compress.graph.quantize import dynamic_int8
from compress.graph.static import IntegerForm, product_inputs, static_int8
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

    method: Literal["dynamic_int8", "static_int8"] = Field(
        "dynamic_int8", description="activations on grids that each batch settles, or that calibration settled once"
    )
    ranges: RangeMethod | None = Field(
        None, description="static_int8: what of the numbers seen in calibration a grid reaches; left out: minmax"
    )
    form: IntegerForm | None = Field(
        None,
        description="static_int8: products as onnxruntime's own node, or as every runtime reads them; left out: "
        "as suits the runtime that is deployed on",
    )
    outliers: Literal["split", "leave"] | None = Field(
        None, description="static_int8: channels far wider than others get columns of their own; left out: split"
    )
    logit_error: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="the most that scores may move on dev, in units of their spread; left out: all is quantized",
    )

    @model_validator(mode="after")
    def _of_the_method(self) -> Self:
        for name in ("ranges", "outliers", "form"):
            if self.method != "static_int8" and getattr(self, name) is not None:
                raise ValueError(f"{name}: is of static_int8, and the method is {self.method}")
        return self

    @property
    def sees(self) -> tuple[Sight, ...]:
        """Dev as well, where there is a budget to keep on it, and the deployment, where the form follows from it."""
        budget: tuple[Sight, ...] = ("dev",) if self.logit_error is not None else ()
        deploy: tuple[Sight, ...] = ("deploy",) if self.method == "static_int8" and self.form is None else ()
        return ("calibration", *budget, *deploy)

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
        quantizer = self._quantizer(bundle, context)
        if self.logit_error is None:
            return quantizer(bundle.graph, path), ()
        seen = context.calibration.digest if self.method == "static_int8" else ""
        settings = [self.method, self.ranges, self.outliers, self.logit_error, seen]
        about = {"operators in float": [bundle.digest, context.dev.digest, *settings]}
        effects, kept, tried = context.kept(about, lambda: self._chosen(quantizer, bundle, context, path))
        context.record(
            "sensitivity", [{"operator": name, "logit error": e, "stays in float": name in kept} for name, e in effects]
        )
        context.record("operators_in_float", tried)
        return quantizer(bundle.graph, path, keep=kept), tuple(kept)

    def _quantizer(self, bundle: Bundle, context: Context) -> sensitivity.Quantizer:
        if self.method == "dynamic_int8":
            return dynamic_int8
        context.progress(0.1, "calibrate")
        inputs = calibration_inputs(bundle, context.calibration)
        seen = observe(bundle.graph, set(product_inputs(bundle.graph).values()), inputs, seed=context.seed)
        form = self.form or ("integer" if context.deploy.runtime.startswith("onnxruntime") else "qdq")
        split = self.outliers != "leave"
        return partial(static_int8, seen=seen, ranges=self.ranges or "minmax", split_outliers=split, form=form)

    def _chosen(self, quantizer: sensitivity.Quantizer, bundle: Bundle, context: Context, path: Path) -> list[Any]:
        """What each operator costs, which stay in float, and what was tried: kept, so that it is chosen but once."""
        assert self.logit_error is not None, "asked where there is a budget"
        judge = sensitivity.judge_of(bundle, bundle.graph, context.dev)
        effects = sensitivity.scan(bundle.graph, quantizer, judge, context.scratch, context.progress)
        kept, tried = sensitivity.within(self.logit_error, bundle.graph, path, quantizer, judge, effects)
        return [[[effect.operator, effect.error] for effect in effects], kept, tried]
