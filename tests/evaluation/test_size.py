"""Size is counted, and whoever counts it comes to the same: the graph, torch and the anatomy."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from tiny import LABELS, tiny_bundle, tiny_split

from compress.bundle import Bundle
from compress.deploy import Deploy, Shape
from compress.errors import ExportError
from compress.price import Price
from evaluation.measurement import Measurement, Target
from evaluation.sitting import Conditions, Opened, Subject
from evaluation.size import flops
from evaluation.size.cost import cost_rows
from evaluation.size.flops import input_shapes, work_of
from evaluation.size.live import live_bytes
from evaluation.size.parts import part_rows
from evaluation.size.size import size_comparison, size_rows

SHAPES = (Shape(1, 7), Shape(3, 16))
PRICE = Price(per_hour=0.18, currency="EUR")
CONDITIONS = Conditions(tiny_split("test", 4), Deploy(threads=1, shapes=SHAPES), "cpu", ("accuracy",), seed=0)


def opened(bundle: Bundle, weight_bytes: int = 1000, runtime: str = "none") -> Opened:
    """A target that is open in name only: nothing here runs it."""
    target = Target(name="it", kind="result", title="it", runtime=runtime, form=bundle.form.value)
    session: Any = SimpleNamespace(weight_bytes=weight_bytes)
    return Opened(Subject(target, bundle), session, {})


@pytest.mark.parametrize("cut", ["even-fused", "even-plain", "uneven-fused", "uneven-plain"])
def test_graph_torch_and_anatomy_count_the_same(cut: str, exported: dict[str, tuple[Bundle, Bundle]]):
    model, graph = exported[cut]
    for shape in SHAPES:
        by_torch, by_graph = work_of(model, shape), work_of(graph, shape)
        assert (by_torch.counted, by_graph.counted) == ("torch", "graph")
        assert by_graph.flops == pytest.approx(by_torch.flops, rel=0.01)
        assert model.anatomy.flops(shape.batch, shape.tokens) == pytest.approx(by_torch.flops, rel=0.01)


def test_quantizing_changes_neither_the_products_nor_how_many_there_are(
    quantized_bundle: Bundle, exported: dict[str, tuple[Bundle, Bundle]]
):
    for shape in SHAPES:
        assert work_of(quantized_bundle, shape).flops == work_of(exported["even-fused"][1], shape).flops


def test_intermediate_tensors_grow_with_the_batch_and_scores_with_the_square_of_the_tokens(
    exported: dict[str, tuple[Bundle, Bundle]],
):
    held = {
        (form, shape): work_of(exported[f"even-{form}"][1], shape).activation_bytes
        for form in ("fused", "plain")
        for shape in (Shape(1, 32), Shape(4, 32), Shape(1, 64))
    }
    for form in ("fused", "plain"):
        assert held[form, Shape(4, 32)] == pytest.approx(4 * held[form, Shape(1, 32)], rel=0.05)
    # Attention as one node never writes its scores down, (heads, tokens, tokens) of them.
    assert held["fused", Shape(1, 64)] < 2.5 * held["fused", Shape(1, 32)]
    assert held["plain", Shape(1, 64)] > 2.5 * held["plain", Shape(1, 32)]


class Chain(torch.nn.Module):
    """Four steps of which each reads the one before; the last reads the first too, if that is kept."""

    def __init__(self, keep: bool) -> None:
        super().__init__()
        self.keep, self.weight = keep, torch.nn.Parameter(torch.ones(4, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        step = self.weight[:4] + x
        first = step if self.keep else None
        step = torch.sigmoid(step.view(-1))
        step = torch.exp(step)
        return torch.tanh(step) if first is None else step + first.view(-1)


@pytest.mark.parametrize(("keep", "at_once"), [(False, 2), (True, 3)])
def test_a_tensor_lives_until_nothing_holds_it_and_views_weights_and_inputs_count_nothing(keep: bool, at_once: int):
    size_bytes = 4 * 8 * 4
    assert live_bytes(Chain(keep), {"x": torch.ones(4, 8)}) == at_once * size_bytes


@pytest.mark.parametrize("family", ["bert", "modernbert", "vit"])
def test_what_lives_in_a_large_batch_follows_from_small_ones(family: str):
    bundle = tiny_bundle(family)
    inputs = {
        name: torch.ones(sizes, dtype=torch.float32 if len(sizes) > 2 else torch.int64)
        for name, sizes in input_shapes(bundle, Shape(5, 16)).items()
    }
    if "token_type_ids" in inputs:
        inputs["token_type_ids"].zero_()
    assert work_of(bundle, Shape(5, 16)).activation_bytes == live_bytes(bundle.module, inputs)


def test_eager_attention_writes_its_scores_down_in_torch_too():
    bundle = tiny_bundle()
    held = {}
    for attention in ("sdpa", "eager"):
        bundle.module.set_attn_implementation(attention)
        held[attention] = [work_of(bundle, Shape(1, tokens)).activation_bytes or 0 for tokens in (16, 64)]
    assert held["sdpa"][1] < 5 * held["sdpa"][0]
    assert held["eager"][1] > 5 * held["eager"][0]


def test_counting_leaves_the_model_as_it_was():
    bundle = tiny_bundle()
    before, attention = bundle.digest, bundle.module.config._attn_implementation
    work_of(bundle, SHAPES[0])
    assert replace(bundle).digest == before
    assert bundle.module.config._attn_implementation == attention


def test_a_graph_that_cannot_be_read_here_is_counted_by_its_anatomy(
    exported: dict[str, tuple[Bundle, Bundle]], monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_given: object) -> None:
        raise ExportError("an operator that is for GPUs alone")

    monkeypatch.setattr(flops, "shaped_graph", refuse)
    bundle = exported["uneven-fused"][1]
    work = work_of(bundle, SHAPES[1])
    assert (work.flops, work.counted) == (bundle.anatomy.flops(3, 16), "anatomy")
    assert work.activation_bytes is None


def test_every_figure_is_there_for_every_shape(exported: dict[str, tuple[Bundle, Bundle]]):
    model, graph = exported["uneven-fused"]
    for bundle, runtime, memory in (
        (model, "torch-fp32", 2),
        (model, "torch-compile", 0),  # fuses what eager torch writes down
        (graph, "onnxruntime", 2),
    ):
        rows = size_rows(opened(bundle, runtime=runtime), CONDITIONS)
        once = {row.name: row.value for row in rows if not row.conditions}
        assert once == {
            "parameters": bundle.anatomy.parameters,
            "encoder_parameters": bundle.anatomy.encoder_parameters,
            "embedding_parameters": bundle.anatomy.rest_of("embeddings"),
            "bytes": 1000,
        }
        assert [row.conditions["tokens"] for row in rows if row.name == "flops"] == [7, 16]
        assert len([row for row in rows if row.name == "activation_bytes"]) == memory
        assert all(row.unit and not row.higher_is_better for row in rows)


def test_half_the_bytes_are_a_ratio_of_two():
    bundle = tiny_bundle()
    found = size_comparison(opened(bundle, 500), opened(bundle, 1000))
    assert (found.value, found.verdict) == (2.0, "better")


@pytest.mark.parametrize("family", ["bert", "albert", "modernbert", "vit"])
def test_parts_add_up_to_the_model(family: str):
    anatomy = tiny_bundle(family, labels=LABELS).anatomy
    rows = part_rows("it", anatomy)
    assert sum(row["parameters"] for row in rows) == anatomy.parameters
    cut = anatomy.with_units({group.name: 1 for group in anatomy.of_axis("ffn")})
    changed = [new["part"] for old, new in zip(rows, part_rows("it", cut), strict=True) if old != new]
    assert changed == ["ffn"]


def throughput(**conditions: Any) -> Measurement:
    return Measurement(
        target="it",
        name="throughput_per_s",
        value=100.0,
        unit="examples/s",
        low=80.0,
        high=125.0,
        count=9,
        higher_is_better=True,
        conditions=conditions,
    )


def test_a_million_requests_cost_what_the_hours_for_them_cost():
    [row] = cost_rows([throughput(batch=8, tokens=128)], PRICE)
    hours = 1_000_000 / 100 / 3600
    assert row.value == pytest.approx(0.18 * hours)
    assert (row.low, row.high) == (pytest.approx(0.18 * hours * 0.8), pytest.approx(0.18 * hours * 1.25))
    assert (row.unit, row.count, row.higher_is_better) == ("EUR", 9, False)
    price = {"of": "the whole machine", "price_per_hour": 0.18, "currency": "EUR"}
    assert row.conditions == {"batch": 8, "tokens": 128, **price}


def test_without_a_price_or_a_shape_nothing_has_a_cost():
    assert cost_rows([throughput(batch=8, tokens=128)], None) == []
    assert cost_rows([throughput(batch=1, inputs="texts")], PRICE) == []
    other = throughput(batch=1, tokens=8).model_copy(update={"name": "latency_p50_ms"})
    assert cost_rows([other], PRICE) == []


@pytest.mark.parametrize("fields", [{"per_hour": 0}, {"per_hour": -1}, {"currency": "dollars"}, {"per_hor": 1}])
def test_a_price_that_is_none_is_refused(fields: dict[str, Any]):
    with pytest.raises(ValidationError):
        Price.model_validate({"per_hour": 0.17, "currency": "USD"} | fields)
