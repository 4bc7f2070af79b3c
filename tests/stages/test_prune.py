"""The prune stage: targets are met in what they count, and nothing is cut that was not to be."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from pydantic import ValidationError
from tiny import logits_of, mixed_inputs, tiny_bundle, tiny_split

from compress.bundle import Bundle
from compress.criteria.magnitude import Magnitude
from compress.errors import DataError, ModelError
from compress.pruning.allocation import Kept
from compress.pruning.target import Target
from compress.stage import Context
from compress.stages.prune import Prune
from compress.training.distillation import Distillation, LogitsLoss, Losses

TARGETS = [Target(parameters=0.75), Target(encoder_parameters=0.6), Target(flops=0.6, tokens=32)]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("allocation", ["global", "optimal", "uniform"])
def test_the_target_is_met_and_missed_by_less_than_a_block(
    bundle: Bundle, make_context: Callable[..., Context], target: Target, allocation: str
):
    stage = Prune(target=target, criterion=Magnitude(), allocation=allocation, round_to=8)
    cut = stage.apply(bundle, make_context())
    budget = target.fraction * target.cost(bundle.anatomy)
    smaller = [{g.name: g.units - (8 if g.axis == "ffn" else 1)} for g in bundle.anatomy.groups]
    block = max(target.cost(bundle.anatomy) - target.cost(bundle.anatomy.with_units(each)) for each in smaller)
    assert budget - block < target.cost(cut.anatomy) <= budget
    assert all(group.units % 8 == 0 for group in cut.anatomy.of_axis("ffn"))
    assert abs(target.cost(stage.predict(bundle.anatomy)) - target.cost(cut.anatomy)) < block


@pytest.mark.parametrize("axis", ["heads", "ffn"])
def test_only_the_named_axis_is_cut(bundle: Bundle, make_context: Callable[..., Context], axis: str):
    stage = Prune(target=Target(encoder_parameters=0.8), axes=(axis,), criterion=Magnitude())
    cut = stage.apply(bundle, make_context())
    other = "ffn" if axis == "heads" else "heads"
    assert cut.anatomy.of_axis(other) == bundle.anatomy.of_axis(other)
    assert cut.anatomy.of_axis(axis) != bundle.anatomy.of_axis(axis)


def test_uniform_cuts_all_layers_alike(bundle: Bundle, make_context: Callable[..., Context]):
    stage = Prune(target=Target(encoder_parameters=0.7), criterion=Magnitude(), allocation="uniform", round_to=4)
    cut = stage.apply(bundle, make_context())
    for axis, block in (("heads", 1), ("ffn", 4)):
        counts = [group.units for group in cut.anatomy.of_axis(axis)]
        assert max(counts) - min(counts) <= block


def test_repair_brings_the_outputs_nearer(bundle: Bundle, make_context: Callable[..., Context]):
    settings = {"target": Target(encoder_parameters=0.8), "criterion": Magnitude()}
    bare, mended = (Prune(**settings, repair=how).apply(bundle, make_context()) for how in ("none", "least_squares"))
    assert bare.anatomy == mended.anatomy
    inputs = mixed_inputs(bundle, batch=8)
    wanted = logits_of(bundle.module, inputs)
    error = [(logits_of(some.module, inputs) - wanted).square().mean() for some in (bare, mended)]
    assert error[1] < error[0]


def test_what_was_kept_is_recorded(bundle: Bundle, make_context: Callable[..., Context]):
    recorded: dict = {}
    stage = Prune(target=Target(encoder_parameters=0.7), criterion=Magnitude())
    cut = stage.apply(bundle, make_context(record=recorded.__setitem__))
    assert {row["group"]: row["kept"] for row in recorded["units"]} == {g.name: g.units for g in cut.anatomy.groups}


def test_a_broken_model_is_not_ranked(bundle: Bundle, make_context: Callable[..., Context]):
    with torch.no_grad():
        bundle.module.get_submodule(bundle.anatomy.groups[0].slices[0].module).weight[0, 0] = float("nan")
    stage = Prune(target=Target(encoder_parameters=0.7), criterion=Magnitude())
    with pytest.raises(ModelError, match=r"1 of 4 scores of layers\.0\.heads are not finite"):
        stage.apply(bundle, make_context())


@pytest.mark.parametrize("given", [{}, {"flops": 0.5, "parameters": 0.5}, {"flops": 0.0}, {"flops": 1.0}])
def test_a_target_is_one_fraction_between_nothing_and_all(given: dict[str, float]):
    with pytest.raises(ValidationError):
        Target(**given)


def test_a_target_below_what_can_be_reached_is_refused_by_plan_and_run_alike(bundle: Bundle, make_context):
    stage = Prune(target=Target(parameters=0.01), criterion=Magnitude())
    with pytest.raises(ModelError, match=r"the nearest that these axes can reach is 0\.[1-9]"):
        stage.predict(bundle.anatomy)
    with pytest.raises(ModelError, match=r"the nearest that these axes can reach is 0\.[1-9]"):
        stage.apply(bundle, make_context())


@pytest.mark.parametrize("family", ["bert", "distilbert", "gpt2", "llama"])
@pytest.mark.parametrize("axis", ["heads", "kv_groups", "ffn", "hidden", "layers"])
@pytest.mark.parametrize("allocation", ["global", "optimal", "uniform"])
def test_every_axis_meets_a_target_alone(family: str, axis: str, allocation: str, make_context: Callable[..., Context]):
    whole = tiny_bundle(family)
    stage = Prune(
        target=Target(encoder_parameters=0.9), axes=(axis,), criterion=Magnitude(), allocation=allocation, round_to=4
    )
    if axis in ("heads", "kv_groups") and not whole.anatomy.of_axis(axis):
        with pytest.raises(ModelError, match=f"has no {axis}; its axes: "):
            stage.predict(whole.anatomy)
        return
    cut = stage.apply(whole, make_context())
    assert cut.anatomy.encoder_parameters <= 0.9 * whole.anatomy.encoder_parameters
    assert cut.anatomy.parameters == sum(parameter.numel() for parameter in cut.module.parameters())
    changed = {
        "hidden": cut.anatomy.hidden != whole.anatomy.hidden,
        "layers": cut.anatomy.layers != whole.anatomy.layers,
        **{
            each: [group.units for group in cut.anatomy.of_axis(each)][: cut.anatomy.layers]
            != [group.units for group in whole.anatomy.of_axis(each)][: cut.anatomy.layers]
            for each in ("heads", "kv_groups", "ffn")
        },
    }
    assert [each for each, differs in changed.items() if differs] == [axis]


@pytest.mark.parametrize("allocation", ["global", "optimal", "uniform"])
def test_all_axes_together_meet_a_target(allocation: str, make_context: Callable[..., Context]):
    whole = tiny_bundle("llama")
    stage = Prune(
        target=Target(flops=0.3, tokens=16),
        axes=("kv_groups", "ffn", "hidden", "layers"),
        criterion=Magnitude(),
        allocation=allocation,
        repair="least_squares",
        round_to=4,
    )
    cut = stage.apply(whole, make_context())
    assert cut.anatomy.flops(1, 16) <= 0.3 * whole.anatomy.flops(1, 16)
    assert logits_of(cut.module, mixed_inputs(whole)).isfinite().all()


def test_the_layer_that_is_worth_least_leaves(make_context: Callable[..., Context]):
    whole = tiny_bundle()
    silent = whole.anatomy.groups[4:6]  # those of the third layer
    with torch.no_grad():
        for group in silent:
            for part in group.slices:
                whole.module.get_submodule(part.module).weight.mul_(1e-3)
    recorded: dict = {}
    stage = Prune(target=Target(encoder_parameters=0.8), axes=("layers",), criterion=Magnitude())
    cut = stage.apply(whole, make_context(record=recorded.__setitem__))
    assert [row["kept"] for row in recorded["units"] if row["group"] == "layers"] == [3]
    kept = [whole.module.base_model.encoder.layer[index].output.dense.weight for index in (0, 1, 3)]
    left = [layer.output.dense.weight for layer in cut.module.base_model.encoder.layer]
    assert all(torch.equal(one, other) for one, other in zip(kept, left, strict=True))


def test_several_steps_end_at_the_target_and_say_what_each_did(bundle: Bundle, make_context: Callable[..., Context]):
    recorded: dict = {}
    stage = Prune(
        target=Target(encoder_parameters=0.4), criterion=Magnitude(), repair="least_squares", steps=3, round_to=4
    )
    cut = stage.apply(bundle, make_context(record=recorded.__setitem__))
    budget = 0.4 * bundle.anatomy.encoder_parameters
    assert 0.9 * budget < cut.anatomy.encoder_parameters <= budget
    left = [sum(row["kept"] for row in recorded[f"step-{step}.units"]) for step in (1, 2, 3)]
    assert left == sorted(left, reverse=True)
    assert len(set(left)) == 3


def test_between_steps_the_reference_teaches(bundle: Bundle, make_context: Callable[..., Context]):
    settings = {"target": Target(encoder_parameters=0.5), "criterion": Magnitude(), "round_to": 4}
    taught = Prune(
        **settings,
        steps=2,
        distill=Distillation(losses=Losses(logits=LogitsLoss()), epochs=2, learning_rate=1e-3, batch=8),
    )
    assert {"train", "dev", "reference"} <= set(taught.sees)
    recorded: dict = {}
    cut = taught.apply(bundle, make_context(reference=bundle, record=recorded.__setitem__))
    bare = Prune(**settings).apply(bundle, make_context())
    assert {name for name in recorded if name.endswith("loss")} == {"step-1.loss", "step-2.loss"}
    inputs = mixed_inputs(bundle, batch=8)
    wanted = logits_of(bundle.module, inputs)
    error = [(logits_of(some.module, inputs) - wanted).square().mean() for some in (cut, bare)]
    assert error[0] < error[1]
    assert len(taught.trainings(bundle.anatomy)) == 2
    with pytest.raises(ModelError, match="there is no teacher yet"):
        taught.apply(bundle, make_context())


def test_the_vocabulary_is_an_axis_of_its_own_and_beside_others(bundle: Bundle, make_context: Callable[..., Context]):
    alone = Prune(axes=("vocabulary",)).apply(bundle, make_context())
    assert alone.config["vocab_size"] < bundle.config["vocab_size"]
    assert alone.anatomy.groups == bundle.anatomy.groups
    stage = Prune(target=Target(encoder_parameters=0.8), axes=("ffn", "vocabulary"), criterion=Magnitude())
    assert set(stage.sees) == {"calibration", "train"}
    both = stage.apply(bundle, make_context())
    assert both.config["vocab_size"] == alone.config["vocab_size"]
    assert both.anatomy.encoder_parameters <= 0.8 * bundle.anatomy.encoder_parameters


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "target and criterion are needed"),
        ({"axes": ["vocabulary"], "steps": 3, "repair": "bias"}, "which knows no repair, steps"),
        ({"axes": ["heads", "heads"], "target": {"flops": 0.5}}, "axes names one twice"),
        ({"vocabulary": {"fewest": 2}, "target": {"flops": 0.5}}, "axes does not name it"),
        (
            {"target": {"latency": 0.5}, "criterion": {"use": "magnitude"}, "allocation": "uniform"},
            "always met by allocation optimal",
        ),
        (
            {"target": {"flops": 0.5}, "criterion": {"use": "magnitude"}, "axes": ["layers"], "repair": "bias"},
            "nothing reads a layer that left",
        ),
        ({"target": {"flops": 0.5}}, "target and criterion are needed"),
        ({"target": {"flops": 0.5, "shape": "32x64"}}, "shape is of no meaning to a target in flops"),
        ({"target": {"parameters": 0.5, "attention": "plain"}}, "attention is of no meaning to a target in parameters"),
        ({"target": {"latency": 0.5, "tokens": 64}}, "tokens is of no meaning to a target in latency"),
        ({"axes": ["vocabulary"], "target": {"flops": 0.5}}, "which knows no target"),
        ({"target": {"flops": 0.5}, "criterion": {"use": "magnitude"}, "steps": 3}, "several steps need distill"),
        (
            {
                "target": {"flops": 0.5},
                "criterion": {"use": "magnitude"},
                "axes": ["hidden"],
                "distill": {"losses": {"hidden": {}}},
            },
            "leave out distill.losses.hidden",
        ),
    ],
)
def test_settings_that_make_no_sense_together_are_told(given: dict, told: str):
    with pytest.raises(ValidationError, match=told):
        Prune.model_validate(given)


@pytest.mark.parametrize("given", [{"criterion": {"use": "fisher"}}, {"criterion": {"use": "wanda"}}])
def test_a_criterion_that_reads_needs_something_to_read(
    bundle: Bundle, make_context: Callable[..., Context], given: dict
):
    stage = Prune.model_validate({"target": {"flops": 0.5}, **given})
    empty = tiny_split("calibration", 0)
    with pytest.raises(DataError, match=r"needs .*calibration examples"):
        stage.apply(bundle, make_context(calibration=empty))


def test_repair_needs_something_to_read(bundle: Bundle, make_context: Callable[..., Context]):
    stage = Prune(target=Target(flops=0.5), criterion=Magnitude(), repair="least_squares")
    with pytest.raises(DataError, match="repair least_squares: needs calibration examples"):
        stage.apply(bundle, make_context(calibration=tiny_split("calibration", 0)))


def test_scores_that_are_not_finite_name_their_layer(bundle: Bundle, make_context: Callable[..., Context]):
    with torch.no_grad():
        bundle.module.get_submodule(bundle.anatomy.groups[5].slices[0].module).weight[7, 0] = torch.inf
    stage = Prune(target=Target(flops=0.5), axes=("layers",), criterion=Magnitude())
    with pytest.raises(ModelError, match=r"not finite; nor are weights of layers\.2\.ffn"):
        stage.apply(bundle, make_context())


def test_layers_that_share_their_weights_are_no_axis():
    stage = Prune(target=Target(parameters=0.5), axes=("layers",), criterion=Magnitude())
    with pytest.raises(ModelError, match="albert like this has no layers; its axes: heads, ffn, hidden, vocabulary"):
        stage.predict(tiny_bundle("albert").anatomy)


@pytest.mark.parametrize("allocation", ["global", "optimal", "uniform"])
@pytest.mark.parametrize("kind", ["parameters", "encoder_parameters", "bytes", "flops"])
def test_shared_layers_meet_every_target(allocation: str, kind: str, make_context: Callable[..., Context]):
    whole = tiny_bundle("albert")
    target = Target(**{kind: 0.8})
    cut = Prune(target=target, criterion=Magnitude(), allocation=allocation, round_to=4).apply(whole, make_context())
    assert target.cost(cut.anatomy) <= 0.8 * target.cost(whole.anatomy)


def test_a_layer_that_stays_learns_from_the_one_that_it_was(
    bundle: Bundle, make_context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
):
    asked: list[tuple[int, ...] | None] = []
    monkeypatch.setattr(
        Distillation, "teach", lambda _self, student, _context, twins=None: asked.append(twins) or student
    )
    monkeypatch.setattr(Prune, "_choose", lambda *_given: Kept({}, (0, 2, 3) if not asked else (1, 2)))
    stage = Prune(
        target=Target(encoder_parameters=0.5), axes=("layers",), criterion=Magnitude(), steps=2, distill=Distillation()
    )
    stage.apply(bundle, make_context(reference=bundle))
    assert asked == [(0, 2, 3), (2, 3)]


def test_widths_stay_multiples_through_all_steps(bundle: Bundle, make_context: Callable[..., Context]):
    stage = Prune(target=Target(encoder_parameters=0.35), criterion=Magnitude(), repair="bias", steps=3)
    cut = stage.apply(bundle, make_context())
    assert {group.units % 16 for group in cut.anatomy.of_axis("ffn")} == {0}


def test_a_vocabulary_alone_reads_its_splits_and_nothing_else():
    assert Prune(axes=("vocabulary",)).sees == ("train",)


@pytest.mark.parametrize("allocation", ["global", "optimal"])
def test_no_head_of_a_layer_that_left_is_said_to_stay(allocation: str, make_context: Callable[..., Context]):
    whole, recorded = tiny_bundle(), {}
    stage = Prune(
        target=Target(encoder_parameters=0.3),
        axes=("heads", "layers"),
        criterion=Magnitude(),
        allocation=allocation,
    )
    cut = stage.apply(whole, make_context(record=recorded.__setitem__))
    assert cut.anatomy.layers < whole.anatomy.layers
    assert sum(row["kept"] for row in recorded["head_scores"]) == sum(cut.anatomy.heads_by_layer())


@pytest.mark.parametrize("allocation", ["global", "optimal", "uniform"])
def test_the_nearest_is_told_as_a_fraction_of_what_came_in_at_a_later_cut_as_well(
    allocation: str, bundle: Bundle, make_context: Callable[..., Context]
):
    whole = bundle.anatomy
    least = whole.with_units({group.name: 1 for group in whole.of_axis("heads")})
    nearest = least.encoder_parameters / whole.encoder_parameters
    stage = Prune(
        target=Target(encoder_parameters=nearest - 0.01),
        axes=("heads",),
        criterion=Magnitude(),
        allocation=allocation,
        repair="bias",
        steps=3,
    )
    with pytest.raises(ModelError, match=f"the nearest that these axes can reach is {nearest:.3f}"):
        stage._step(bundle, stage._step(bundle, bundle, 0.9, make_context())[0], nearest - 0.01, make_context())
