"""The laws of every stage. A new file in `compress/stages/` is found and held to them; nothing is to be added here."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import pytest
import torch
from tiny import example_stage, logits_of, mixed_inputs, tiny_bundle

from compress import catalog
from compress.bundle import Bundle, Form
from compress.choices import name_of
from compress.folder import load, save
from compress.stage import Context, Sight, Stage

STAGES = catalog.names("stages")


@pytest.fixture
def incoming(stage: Stage, exported: dict[str, tuple[Bundle, Bundle]]) -> Bundle:
    """A bundle of the form that the stage consumes."""
    return tiny_bundle() if stage.consumes is Form.TORCH else exported["even-fused"][1]


@pytest.fixture(params=STAGES)
def stage(request: pytest.FixtureRequest) -> Stage:
    """Each stage, as the recipe in its docstring sets it up; in 7 bits where it multiplies integers: CPUs differ
    in what they make of 8."""
    example = example_stage(catalog.load("stages", request.param))
    return (
        example.model_copy(update={"reduce_range": True}) if "reduce_range" in type(example).model_fields else example
    )


@pytest.mark.parametrize("name", STAGES)
def test_the_docstring_shows_a_recipe_for_the_stage_itself(name: str):
    owner = catalog.load("stages", name)
    shown = example_stage(owner)
    assert type(shown) is owner
    assert name_of("stages", shown) == name


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_sees_what_there_is_to_see(name: str):
    sees = example_stage(catalog.load("stages", name)).sees
    assert set(sees) <= set(get_args(Sight))
    assert len(set(sees)) == len(sees)


@pytest.mark.parametrize("name", STAGES)
def test_every_setting_is_explained(name: str):
    fields = catalog.load("stages", name).model_fields
    silent = [
        field
        for field, info in fields.items()
        if not info.description and not getattr(info.annotation, "__doc__", None)
    ]
    assert silent == []


def test_a_stage_keeps_the_laws(stage: Stage, incoming: Bundle, make_context: Callable[..., Context], tmp_path):
    """One test for all laws of `apply`, because a stage may be slow and two runs of it settle them all."""
    reference = tiny_bundle()
    before = _fresh_digest(incoming)
    modules = None if incoming.form is Form.ONNX else (incoming.module.training, _flags(incoming))

    outcomes, gates = [], []
    for draw in (3, 4):
        torch.manual_seed(draw)  # a stage draws from the context's seed alone
        state = torch.random.get_rng_state()
        context = make_context(**_withheld(stage, reference), check=lambda **gate: gates.append(gate))
        outcomes.append(stage.apply(incoming, context))
        assert torch.equal(torch.random.get_rng_state(), state), "the caller's random state was disturbed"

    assert _fresh_digest(incoming) == before, "the bundle that came in was changed"
    assert modules is None or modules == (incoming.module.training, _flags(incoming))
    assert _fresh_digest(reference) == _fresh_digest(tiny_bundle()), "the teacher was changed"
    assert outcomes[0].digest == outcomes[1].digest, "same seed, another outcome"
    assert outcomes[0].form is stage.produces
    assert [gate["name"] for gate in gates if not gate["passed"]] == []
    _assert_survives_saving(outcomes[0], tmp_path / "saved")
    _assert_predicted(stage, incoming, outcomes[0])


def _withheld(stage: Stage, reference: Bundle) -> dict[str, object]:
    """The teacher; and where the stage has not declared that it looks, something that no stage can use."""
    return {"reference": reference} | {name: object() for name in get_args(Sight) if name not in stage.sees}


def _assert_survives_saving(outcome: Bundle, folder) -> None:
    save(outcome, folder)
    again = load(folder)
    assert again.digest == outcome.digest
    assert again.anatomy == outcome.anatomy
    assert again.labels == outcome.labels
    if outcome.form is Form.ONNX:
        assert again.graph.path.read_bytes() == outcome.graph.path.read_bytes()
        assert again.graph.precision == outcome.graph.precision
    else:
        inputs = mixed_inputs(outcome)
        assert torch.equal(logits_of(again.module, inputs), logits_of(outcome.module, inputs))


def _assert_predicted(stage: Stage, incoming: Bundle, outcome: Bundle) -> None:
    predicted, got = stage.predict(incoming.anatomy), outcome.anatomy
    target = getattr(stage, "target", None)
    if target is None:
        assert predicted == got
        return
    # A stage with a target knows where it will stop, but not which units it will take: it says so to within a block.
    assert predicted.layers == got.layers
    block = max(_block_parameters(stage, group) for group in incoming.anatomy.groups)
    assert abs(predicted.parameters - got.parameters) <= block


def _block_parameters(stage: Stage, group) -> int:
    return group.unit_parameters * (getattr(stage, "round_to", 1) if group.axis == "ffn" else 1)


def _fresh_digest(bundle: Bundle) -> str:
    """The digest as it is now: a bundle remembers the one it was first asked for."""
    vars(bundle).pop("digest", None)
    return bundle.digest


def _flags(bundle: Bundle) -> tuple:
    """What a stage could leave behind on the modules besides weights."""
    gradients = [name for name, parameter in bundle.module.named_parameters() if parameter.grad is not None]
    frozen = [name for name, parameter in bundle.module.named_parameters() if not parameter.requires_grad]
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in bundle.module.modules())
    return gradients, frozen, hooks, bundle.module.config._attn_implementation
