"""Quantize an exported graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from compress.bundle import Form
from compress.errors import ExportError
from compress.graph import sensitivity
from compress.graph.blocks import BLOCK
from compress.graph.calibration import RangeMethod, calibration_inputs, observe
from compress.graph.portable import nameless, opens_afresh
from compress.graph.quantize import dynamic_int8
from compress.graph.race import race
from compress.graph.sensitivity import Quantizer
from compress.graph.smooth import smooth
from compress.graph.static import IntegerForm, TableBits, product_inputs, static_int8
from compress.graph.verify import agreement, quantized, unchanged
from compress.graph.weight_only import Rounding, weight_only
from compress.settings import Settings
from compress.stage import Context, Sight

if TYPE_CHECKING:
    from pathlib import Path

    from compress.anatomy import Anatomy
    from compress.bundle import Bundle, OnnxGraph
    from compress.graph.calibration import Seen


Method = Literal["dynamic_int8", "static_int8", "weight_int8", "weight_int4", "fastest"]
_OF_METHODS = {
    **dict.fromkeys(("ranges", "outliers", "form"), ("static_int8",)),
    "smooth": ("static_int8", "fastest"),
    "reduce_range": ("dynamic_int8", "static_int8", "fastest"),
    "rounding": ("weight_int4",),
    "embedding": ("static_int8", "weight_int8", "weight_int4"),
}
"""By setting, the methods that read it."""
_INT4_BYTES, _INT8_BLOCK_BYTES = 0.5 + 4.5 / BLOCK, 1 + 5 / BLOCK
"""Of a weight in a block: itself, and its share of the block's scale and zero."""


class Quantize(Settings):
    """Store weights in integers, embeddings included, and multiply integers: int8 with one scale an output channel, or
    weights alone in blocks of 8 or 4 bits.

    It follows `export`, because onnxruntime's integer kernels are what will run: a torch model quantized first could
    be neither exported nor fused. With a budget, each operator's own effect is measured on dev, and those that cost
    most stay in float, as few of them as keep it. `fastest` tries every way, and takes the one that takes least time
    at the deployment's shapes of those that keep the budget; where none does, the truest, with operators in float.

    Recipe:
        - quantize: {method: dynamic_int8}
    """

    consumes: ClassVar[Form] = Form.ONNX
    produces: ClassVar[Form] = Form.ONNX

    method: Method = Field(
        "dynamic_int8",
        description="activations on grids that each batch settles, or that calibration settled once; weights alone, in "
        "blocks; or as measured",
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
    smooth: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="divide wide channels where it costs nothing, and move this share of them into the weights that "
        "read them; left out: none",
    )
    reduce_range: bool | None = Field(
        None, description="weights in 7 bits, which x86 CPUs without VNNI add up without clipping; left out: in 8"
    )
    rounding: Rounding | None = Field(
        None, description="weight_int4: how blocks of weights are rounded; left out: gptq"
    )
    embedding: Literal["int8", "int4"] | None = Field(
        None, description="large tables; int4 in blocks that share a scale; left out: int8"
    )
    logit_error: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="the most that scores may move on dev, in units of their spread; left out: all is quantized",
    )

    @model_validator(mode="after")
    def _of_the_method(self) -> Self:
        for name, methods in _OF_METHODS.items():
            if self.method not in methods and getattr(self, name) is not None:
                raise ValueError(f"{name}: is of {' and '.join(methods)}, and the method is {self.method}")
        if self.method == "fastest" and self.logit_error is None:
            raise ValueError("fastest: needs a logit_error, the budget that what is chosen has to keep")
        return self

    @property
    def precision(self) -> Literal["int8", "int4"]:
        """Of the weights that it leaves."""
        return "int4" if self.method == "weight_int4" else "int8"

    @property
    def weight_bytes(self) -> float | None:
        if self.method in ("weight_int8", "weight_int4"):
            # Tables are half of a small model: of int4 products and int8 tables it is told as if all were int8.
            return _INT4_BYTES if self.method == "weight_int4" and self.embedding == "int4" else _INT8_BLOCK_BYTES
        return 1.0

    @property
    def sees(self) -> tuple[Sight, ...]:
        """Dev as well, where there is a budget to keep on it, and the deployment, where the form follows from it."""
        budget: tuple[Sight, ...] = ("dev",) if self.logit_error is not None else ()
        follows = self.method == "fastest" or (self.method == "static_int8" and self.form is None)
        deploy: tuple[Sight, ...] = ("deploy",) if follows else ()
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
        path, seen = context.scratch / f"model_{self.precision}.onnx", self._seen(bundle, context)
        if self.smooth is not None:
            smoothed, seen = smooth(bundle.graph, context.scratch / "smooth.onnx", seen, strength=self.smooth)
            context.check(**vars(unchanged(bundle, bundle.graph, smoothed, seed=context.seed)))
            bundle = replace(bundle, model=smoothed)
        ways = self._ways(seen, context)
        if self.method == "fastest":
            way, kept_as_it_is = self._fastest(ways, bundle, context)
        else:
            way, kept_as_it_is = next(iter(ways)), self.logit_error is None
        quantizer = ways[way]
        if kept_as_it_is:
            return quantizer(bundle.graph, path), ()
        about = {"operators in float": [way, self.logit_error, *self._settled(bundle, context)]}
        effects, kept, tried = context.kept(about, lambda: self._chosen(quantizer, bundle, context, path))
        context.record(
            "sensitivity", [{"operator": name, "logit error": e, "stays in float": name in kept} for name, e in effects]
        )
        context.record("operators_in_float", tried)
        return quantizer(bundle.graph, path, keep=kept), tuple(kept)

    def _ways(self, seen: Mapping[str, Seen], context: Context) -> dict[str, Quantizer]:
        """By name, how the graph may be quantized; one alone, but for `fastest`."""
        tables: TableBits = 4 if self.embedding == "int4" else 8
        dynamic = partial(dynamic_int8, reduce_range=bool(self.reduce_range))
        if self.method == "dynamic_int8":
            return {self.method: dynamic}
        if self.method == "weight_int8":
            return {self.method: partial(weight_only, bits=8, tables=tables)}
        if self.method == "weight_int4":
            rounding = self.rounding or "gptq"
            return {self.method: partial(weight_only, bits=4, rounding=rounding, tables=tables, seen=seen)}
        form = self._form(context)
        if form == "qdq" and self.embedding == "int4":
            raise ExportError("quantize: embedding int4 is an operator of onnxruntime's own, and form qdq has none")
        static = partial(static_int8, seen=seen, ranges=self.ranges or "minmax", form=form, tables=tables)
        static = partial(static, reduce_range=bool(self.reduce_range))
        if self.method == "static_int8":
            return {self.method: partial(static, split_outliers=self.outliers != "leave")}
        return {
            "dynamic_int8": dynamic,
            "static_int8": partial(static, split_outliers=False),
            "static_int8, outliers split": partial(static, split_outliers=True),
            "weight_int8": partial(weight_only, bits=8),
        }

    def _seen(self, bundle: Bundle, context: Context) -> dict[str, Seen]:
        """What flows into the products, where the method asks."""
        by_inputs = self.method == "weight_int4" and self.rounding in (None, "gptq")
        if not by_inputs and self.method not in ("static_int8", "fastest"):
            return {}
        context.progress(0.1, "calibrate")
        inputs = calibration_inputs(bundle, context.calibration)
        return observe(bundle.graph, set(product_inputs(bundle.graph).values()), inputs, seed=context.seed)

    def _form(self, context: Context) -> IntegerForm:
        """What is asked for, else what is fast on the deployment: onnxruntime's own node is for its CPU kernels."""
        if self.form is not None or self.method not in ("static_int8", "fastest"):
            return self.form or "integer"
        return "integer" if context.deploy.runtime.startswith("onnxruntime") else "qdq"

    def _fastest(self, ways: Mapping[str, Quantizer], bundle: Bundle, context: Context) -> tuple[str, bool]:
        """The way that takes least time of those that keep the budget, or the truest; and whether it keeps it."""
        assert self.logit_error is not None, "it is asked for with a budget"
        where = [context.deploy.model_dump(mode="json"), context.deploy.thread_count, context.device.type]
        about = {"ways to quantize": [where, *self._settled(bundle, context)]}
        tried = context.kept(about, lambda: self._tried(ways, bundle, context))
        fitting = [one for one in tried if one["logit error"] <= self.logit_error]
        best = min(fitting, key=lambda one: one["ms"]) if fitting else min(tried, key=lambda one: one["logit error"])
        context.record("ways", [{**one, "chosen": one is best} for one in tried])
        return best["way"], bool(fitting)

    def _tried(self, ways: Mapping[str, Quantizer], bundle: Bundle, context: Context) -> list[dict[str, Any]]:
        """What each way costs and takes: kept, so that it is chosen but once."""
        graphs = {
            way: make(bundle.graph, context.scratch / f"way-{i}.onnx") for i, (way, make) in enumerate(ways.items())
        }
        judge, device = sensitivity.judge_of(bundle, bundle.graph, context.dev), context.device.type
        context.progress(0.3, "time every way")
        times = race(graphs, bundle, context.calibration, context.deploy, device=device, seed=context.seed)
        return [{"way": way, "logit error": judge(graph), "ms": times[way]} for way, graph in graphs.items()]

    def _settled(self, bundle: Bundle, context: Context) -> list[Any]:
        """All that a choice on dev follows from."""
        calibration = context.calibration.digest if self.method != "dynamic_int8" else ""
        settings: list[Any] = [self.method, self.ranges, self.outliers, self._form(context), self.rounding]
        settings += [self.embedding, self.smooth, self.reduce_range]
        return [bundle.digest, context.dev.digest, calibration, context.seed, *settings]

    def _chosen(self, quantizer: Quantizer, bundle: Bundle, context: Context, path: Path) -> list[Any]:
        """What each operator costs, which stay in float, and what was tried: kept, so that it is chosen but once."""
        assert self.logit_error is not None, "asked where there is a budget"
        judge = sensitivity.judge_of(bundle, bundle.graph, context.dev)
        effects = sensitivity.scan(bundle.graph, quantizer, judge, context.scratch, context.progress)
        kept, tried = sensitivity.within(self.logit_error, bundle.graph, path, quantizer, judge, effects)
        return [[[effect.operator, effect.error] for effect in effects], kept, tried]
