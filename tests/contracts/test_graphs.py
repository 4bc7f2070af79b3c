"""The laws of every family's graph, unevenly cut: it says what torch says, and its attention is what was asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from task_samples import sample, task_bundle
from tiny import tiny_bundle

from compress import catalog
from compress.bundle import Bundle
from compress.deploy import Shape
from compress.dissection import hidden_group
from compress.graph.build import AttentionForm, build_graph
from compress.graph.calibration import calibration_inputs, observe
from compress.graph.inspect import attention_nodes, operators, read_proto
from compress.graph.portable import nameless
from compress.graph.quantize import dynamic_int8
from compress.graph.smooth import smooth
from compress.graph.static import MICROSOFT, IntegerForm, product_inputs, static_int8
from compress.graph.verify import agreement, fusion, parity, quantized
from compress.graph.weight_only import weight_only
from compress.surgery import keep_units
from compress.task import task_of
from evaluation.size.flops import work_of

FAMILIES = catalog.names("families")


def uneven(family: str) -> Bundle:
    """A tiny model of two layers, which differ in heads and in channels, and of an odd hidden size: cut along every
    axis at once, as exporting takes a while for each."""
    whole = tiny_bundle(family, seed=3)
    hidden = hidden_group(whole.module, whole.family)
    masks = [torch.arange(group.units) >= group.layer % group.units for group in whole.anatomy.groups]
    masks.append(torch.arange(hidden.units) % 8 != 3)
    groups = [*whole.anatomy.groups, hidden]
    return whole.with_model(keep_units(whole.module, whole.family, groups, masks, layers=(0, 2)))


@pytest.mark.parametrize("form", ["fused", "plain"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_cut_model_of_every_family_passes_every_gate(family: str, form: AttentionForm, tmp_path: Path):
    bundle = uneven(family)
    graph = build_graph(bundle, tmp_path / "model.onnx", attention=form)
    heads = bundle.anatomy.heads_by_layer()
    found = [fusion(graph, heads, form), parity(bundle, graph, seed=5)]
    # In 7 bits, so that what follows does not depend on the CPU.
    small = dynamic_int8(graph, tmp_path / "model_int8.onnx", reduce_range=True)
    texts = sample(bundle.task, "calibration", 16)
    seen = observe(graph, set(product_inputs(graph).values()), calibration_inputs(bundle, texts), seed=5)
    written: IntegerForm = "integer" if form == "fused" else "qdq"
    smoothed, calm = smooth(graph, tmp_path / "smooth.onnx", seen, strength=0.5)
    found += [fusion(smoothed, heads, form), parity(bundle, smoothed, seed=5)]
    flowed = observe(smoothed, list(calm), calibration_inputs(bundle, texts), seed=5)
    assert all(np.allclose(flowed[name].highest, calm[name].highest, rtol=1e-3, atol=1e-4) for name in calm)
    assert sum(not np.allclose(calm[name].highest, seen[name].highest) for name in seen) >= 1
    calibrated = static_int8(smoothed, tmp_path / "calibrated_int8.onnx", calm, form=written, reduce_range=True)
    blocks = weight_only(graph, tmp_path / "blocks_int8.onnx", bits=8)
    linears = {part.module for group in bundle.anatomy.groups for part in group.slices}
    found += [quantized(graph, one, at_least=len(linears)) for one in (small, calibrated, blocks)]
    assert [(one.name, one.detail) for one in found if not one.passed] == []
    for one in (small, calibrated, blocks):  # random weights round worse than trained ones
        assert agreement(bundle, graph, one, texts).value >= 0.8
    counted = [node.heads for node in attention_nodes(read_proto(graph.path))]
    assert counted == (heads if form == "fused" else [])
    shape = Shape(2, bundle.max_tokens if bundle.task.modality == "image" else 9)
    for one in (graph, small, calibrated, blocks):
        work = work_of(replace(bundle, model=one), shape)
        more = 0.5 if one is calibrated else 0.01  # columns of outlier channels, of which a tiny model has many
        assert work.flops == pytest.approx(work_of(bundle, shape).flops, rel=more)
        assert work.counted == "graph"
    wrong = [heads[0] + 1, *heads[1:]]
    assert not fusion(graph, wrong, "fused").passed


@pytest.mark.parametrize("family", FAMILIES)
def test_a_graph_for_gpus_says_the_same_in_fewer_nodes(family: str, tmp_path: Path):
    bundle = uneven(family)
    heads = bundle.anatomy.heads_by_layer()
    # Where both write other nodes, both are looked at: exporting takes a while for each.
    graphs = [
        build_graph(bundle, tmp_path / f"{kernels}.onnx", attention="fused", kernels=kernels)
        for kernels in (("cuda", "webgpu") if family in ("gpt2", "llama") else ("cuda",))
    ]
    for graph in graphs:
        found = [fusion(graph, heads, "fused"), parity(bundle, graph, seed=5), nameless(graph)]
        assert [(one.name, one.detail) for one in found if not one.passed] == []
        counted = operators(read_proto(graph.path))
        assert counted["Attention"] + counted["MultiHeadAttention"] == len(heads)
        assert {node.domain for node in read_proto(graph.path).graph.node if "Attention" in node.op_type} == {MICROSOFT}
        shape = Shape(2, bundle.max_tokens if bundle.task.modality == "image" else 9)
        assert work_of(replace(bundle, model=graph), shape).flops == work_of(bundle, shape).flops


@pytest.mark.parametrize("family", ["modernbert", "mpnet"])
def test_a_head_for_each_token_is_right_on_real_tokens(family: str, tmp_path: Path):
    bundle = task_bundle(task_of("token-classification"), family)
    graph = build_graph(bundle, tmp_path / "model.onnx", attention="fused")
    assert parity(bundle, graph, seed=5).passed
