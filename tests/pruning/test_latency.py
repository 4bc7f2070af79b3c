"""Laws of the latency table: it foretells what it was made of, and a cut by latency lands where it was asked to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from tiny import tiny_bundle

from compress.bundle import Bundle, Form
from compress.criteria.magnitude import Magnitude
from compress.deploy import Deploy
from compress.errors import CompressError, ModelError
from compress.pruning import latency
from compress.pruning.latency import Timing, measure_table
from compress.pruning.latency_table import LatencyTable, Timed
from compress.pruning.target import Target
from compress.stage import Context
from compress.stages.prune import Prune
from compress.training.distillation import Distillation

PRICES, REST = {"heads": 3.0, "ffn": 0.1}, 10.0


def milliseconds(bundle: Bundle) -> float:
    """What a made-up machine takes: so much a head and a channel, and a part that no cut changes."""
    return REST + sum(PRICES[group.axis] * group.units for group in bundle.anatomy.groups)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Timing on the made-up machine; gives the names of the variants that were timed."""
    timed: list[str] = []

    def fractions(
        _self: Timing, whole: Bundle, variants: Mapping[str, Callable[[], Bundle]]
    ) -> tuple[float, dict[str, float]]:
        timed.extend(variants)
        whole_ms = milliseconds(whole)
        return whole_ms, {name: milliseconds(make()) / whole_ms for name, make in variants.items()}

    monkeypatch.setattr(Timing, "fractions", fractions)
    return timed


def _slow_down_cuts(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    """A cut takes so much longer than the table foretells."""
    honest = Timing.fractions

    def slower(self: Timing, whole: Bundle, variants: Any) -> Any:
        whole_ms, parts = honest(self, whole, variants)
        return whole_ms, {name: part * (factor if name == "cut" else 1.0) for name, part in parts.items()}

    monkeypatch.setattr(Timing, "fractions", slower)


def table_of(bundle: Bundle, context: Context, block: int = 8) -> LatencyTable:
    timing = Timing(
        context.deploy, context.deploy.shapes[0], "fused", context.calibration, context.scratch, 0, lambda *_: None
    )
    return measure_table(bundle, ("heads", "ffn"), lambda group: block if group.axis == "ffn" else 1, timing)


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("family", ["bert", "albert"])
def test_the_table_foretells_any_cut_of_a_machine_on_which_widths_add_up(
    family: str, make_context: Callable[..., Context]
):
    bundle = tiny_bundle(family)
    table = table_of(bundle, make_context())
    timed = Timed(bundle.anatomy, table, bundle.anatomy)
    assert _foretold(timed, {}) == pytest.approx(1.0)
    half = {group.name: group.units // 2 for group in bundle.anatomy.groups}
    cut = bundle.anatomy.with_units(half)
    wanted = REST + sum(PRICES[group.axis] * group.units for group in cut.groups)
    assert _foretold(timed, half) == pytest.approx(wanted / milliseconds(bundle))


def _foretold(timed: Timed, units: Mapping[str, int]) -> float:
    return timed.whole() - sum(
        timed.group(group, group.units) - timed.group(group, units.get(group.name, group.units))
        for group in timed.anatomy.groups
    )


@pytest.mark.usefixtures("machine")
def test_costs_rise_with_units_and_begin_at_none(make_context: Callable[..., Context]):
    bundle = tiny_bundle()
    table = table_of(bundle, make_context())
    for group in bundle.anatomy.groups:
        costs = [
            Timed(bundle.anatomy, table, bundle.anatomy).group(group, units) for units in range(1, group.units + 1)
        ]
        assert costs == sorted(costs)
        assert costs[0] == pytest.approx(0.0)
    assert LatencyTable.from_json(table.as_json()) == LatencyTable(
        table.whole_ms, {k: list(v) for k, v in table.widths.items()}
    )


def test_a_narrower_width_that_is_timed_slower_counts_as_the_wider(
    monkeypatch: pytest.MonkeyPatch, make_context: Callable[..., Context]
):
    monkeypatch.setattr(
        Timing,
        "fractions",
        lambda _self, _whole, variants: (1.0, {name: 0.9 if name.endswith("1") else 0.8 for name in variants}),
    )
    widths = table_of(tiny_bundle(), make_context()).widths
    for rows in widths.values():
        parts = [part for _, part in rows]
        assert parts == sorted(parts)
        assert parts[-1] == 1.0


@pytest.mark.parametrize("asked", [0.85, 0.6, 0.4])
def test_a_cut_by_latency_takes_what_was_asked_for(
    machine: list[str], asked: float, make_context: Callable[..., Context]
):
    bundle, told = tiny_bundle(), dict[str, Any]()
    stage = Prune(target=Target(latency=asked), criterion=Magnitude(), round_to=1)
    cut = stage.apply(bundle, make_context(record=told.__setitem__))
    assert milliseconds(cut) / milliseconds(bundle) == pytest.approx(asked, abs=0.02)
    assert machine.count("cut") == len(told["latency"]) == 1
    assert told["latency"][0]["measured"] == pytest.approx(milliseconds(cut) / milliseconds(bundle))


def test_a_cut_that_takes_longer_than_foretold_is_corrected_once(
    machine: list[str], monkeypatch: pytest.MonkeyPatch, make_context: Callable[..., Context]
):
    _slow_down_cuts(monkeypatch, 1.2)
    bundle, told = tiny_bundle(), dict[str, Any]()
    stage = Prune(target=Target(latency=0.6), criterion=Magnitude(), round_to=1)
    cut = stage.apply(bundle, make_context(record=told.__setitem__))
    assert [round(row["measured"], 1) for row in told["latency"]] == [0.7, 0.6]
    assert 1.2 * milliseconds(cut) / milliseconds(bundle) == pytest.approx(0.6, abs=0.02)


@pytest.mark.usefixtures("machine")
def test_a_table_foretells_what_a_cut_model_takes(make_context: Callable[..., Context]):
    whole = tiny_bundle()
    table = table_of(whole, make_context())
    half = whole.anatomy.with_units({group.name: max(1, group.units // 2) for group in whole.anatomy.groups})
    wanted = (REST + sum(PRICES[group.axis] * group.units for group in half.groups)) / milliseconds(whole)
    assert Timed(half, table, whole.anatomy).whole() == pytest.approx(wanted)


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("axes", [("heads", "ffn"), ("heads", "ffn", "layers"), ("layers",)])
def test_several_steps_end_at_the_latency(
    axes: tuple[str, ...], make_context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
):
    whole = tiny_bundle()
    monkeypatch.setattr(Distillation, "teach", lambda _self, student, _context, **_more: student)
    stage = Prune(
        target=Target(latency=0.5), axes=axes, criterion=Magnitude(), steps=3, distill=Distillation(), round_to=1
    )
    told: list[dict[str, Any]] = []
    cut = stage.apply(whole, make_context(check=lambda **gate: told.append(gate), reference=whole))
    part = milliseconds(cut) / milliseconds(whole)
    assert part <= 0.5 * 1.02
    assert axes == ("layers",) or part > 0.47
    assert [gate["passed"] for gate in told] == [True], "the last step alone is judged"


@pytest.mark.usefixtures("machine")
def test_a_step_that_went_as_far_as_the_next_one_should_is_no_fault(
    make_context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
):
    _slow_down_cuts(monkeypatch, 1.05)
    whole, told = tiny_bundle(), list[dict[str, Any]]()
    stage = Prune(target=Target(latency=0.5), criterion=Magnitude(), repair="least_squares", steps=6, round_to=16)
    cut = stage.apply(whole, make_context(check=lambda **gate: told.append(gate)))
    assert milliseconds(cut) < milliseconds(whole)
    assert len(told) == 1


def test_a_cut_that_is_slower_than_asked_fails_a_gate_and_stands(
    machine: list[str], monkeypatch: pytest.MonkeyPatch, make_context: Callable[..., Context]
):
    _slow_down_cuts(monkeypatch, 1.5)
    told: list[dict[str, Any]] = []
    stage = Prune(target=Target(latency=0.28), criterion=Magnitude(), round_to=1)
    stage.apply(tiny_bundle(), make_context(check=lambda **gate: told.append(gate)))
    assert [(gate["name"], gate["passed"]) for gate in told] == [("latency", False)]
    assert machine.count("cut") == 1, "the corrected budget is beyond what the axes can reach"


@pytest.mark.usefixtures("machine")
def test_a_table_is_made_once_for_all_targets(make_context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch):
    kept: dict[str, Any] = {}
    made: list[int] = []
    monkeypatch.setattr(latency, "WIDTHS", 3)

    def keep(about: Mapping[str, Any], make: Callable[[], Any]) -> Any:
        key = repr(sorted(about.items(), key=str))
        if key not in kept:
            made.append(1)
            kept[key] = make()
        return kept[key]

    for asked in (0.8, 0.5):
        cut = Prune(target=Target(latency=asked), criterion=Magnitude()).apply(tiny_bundle(), make_context(kept=keep))
    assert len(made) == 1 + 2, "one table, and the two choices"
    again = Prune(target=Target(latency=0.5), criterion=Magnitude()).apply(tiny_bundle(), make_context(kept=keep))
    assert len(made) == 3
    assert again.digest == cut.digest


def test_a_torch_runtime_times_the_model_as_it_is(
    make_context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(latency, "WIDTHS", 2)
    monkeypatch.setattr(latency, "ROUNDS", 2)
    monkeypatch.setattr(Timing, "_exported", None)
    context = make_context(deploy=Deploy(runtime="torch-fp32", threads=1, shapes=("1x8",)))
    assert table_of(tiny_bundle(), context).whole_ms > 0


@pytest.mark.parametrize(
    ("deploy", "told"),
    [
        (Deploy(threads=1, precision="int4"), "no graph can be made in int4"),
        (Deploy(threads=1, runtime="onnxruntime-cuda-graph"), "can't be measured on onnxruntime-cuda-graph: "),
    ],
)
def test_a_deployment_that_can_not_be_timed_is_told(deploy: Deploy, told: str, make_context: Callable[..., Context]):
    with pytest.raises(ModelError, match=told):
        table_of(tiny_bundle(), make_context(deploy=deploy))


@pytest.mark.slow
def test_a_real_sitting_gives_a_table(make_context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(latency, "WIDTHS", 2)
    monkeypatch.setattr(latency, "ROUNDS", 2)
    table = table_of(tiny_bundle(), make_context())
    assert table.whole_ms > 0
    assert {axis: [units for units, _ in rows] for axis, rows in table.widths.items()} == {
        "heads": [1, 4],
        "ffn": [8, 64],
    }


def test_a_stage_sees_the_deployment_only_where_it_times():
    by_latency = Prune(target=Target(latency=0.5), criterion=Magnitude())
    assert "deploy" in by_latency.sees
    assert "deploy" not in Prune(target=Target(flops=0.5), criterion=Magnitude()).sees


def test_what_can_be_reached_is_not_judged_by_flops():
    """Heads alone leave 0.8 of these FLOPs; on a machine where they take most of the time a half may be met."""
    anatomy = tiny_bundle().anatomy
    smallest = anatomy.with_units({group.name: 1 for group in anatomy.of_axis("heads")})
    stage = Prune(target=Target(latency=0.1), axes=("heads",), criterion=Magnitude())
    assert stage.predict(anatomy) == smallest
    with pytest.raises(ModelError, match="the nearest that these axes can reach"):
        Prune(target=Target(flops=0.1), axes=("heads",), criterion=Magnitude()).predict(anatomy)


def test_a_latency_is_foretold_at_its_own_length():
    anatomy = tiny_bundle().anatomy
    short, long = (Target(latency=0.5, shape=shape) for shape in ("1x8", "1x64"))
    assert (short.cost(anatomy), long.cost(anatomy)) == (anatomy.flops(1, 8), anatomy.flops(1, 64))


@pytest.mark.parametrize(
    ("target", "deploy", "told"),
    [
        ({"latency": 0.5, "shape": "1x128"}, {}, "shape 1x128: the model reads 64 tokens at most"),
        ({"latency": 0.5}, {"precision": "int4"}, "no graph can be made in int4"),
        ({"latency": 0.5}, {"shapes": ("1x128",)}, "shape 1x128"),
        ({"flops": 0.5}, {"precision": "int4", "shapes": ("1x128",)}, ""),
        ({"latency": 0.5}, {"precision": "bf16", "runtime": "torch-bf16"}, ""),
        ({"latency": 0.5}, {"precision": "fp16"}, ""),
        ({"latency": 0.5}, {"precision": "bf16"}, ""),
    ],
)
def test_what_can_not_be_timed_is_told_before_anything_is_done(
    target: dict[str, Any], deploy: dict[str, Any], told: str
):
    stage = Prune(target=Target(**target), criterion=Magnitude())
    settled = Deploy(**{"shapes": ("1x8",), **deploy})
    if not told:
        stage.check_deployment(settled, 64, fixed=False)
        return
    with pytest.raises(CompressError, match=told):
        stage.check_deployment(settled, 64, fixed=False)


class Counting:
    """A runtime that counts how many models are open."""

    form = Form.TORCH

    def __init__(self) -> None:
        self.open_now, self.most = 0, 0

    def obstacle(self, _device: str) -> None:
        return None

    def open(self, _bundle: Bundle, **_how: Any) -> Counting:
        self.open_now += 1
        self.most = max(self.most, self.open_now)
        return self

    def bind(self, _inputs: Any) -> Callable[[], None]:
        return lambda: None

    def close(self) -> None:
        self.open_now -= 1


def test_few_models_are_open_at_a_time_and_none_in_the_end(
    make_context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
):
    runtime = Counting()
    monkeypatch.setattr(latency, "runtime_of", lambda _name: runtime)
    monkeypatch.setattr(latency, "ROUNDS", 1)
    table = table_of(tiny_bundle(), make_context())
    stage = Prune(target=Target(latency=0.5), criterion=Magnitude())
    assert sum(len(rows) - 1 for rows in table.widths.values()) > latency.TOGETHER
    assert (runtime.most, runtime.open_now) == (latency.TOGETHER + 1, 0)
    assert stage.timed_at_once == runtime.most
    assert Prune(target=Target(flops=0.5), criterion=Magnitude()).timed_at_once == 0
