"""Export a torch model to ONNX, prove that the file says the same, and that its attention is fused."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from compress.bundle import Bundle, Form
from compress.errors import ExportError
from compress.graph.bfloat import bfloat16, rounded
from compress.graph.build import OPSETS, AttentionForm, build_graph
from compress.graph.calibration import calibration_inputs
from compress.graph.half import float16
from compress.graph.portable import nameless, opens_afresh
from compress.graph.quantize import dynamic_int8
from compress.graph.race import race
from compress.graph.target import Target, kernels_of, target_of, why_not
from compress.graph.verify import HALF_PARITY_LIMIT, PARITY_LIMIT, Finding, fusion, parity
from compress.graph.weight_only import weight_only
from compress.inputs import Inputs, probes
from compress.settings import Settings
from compress.stage import Context, Sight

if TYPE_CHECKING:
    from pathlib import Path

    from compress.anatomy import Anatomy
    from compress.bundle import OnnxGraph


_BYTES = {"fp32": 4.0, "fp16": 2.0, "bf16": 2.0}
PARITY_LIMITS = {"fp32": PARITY_LIMIT, "fp16": HALF_PARITY_LIMIT, "bf16": PARITY_LIMIT}


class Export(Settings):
    """Write the model as ONNX and gate it on fusion, on parity with torch and on being fit to be carried elsewhere.

    A target's kernels have their say in what is written: for CPUs the standard's Attention, and sums apart from the
    norms that follow; for GPUs onnxruntime's own nodes, which join these, and biases with what follows them. `fastest`
    builds the fused and the plain form and keeps the one with the lower geometric mean of median times at the
    deployment's shapes, in the precision that will be deployed.

    Recipe:
        - export: {attention: fused}
    """

    consumes: ClassVar[Form] = Form.TORCH
    produces: ClassVar[Form] = Form.ONNX
    sees: ClassVar[tuple[Sight, ...]] = ("calibration", "deploy")

    attention: Literal["fused", "plain", "fastest"] = Field("fused", description="one node a layer, or spelled out")
    precision: Literal["fp32", "fp16", "bf16"] = Field(
        "fp32",
        description="of weights and arithmetic; fp16 is for GPUs and the web: CPUs cast it back; bf16 is of weights "
        "alone, which are widened at loading",
    )
    target: Target | None = Field(
        None, description="whose kernels the graph suits; left out: the device at work, and cuda in fp16"
    )

    @model_validator(mode="after")
    def _runs_there(self) -> Self:
        if self.target is not None and (reason := why_not(self.target, self.precision)):
            raise ValueError(reason)
        return self

    @property
    def weight_bytes(self) -> float | None:
        return _BYTES[self.precision]

    def apply(self, bundle: Bundle, context: Context) -> Bundle:
        form = self._fastest(bundle, context) if self.attention == "fastest" else self.attention
        context.progress(0.1, f"export, {form} attention")
        graph = self._built(bundle, context.scratch / "model.onnx", form, context)
        if self.precision == "fp16":
            context.progress(0.6, "to float16")
            graph, kept = float16(graph, context.scratch / "model_fp16.onnx", _samples(bundle, context))
            if kept:
                context.record("kept_in_float32", [{"node": name} for name in kept])
        elif self.precision == "bf16":
            graph = bfloat16(graph, context.scratch / "model_bf16.onnx")
        context.progress(0.7, "check the graph")
        heads = bundle.anatomy.heads_by_layer()
        for finding in (
            fusion(graph, heads, form),
            self._parity(bundle, graph, context),
            nameless(graph),
            opens_afresh(bundle, graph, seed=context.seed),
        ):
            context.check(**vars(finding))
        return replace(bundle, model=graph)

    def predict(self, anatomy: Anatomy) -> Anatomy:
        """Exporting changes no shapes."""
        return anatomy

    def _parity(self, bundle: Bundle, graph: OnnxGraph, context: Context) -> Finding:
        """With torch, or where the graph's weights were rounded with a copy of it whose weights are rounded alike."""
        limit = PARITY_LIMITS[self.precision]
        if self.precision != "bf16":
            return parity(bundle, graph, seed=context.seed, limit=limit)
        return parity(rounded(bundle), graph, seed=context.seed, limit=limit, other="torch, weights rounded")

    def _built(self, bundle: Bundle, path: Path, form: AttentionForm, context: Context) -> OnnxGraph:
        """In float32, as the target's kernels want it in the precision that will be deployed."""
        target = self.target or target_of(context.device.type, self.precision)
        deployed = context.deploy.precision if self.precision == "fp32" else self.precision
        return build_graph(bundle, path, attention=form, kernels=kernels_of(target, deployed))

    def _fastest(self, bundle: Bundle, context: Context) -> AttentionForm:
        """The form that took least time here. Measured once: an interrupted stage that is resumed chooses the same."""
        noted = context.scratch / "attention_forms.json"
        if not noted.exists():
            draft = noted.with_suffix(".draft")
            draft.write_text(json.dumps(self._timed(bundle, context)), encoding="utf-8")
            os.replace(draft, noted)
        means: dict[AttentionForm, float] = json.loads(noted.read_text(encoding="utf-8"))
        context.record("attention_forms", [{"form": form, "latency_ms": mean} for form, mean in means.items()])
        return min(means, key=lambda form: means[form])

    def _timed(self, bundle: Bundle, context: Context) -> dict[AttentionForm, float]:
        """Milliseconds of a call in each form; bfloat16's are float32's, which it is once it is loaded.

        Raises:
            ExportError: it is for kernels that do not run here.
        """
        if self.target not in (None, context.device.type):
            raise ExportError(
                f"export: attention fastest is timed on {context.device.type} here, and the target is {self.target}: "
                "say fused or plain"
            )
        graphs: dict[str, OnnxGraph] = {}
        for form in OPSETS:
            graph = self._built(bundle, context.scratch / "tried" / form / "model.onnx", form, context)
            if self.precision == "fp16":
                graph, _ = float16(graph, graph.path.with_name("model_fp16.onnx"), _samples(bundle, context))
            elif context.deploy.precision == "int8":
                graph = dynamic_int8(graph, graph.path.with_name("model_int8.onnx"))
            elif context.deploy.precision == "int4":
                graph = weight_only(graph, graph.path.with_name("model_int4.onnx"), bits=4)
            graphs[form] = graph
        device = context.device.type
        times = race(graphs, bundle, context.calibration, context.deploy, device=device, seed=context.seed)
        return {form: times[form] for form in OPSETS}


def _samples(bundle: Bundle, context: Context) -> Iterator[Inputs]:
    """What numbers are looked at on: the calibration texts, and the padded random tokens that parity is checked on."""
    for _, inputs in probes(bundle, seed=context.seed):
        yield inputs
    yield from calibration_inputs(bundle, context.calibration)
