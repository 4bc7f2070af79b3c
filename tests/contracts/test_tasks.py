"""The laws of every task; a new file in `compress/tasks/` is found and held to them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import lively

from compress import catalog
from compress.task import Task, label_maps, task_of

TASKS = catalog.names("tasks")
LABELS = ("down", "level", "up")


@pytest.fixture(params=TASKS)
def task(request: pytest.FixtureRequest) -> Task:
    """Each task."""
    return task_of(request.param)


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_called_what_its_file_is(name: str):
    assert task_of(name).name == name


def test_its_metrics_exist_and_its_outputs_have_names(task: Task):
    assert task.outputs
    assert task.metrics
    assert set(task.metrics) <= set(catalog.names("metrics"))


@pytest.mark.parametrize("family", catalog.names("families"))
def test_a_saved_model_reads_back_equal(task: Task, family: str, tmp_path):
    config = catalog.load("families", family)().tiny(len(LABELS))
    config.update(label_maps(LABELS))
    model = lively(task.build(config), seed=1)
    model.save_pretrained(tmp_path)
    again, missing = task.read(tmp_path, LABELS)
    again.eval()
    assert missing == ()
    inputs = {"input_ids": torch.arange(5, 13)[None], "attention_mask": torch.ones(1, 8, dtype=torch.long)}
    with torch.no_grad():
        # Weights that are mapped from a file lie elsewhere in memory, and sums then round differently.
        got, wanted = (task.scores(some(**inputs)) for some in (again, model))
        assert torch.allclose(got, wanted, atol=1e-5)
    assert all(torch.equal(weight, again.state_dict()[name]) for name, weight in model.state_dict().items())
    assert again.config.id2label == dict(enumerate(LABELS))


def test_the_loss_is_a_mean_over_examples_and_falls_when_the_answer_is_right(task: Task):
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.5, 1.5, 0.0]])
    labels = torch.tensor([0, 1])
    alone = [task.loss(logits[row : row + 1], labels[row : row + 1]) for row in range(2)]
    assert torch.isclose(task.loss(logits, labels), sum(alone) / 2)
    assert task.loss(logits * 3, labels) < task.loss(logits, labels) < task.loss(-logits, labels)


def test_one_decision_an_example(task: Task):
    scores = np.random.default_rng(0).normal(size=(9, len(LABELS))).astype(np.float32)
    decisions = task.decide(scores)
    assert decisions.shape == (9,)
    for row, decision in zip(scores, decisions, strict=True):
        assert row[decision] == max(row)


def test_an_unknown_task_suggests_the_nearest():
    with pytest.raises(Exception, match="did you mean 'text-classification'"):
        task_of("text-clasification")
