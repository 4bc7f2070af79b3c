"""Teaching, whichever stage asks for it: whose outputs are compared with whose, and what can't be taught."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tiny import tiny_bundle

from compress.bundle import Bundle
from compress.errors import ModelError
from compress.stage import Context
from compress.stages.distill import Distill, Student
from compress.surgery import keep_layers
from compress.training.distillation import Distillation, HiddenLoss, LogitsLoss, Losses, teacher_of
from compress.training.loop import trainings_of

Make = Callable[..., Context]
HIDDEN = Losses(hidden=HiddenLoss())
LOGITS = Losses(logits=LogitsLoss())


def shortened(bundle: Bundle, *kept: int) -> Bundle:
    return bundle.with_model(keep_layers(bundle.module, bundle.family, kept))


def test_a_stage_that_distils_is_teaching_of_what_it_has_cut(bundle: Bundle, make_context: Make):
    """The stage adds the choice of layers, and nothing else."""
    settings: dict[str, Any] = {"epochs": 1, "batch": 16, "learning_rate": 1e-2}
    teacher = tiny_bundle(seed=9)
    by_stage = Distill(student=Student(layers=(0, 1)), **settings).apply(bundle, make_context(reference=teacher))
    student, teaching = shortened(bundle, 0, 1), Distillation(**settings)
    assert by_stage.digest == teaching.teach(student, make_context(reference=teacher), twins=(0, 1)).digest


def test_without_twins_layers_are_paired_by_depth(bundle: Bundle, make_context: Make):
    student, teaching = shortened(bundle, 0, 1), Distillation(epochs=1, losses=HIDDEN)
    paired, by_depth, otherwise = (
        teaching.teach(student, make_context(reference=bundle), twins=twins).digest for twins in (None, (0, 3), (0, 1))
    )
    assert paired == by_depth != otherwise


def test_what_is_taught_stays_as_it_was(bundle: Bundle, make_context: Make):
    student, teacher = shortened(bundle, 0, 3), tiny_bundle(seed=9)
    before = student.digest, teacher.digest
    taught = Distillation(epochs=1).teach(student, make_context(reference=teacher))
    assert (student.digest, teacher.digest) == before
    assert taught.digest != student.digest


def test_hidden_states_of_another_width_are_refused_with_what_helps(make_context: Make):
    narrow, teacher = tiny_bundle(hidden_size=16), tiny_bundle()
    with pytest.raises(ModelError, match=r"hidden size is 16, the teacher's 32.*leave out losses\.hidden"):
        Distillation(epochs=1).teach(narrow, make_context(reference=teacher))
    taught = Distillation(epochs=1, losses=LOGITS).teach(narrow, make_context(reference=teacher))
    assert taught.digest != narrow.digest


def test_a_reference_that_is_still_being_made_teaches_nobody(bundle: Bundle, make_context: Make):
    with pytest.raises(ModelError, match="there is no teacher yet"):
        teacher_of(make_context())
    with pytest.raises(ModelError, match="there is no teacher yet"):
        Distillation().teach(bundle, make_context())


def test_a_stage_says_what_it_trains(bundle: Bundle):
    stage = Distill(student=Student(layers=2))
    [(training, made)] = trainings_of(stage, bundle.anatomy)
    assert training is stage
    assert made == stage.predict(bundle.anatomy) != bundle.anatomy
    assert trainings_of(object(), bundle.anatomy) == ()
