"""Which operators stay in float: those that cost most, as few as keep the budget, and none where none is needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from tiny import tiny_split

from compress.bundle import Bundle, OnnxGraph
from compress.errors import DataError, ExportError
from compress.graph.inspect import products, read_proto
from compress.graph.quantize import dynamic_int8
from compress.graph.sensitivity import Effect, judge_of, scan, within
from compress.graph.verify import quantized
from compress.stage import Context
from compress.stages.quantize import Quantize

Exported = dict[str, tuple[Bundle, Bundle]]

in_seven_bits = partial(dynamic_int8, reduce_range=True)
"""So that what integers cost does not depend on the CPU."""


@pytest.fixture(scope="module")
def spoilt(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, str]:
    """A graph one of whose products suffers from integers: each of its channels has one huge weight, that reads an
    input which is always about nothing. And that product's name."""
    made = exported["even-fused"][1]
    proto = onnx.load(made.graph.path)
    node = [each for each in proto.graph.node if each.op_type == "MatMul"][5]
    [weight] = [tensor for tensor in proto.graph.initializer if tensor.name == node.input[1]]
    value = numpy_helper.to_array(weight).copy()
    value[0] = 300.0
    weight.CopyFrom(numpy_helper.from_array(value, weight.name))
    mask = np.ones(value.shape[0], np.float32)
    mask[0] = 0
    proto.graph.initializer.append(numpy_helper.from_array(mask, "mask"))
    place = list(proto.graph.node).index(node)
    proto.graph.node.insert(place, onnx.helper.make_node("Mul", [node.input[0], "mask"], ["masked"], name="masking"))
    node.input[0] = "masked"
    path = tmp_path_factory.mktemp("spoilt") / "model.onnx"
    onnx.save(proto, path)
    return replace(made, model=OnnxGraph(path)), node.name


def quiet(_done: float, _message: str) -> None:
    """Nobody listens."""


def test_the_operator_that_suffers_most_is_found_and_kept(spoilt: tuple[Bundle, str], tmp_path: Path):
    bundle, name = spoilt
    judge = judge_of(bundle, bundle.graph, tiny_split("dev", 24, seed=5))
    assert judge(bundle.graph) == 0
    effects = scan(bundle.graph, in_seven_bits, judge, tmp_path, quiet)
    found = products(read_proto(bundle.graph.path))
    assert {effect.operator for effect in effects} == {*found.float_products, *found.float_tables}
    assert effects[0].operator == name
    assert effects[0].error > 3 * effects[1].error
    whole = judge(in_seven_bits(bundle.graph, tmp_path / "all.onnx"))
    budget = (whole + judge(in_seven_bits(bundle.graph, tmp_path / "but.onnx", keep=[name]))) / 2
    kept, tried = within(budget, bundle.graph, tmp_path / "x.onnx", in_seven_bits, judge, effects)
    assert kept == [name]
    assert tried[0] == {"in float": 0, "logit error": pytest.approx(whole)}


def errors(*by_count: float) -> tuple[Callable[..., OnnxGraph], Callable[[OnnxGraph], float], list[Effect], list[int]]:
    """A made-up quantizer and judge: the error with so many operators in float."""
    asked: list[int] = []

    def quantizer(_graph: OnnxGraph, path: Path, *, keep: Sequence[str]) -> OnnxGraph:
        asked.append(len(keep))
        return OnnxGraph(path.with_name(str(len(keep))))

    def judge(graph: OnnxGraph) -> float:
        return by_count[int(graph.path.name)]

    effects = [Effect(f"op{place}", 1.0 / (place + 1)) for place in range(len(by_count) - 1)]
    return quantizer, judge, effects, asked


@pytest.mark.parametrize(("budget", "count"), [(0.9, 0), (0.5, 1), (0.3, 2), (0.2, 4), (0.05, 7)])
def test_as_few_stay_in_float_as_keep_the_budget(budget: float, count: int):
    quantizer, judge, effects, asked = errors(0.8, 0.45, 0.3, 0.25, 0.2, 0.1, 0.08, 0.04, 0.0)
    kept, tried = within(budget, OnnxGraph(Path("g")), Path("x"), quantizer, judge, effects)
    assert kept == [f"op{place}" for place in range(count)]
    assert len(asked) == len(set(asked)) == len(tried) <= 5
    assert any(row["in float"] == count and row["logit error"] <= budget for row in tried)


def test_a_budget_that_leaves_nothing_to_quantize_is_refused_with_the_nearest():
    quantizer, judge, effects, _ = errors(0.8, 0.6, 0.3, 0.0)
    with pytest.raises(
        ExportError, match=r"logit_error 0.1 is kept only where nothing is quantized; the nearest is 0.3"
    ):
        within(0.1, OnnxGraph(Path("g")), Path("x"), quantizer, judge, effects)


def test_the_stage_keeps_its_budget_and_says_what_stays(
    spoilt: tuple[Bundle, str], make_context: Callable[..., Context], tmp_path: Path
):
    bundle, name = spoilt
    dev = tiny_split("dev", 24, seed=5)
    judge = judge_of(bundle, bundle.graph, dev)
    all_but = judge(in_seven_bits(bundle.graph, tmp_path / "but.onnx", keep=[name]))
    recorded, gates = dict[str, Any](), dict[str, Any]()
    stage = Quantize(reduce_range=True, logit_error=1.05 * all_but)
    context = make_context(
        dev=dev, record=recorded.__setitem__, check=lambda **gate: gates.update({gate["name"]: gate})
    )
    after = stage.apply(bundle, context)
    assert judge(after.graph) <= 1.05 * all_but
    assert [row["operator"] for row in recorded["sensitivity"] if row["stays in float"]] == [name]
    assert name in products(read_proto(after.graph.path)).float_products
    assert gates["quantized_operators"]["passed"]
    assert "1 more stay in float as they should" in gates["quantized_operators"]["detail"]
    assert not quantized(bundle.graph, after.graph, at_least=0).passed, "without being told it is one that was missed"
    assert stage.sees == ("calibration", "dev")
    assert Quantize().sees == ("calibration",)


def test_what_was_chosen_once_is_chosen_again(
    spoilt: tuple[Bundle, str], make_context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
):
    bundle, name = spoilt
    context = make_context(kept=lambda _about, _make: [[[name, 1.0]], [name], [{"in float": 1, "logit error": 0.1}]])
    monkeypatch.setattr("compress.graph.sensitivity.judge_of", None)
    after = Quantize(logit_error=0.2).apply(bundle, context)
    assert name in products(read_proto(after.graph.path)).float_products


def test_a_budget_needs_something_to_be_judged_on(exported: Exported, make_context: Callable[..., Context]):
    bundle = exported["even-fused"][1]
    with pytest.raises(DataError, match="logit_error: dev has 0 examples"):
        Quantize(logit_error=0.1).apply(bundle, make_context(dev=tiny_split("dev", 0)))
