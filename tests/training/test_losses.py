"""Laws of the distillation losses: they equal the plain formulas, and are nothing where there is nothing to learn."""

from __future__ import annotations

import math

import pytest
import torch

from compress.batching import IGNORED
from compress.training.losses import hidden_states, soft_labels, token_losses


@pytest.fixture
def logits() -> tuple[torch.Tensor, torch.Tensor]:
    """A student's and a teacher's, 5 examples of 3 labels."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(5, 3, generator=generator), torch.randn(5, 3, generator=generator)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_soft_labels_equal_the_plain_formula(logits, temperature: float):
    student, teacher = logits
    total = 0.0
    for ours, theirs in zip(student.tolist(), teacher.tolist(), strict=True):
        p, q = _softmax(theirs, temperature), _softmax(ours, temperature)
        total += sum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True))
    wanted = temperature**2 * total / len(student)
    assert math.isclose(float(soft_labels(student, teacher, temperature=temperature)), wanted, rel_tol=1e-4)


def test_a_student_that_agrees_has_no_loss(logits):
    student, _ = logits
    assert abs(float(soft_labels(student, student + 3.0, temperature=2.0))) < 1e-6
    assert float(hidden_states([student], [student])) == 0.0


def test_the_gradient_keeps_its_size_as_the_temperature_rises(logits):
    """At high temperature the gradient tends to (student - teacher) / labels (Hinton et al. 2015, section 2.1)."""
    student, teacher = logits
    student = (student - student.mean(dim=1, keepdim=True)).requires_grad_()
    teacher = teacher - teacher.mean(dim=1, keepdim=True)
    soft_labels(student, teacher, temperature=200.0).backward()
    assert torch.allclose(student.grad * len(student), (student - teacher).detach() / 3, atol=2e-2)


def test_only_the_student_is_pulled(logits):
    student, teacher = (value.clone().requires_grad_() for value in logits)
    soft_labels(student, teacher.detach(), temperature=2.0).backward()
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None


def test_hidden_states_equal_the_plain_formula():
    generator = torch.Generator().manual_seed(1)
    ours, theirs = ([torch.randn(3, 4, generator=generator) for _ in range(2)] for _ in range(2))
    wanted = []
    for a, b in zip(ours, theirs, strict=True):
        errors = [(a[token, width] - b[token, width]).item() ** 2 for token in range(3) for width in range(4)]
        wanted.append(sum(errors) / len(errors))
    assert math.isclose(float(hidden_states(ours, theirs)), sum(wanted) / 2, rel_tol=1e-5)


def test_unpaired_layers_are_refused():
    state = torch.zeros(1, 2)
    with pytest.raises(ValueError, match="zip"):
        hidden_states([state, state], [state])


def test_token_losses_are_means_over_the_tokens_that_have_a_label():
    scores = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(2))
    labels = torch.tensor([[1, IGNORED, 2, 0], [IGNORED, IGNORED, 4, IGNORED], [IGNORED] * 4])
    found = token_losses(scores, labels).tolist()
    for row, places in enumerate(([0, 2, 3], [2])):
        each = [-float(scores[row, place].log_softmax(-1)[labels[row, place]]) for place in places]
        assert math.isclose(found[row], sum(each) / len(each), rel_tol=1e-5)
    assert found[2] == 0.0


def _softmax(values: list[float], temperature: float) -> list[float]:
    powers = [math.exp(value / temperature) for value in values]
    return [power / sum(powers) for power in powers]
