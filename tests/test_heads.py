"""What a task says of its head is what its models do, and what is counted and foretold of them follows from that."""

from __future__ import annotations

import pytest
import torch
from task_samples import sample, task_bundle

from compress import catalog
from compress.dissection import anatomy_of
from compress.feed import feed
from compress.memory import Layers
from compress.task import task_of
from compress.tasks.token_classification import TokenClassification


@pytest.mark.parametrize("name", catalog.names("tasks"))
def test_a_head_reads_tokens_where_each_token_has_scores(name: str) -> None:
    task = task_of(name)
    bundle = task_bundle(task)
    [batch] = feed(sample(task, "dev", 4), bundle, torch.device("cpu"), size=4)
    with torch.no_grad():
        scores = task.scores(bundle.module(**batch.inputs), batch.inputs)
    assert (task.head_reads == "tokens") == (scores.ndim == 3)
    words = bundle.config.get("vocab_size")
    assert task.scores_words == (scores.shape[-1] == words)
    assert Layers.of(bundle.anatomy, bundle.config, task).vocabulary == (words if task.scores_words else 0)


def test_the_anatomy_asks_the_task_what_its_head_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = task_bundle(task_of("token-classification"))
    each_token = anatomy_of(bundle.module, bundle.family)
    monkeypatch.setattr(TokenClassification, "head_reads", "text")
    each_row = anatomy_of(bundle.module, bundle.family)
    moved = each_row.sequence_macs - each_token.sequence_macs
    assert each_token.rest_macs - each_row.rest_macs == moved
    assert moved.at(each_row.hidden) == bundle.module.classifier.weight.numel()
