"""The distill stage: which layers a student has, whom it learns from, and that it learns."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tiny import logits_of, mixed_inputs, tiny_bundle, tiny_split

from compress.batching import Batch
from compress.bundle import Bundle
from compress.data import Split
from compress.errors import DataError, ModelError
from compress.feed import TensorBatch
from compress.stage import Context
from compress.stages.distill import Distill, Student
from compress.training.distillation import HiddenLoss, LabelsLoss, LogitsLoss, Losses, spread

BOTH = Losses(logits=LogitsLoss(), hidden=HiddenLoss())


@given(count=st.integers(1, 40), data=st.data())
def test_spread_layers_rise_and_end_with_the_last(count: int, data: st.DataObject):
    wanted = data.draw(st.integers(1, count))
    chosen = spread(count, wanted)
    assert len(chosen) == wanted
    assert list(chosen) == sorted(set(chosen))
    assert chosen[-1] == count - 1
    assert wanted == 1 or chosen[0] == 0
    assert all(after - before <= -(-count // (wanted - 1)) for before, after in pairwise(chosen))


@pytest.mark.parametrize("layers", [5, (0, 4)])
def test_layers_that_the_model_has_not_are_refused_by_plan_and_run_alike(layers, bundle: Bundle, make_context):
    stage = Distill(student=Student(layers=layers))
    with pytest.raises(ModelError, match="distill: "):
        stage.predict(bundle.anatomy)
    with pytest.raises(ModelError, match="distill: "):
        stage.apply(bundle, make_context(reference=bundle))


@pytest.mark.parametrize("layers", [(), (0, 0), (2, 1)])
def test_layers_are_named_once_and_in_order(layers: tuple[int, ...]):
    with pytest.raises(ValidationError, match="wanted layers in rising order, each once"):
        Student(layers=layers)


@pytest.mark.parametrize("layers", [0, -1])
def test_no_layers_are_no_student(layers: int):
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        Student(layers=layers)


def _batch(bundle: Bundle) -> TensorBatch:
    rows = np.arange(4)
    return TensorBatch(mixed_inputs(bundle), torch.tensor([0, 1, 0, 1]), Batch({}, None, rows, rows, {}))


def test_a_student_that_is_its_teacher_has_no_loss(bundle: Bundle):
    batch = _batch(bundle)
    loss = Distill(losses=BOTH)._loss(bundle.module, bundle.module, (0, 1, 2, 3), batch, bundle)
    assert abs(loss.item()) < 1e-5


def test_the_terms_of_the_loss_add_up_by_weight(bundle: Bundle):
    teacher = tiny_bundle(seed=9).module
    batch = _batch(bundle)

    def loss(**terms) -> float:
        return Distill(losses=Losses(**terms))._loss(bundle.module, teacher, (0, 1, 2, 3), batch, bundle).item()

    alone = [
        loss(logits=LogitsLoss(weight=1.0)),
        loss(hidden=HiddenLoss(weight=1.0)),
        loss(labels=LabelsLoss(weight=1.0)),
    ]
    together = loss(logits=LogitsLoss(weight=0.5), hidden=HiddenLoss(weight=2.0), labels=LabelsLoss(weight=3.0))
    assert together == pytest.approx(0.5 * alone[0] + 2.0 * alone[1] + 3.0 * alone[2], rel=1e-5)


def test_the_student_comes_nearer_to_its_teacher(bundle: Bundle, make_context: Callable[..., Context]):
    losses = Losses(logits=LogitsLoss(), hidden=HiddenLoss())
    stage = Distill(student=Student(layers=(0, 3)), losses=losses, epochs=3, batch=8, learning_rate=2e-3, keep="last")
    recorded: dict = {}
    student = stage.apply(bundle, make_context(reference=bundle, record=recorded.__setitem__))
    assert recorded["loss"]["y"][-1] < 0.8 * recorded["loss"]["y"][0]
    assert student.anatomy.layers == 2
    assert bundle.anatomy.layers == 4


def test_what_stands_for_padding_is_not_learnt(bundle: Bundle):
    """Hidden states of padding may be anything: only real tokens are compared."""
    batch, teacher = _batch(bundle), tiny_bundle(seed=9).module
    real = batch.inputs["attention_mask"].bool()
    with torch.no_grad():
        states = teacher(**batch.inputs, output_hidden_states=True).hidden_states[1]
    assert torch.equal(batch.flat(states), states[real])
    assert len(batch.flat(states)) == int(real.sum()) < real.numel()


def test_nothing_to_learn_from_is_an_error(bundle: Bundle, make_context: Callable[..., Context]):
    with pytest.raises(ModelError, match="there is no teacher yet"):
        Distill().apply(bundle, make_context())
    with pytest.raises(ValidationError, match="wanted at least one of logits, hidden, labels"):
        Losses()
    bare = make_context().train
    unlabelled = type(bare)(bare.name, bare.texts)
    with pytest.raises(DataError, match=r"losses\.labels needs labels"):
        stage = Distill(losses=Losses(labels=LabelsLoss()))
        stage.apply(bundle, make_context(reference=bundle, train=unlabelled))


def test_transfer_texts_are_learnt_from_besides_the_training_split(
    bundle: Bundle, make_context: Callable[..., Context]
):
    """Texts of transfer count like texts of train: where they come from changes nothing but the labels."""
    whole, teacher = tiny_split("train", 64, seed=1), tiny_bundle(seed=9)
    first, rest = (Split(part.name, part.texts) for part in (whole.rows(np.arange(40)), whole.rows(np.arange(40, 64))))
    stage = Distill(epochs=1, keep="last")
    recorded: dict = {}
    shared = stage.apply(
        bundle, make_context(reference=teacher, train=first, transfer=rest, record=recorded.__setitem__)
    )
    joined = stage.apply(bundle, make_context(reference=teacher, train=Split(whole.name, whole.texts)))
    alone = stage.apply(bundle, make_context(reference=teacher, train=first))
    assert shared.digest == joined.digest != alone.digest
    assert recorded["loss"]["x"][-1] == -(-64 // stage.batch)


def test_a_loss_on_labels_needs_them_in_transfer_too(bundle: Bundle, make_context: Callable[..., Context]):
    stage = Distill(losses=Losses(labels=LabelsLoss()))
    bare = Split("transfer", ("w0 w5",))
    with pytest.raises(DataError, match=r"losses\.labels needs labels; the training or the transfer split has none"):
        stage.apply(bundle, make_context(reference=bundle, transfer=bare))


def test_without_a_student_the_incoming_model_is_taught(bundle: Bundle, make_context: Callable[..., Context]):
    teacher = tiny_bundle(seed=9)
    taught = Distill(epochs=1).apply(bundle, make_context(reference=teacher))
    assert taught.anatomy == bundle.anatomy
    inputs = mixed_inputs(bundle)
    assert not torch.allclose(logits_of(taught.module, inputs), logits_of(bundle.module, inputs), atol=1e-3)


def test_hidden_states_that_are_normed_are_not_compared_with_others(make_context: Callable[..., Context]):
    modern = tiny_bundle("modernbert")
    stage = Distill(student=Student(layers=(0, 2)), epochs=1)
    with pytest.raises(ModelError, match=r"keep layer 3, or leave out losses\.hidden"):
        stage.apply(modern, make_context(reference=modern))
    alone = Distill(student=Student(layers=(0, 2)), epochs=1, losses=Losses(logits=LogitsLoss()))
    assert alone.apply(modern, make_context(reference=modern)).anatomy.layers == 2
