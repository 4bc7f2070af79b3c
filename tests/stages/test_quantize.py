"""The quantize stage: which way it takes, and what it says of those that it did not take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from compress.bundle import Bundle
from compress.graph.inspect import operators, products, read_proto
from compress.graph.static import product_inputs
from compress.runner import _shown
from compress.stage import Context
from compress.stages import quantize
from compress.stages.quantize import Quantize

Exported = dict[str, tuple[Bundle, Bundle]]
WAYS = ("dynamic_int8", "static_int8", "static_int8, outliers split", "weight_int8")


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Says what each way takes, and how far each moves the scores, instead of measuring it."""

    def say(times: tuple[float, ...], errors: tuple[float, ...]) -> None:
        by_way = dict(zip(WAYS, times, strict=True))
        monkeypatch.setattr(quantize, "race", lambda graphs, *_, **__: {name: by_way[name] for name in graphs})
        judge = lambda graph: errors[int(graph.path.stem[-1])]  # noqa: E731  `way-0.onnx` and so on
        monkeypatch.setattr("compress.graph.sensitivity.judge_of", lambda *_: judge)

    return say


def applied(bundle: Bundle, make_context: Callable[..., Context], **settings: Any) -> tuple[Bundle, dict[str, Any]]:
    recorded: dict[str, Any] = {}
    stage = Quantize(method="fastest", **settings)
    return stage.apply(bundle, make_context(record=recorded.__setitem__)), recorded


@pytest.mark.parametrize(
    ("times", "chosen"),
    [
        ((1.0, 2.0, 3.0, 4.0), "dynamic_int8"),
        ((3.0, 1.0, 2.0, 4.0), "static_int8, outliers split"),
        ((3.0, 1.0, 9.0, 4.0), "dynamic_int8"),
        ((3.0, 1.0, 9.0, 2.0), "weight_int8"),
    ],
)
def test_the_fastest_that_keeps_the_budget_is_taken_and_the_others_are_told(
    exported: Exported, make_context, measured, times, chosen
):
    measured(times, (0.04, 0.2, 0.01, 0.005))
    after, recorded = applied(exported["even-fused"][1], make_context, logit_error=0.05)
    assert [one["way"] for one in recorded["ways"]] == list(WAYS)
    assert [one["way"] for one in recorded["ways"] if one["chosen"]] == [chosen]
    assert [one["ms"] for one in recorded["ways"]] == list(times)
    assert "sensitivity" not in recorded, "nothing has to stay in float"
    made_of = operators(read_proto(after.graph.path))
    assert (made_of["MatMulIntegerToFloat"] > 0) == chosen.startswith("static")
    assert (made_of["DynamicQuantizeLinear"] > 0) == chosen.startswith("dynamic")
    assert (made_of["MatMulNBits"] > 0) == chosen.startswith("weight")


def test_where_none_keeps_it_the_truest_keeps_operators_in_float(
    exported: Exported, make_context, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(quantize, "race", lambda graphs, *_, **__: dict.fromkeys(graphs, 1.0))
    after, recorded = applied(exported["even-fused"][1], make_context, logit_error=0.07)
    [best] = [one for one in recorded["ways"] if one["chosen"]]
    assert best["logit error"] == min(one["logit error"] for one in recorded["ways"]) > 0.07
    in_float = [one["operator"] for one in recorded["sensitivity"] if one["stays in float"]]
    assert 0 < len(in_float) < len(recorded["sensitivity"])
    left = products(read_proto(after.graph.path))
    assert {*left.float_products, *left.float_tables} == set(in_float)
    last = max(recorded["operators_in_float"], key=lambda one: one["in float"])
    assert last["logit error"] <= 0.07


def test_without_a_budget_fastest_is_refused():
    with pytest.raises(ValueError, match="fastest: needs a logit_error, the budget"):
        Quantize(method="fastest")


def test_the_form_of_products_follows_from_what_is_deployed_on(exported: Exported, make_context):
    bundle, context = exported["even-fused"][1], make_context()
    for runtime, operator in (("onnxruntime", "MatMulIntegerToFloat"), ("openvino", "MatMul")):
        deploy = context.deploy.model_copy(update={"runtime": runtime})
        graph = Quantize(method="static_int8").apply(bundle, make_context(deploy=deploy)).graph
        assert operators(read_proto(graph.path))[operator] >= len(product_inputs(bundle.graph))


@pytest.mark.parametrize("method", ["dynamic_int8", "static_int8", "weight_int8", "weight_int4", "fastest"])
@pytest.mark.parametrize("settings", [{}, {"logit_error": 0.95}])
def test_no_method_looks_at_what_it_does_not_name(
    exported: Exported, make_context, monkeypatch: pytest.MonkeyPatch, method: str, settings: dict[str, Any]
):
    """As the runner applies it: what a stage's `sees` leaves out is withheld."""
    monkeypatch.setattr(quantize, "race", lambda graphs, *_, **__: dict.fromkeys(graphs, 1.0))
    stage = Quantize(method=method, **{"logit_error": 0.95} if method == "fastest" else settings)
    context = make_context()
    sights = {
        name: getattr(context, name) for name in ("train", "dev", "calibration", "deploy", "transfer", "reference")
    }
    after = stage.apply(exported["even-fused"][1], replace(context, **_shown(stage, sights)))
    assert after.graph.precision == stage.precision
