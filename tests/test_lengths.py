"""Lengths are foretold as the task will tokenize, and batches as they will be made of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from task_samples import sample
from tiny import tiny_bundle, tiny_split

from compress import catalog
from compress import lengths as module
from compress.batching import WINDOW_BATCHES, batches
from compress.bundle import Bundle
from compress.data import Split
from compress.errors import ModelError
from compress.folder import save
from compress.lengths import Lengths, lengths_of
from compress.task import task_of


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Path]:
    bundle, folder = tiny_bundle(), tmp_path_factory.mktemp("model")
    save(bundle, folder)
    return bundle, folder


def paired(split: Split) -> Split:
    return replace(split, pairs=tuple(reversed(split.texts)))


@pytest.mark.parametrize("longest", [64, 8])
@pytest.mark.parametrize("pairs", [False, True])
def test_short_splits_are_counted_as_the_task_tokenizes_them(saved, longest: int, pairs: bool) -> None:
    bundle, folder = saved
    split = tiny_split("train", 40)
    split = paired(split) if pairs else split
    encoded = bundle.task.encode(split, bundle.processor, max_tokens=longest, seed=0)
    found = lengths_of(split, folder, bundle.task, longest)
    assert found.tokens.tolist() == encoded.lengths.tolist()
    assert len(found) == len(split)


def test_batches_are_those_that_will_be_made(saved) -> None:
    bundle, folder = saved
    split = tiny_split("train", 45)
    encoded = bundle.task.encode(split, bundle.processor, max_tokens=64, seed=0)
    made = [batch.inputs["input_ids"].shape for batch in batches(encoded, 8)]
    found = lengths_of(split, folder, bundle.task, 64)
    assert found.batches(8) == made
    assert found.batches(8, shuffled=True) == made  # all in one window


def test_of_many_windows_the_longest_texts_may_meet(saved) -> None:
    many = Lengths(np.ones(8 * WINDOW_BATCHES + 1, dtype=np.int64), np.arange(8 * WINDOW_BATCHES + 1))
    assert many.batches(8, shuffled=True) == [(8, 8 * WINDOW_BATCHES)]


def test_embeddings_have_a_row_for_each_text_of_a_pair(saved) -> None:
    _, folder = saved
    split = paired(tiny_split("train", 12))
    found = lengths_of(split, folder, task_of("sentence-embedding"), 64)
    assert found.rows.tolist() == [2] * 12


@pytest.mark.parametrize("longest", [64, 17, 12])
@pytest.mark.parametrize("name", [name for name in catalog.names("tasks") if task_of(name).modality == "text"])
def test_every_task_foretells_the_rows_that_it_makes(saved, name: str, longest: int) -> None:
    bundle, folder = saved
    task = task_of(name)
    split = sample(task, "train", 24)
    encoded = task.encode(split, bundle.processor, max_tokens=longest, seed=0)
    found = lengths_of(split, folder, task, longest)
    assert found.rows.tolist() == np.bincount(encoded.example).tolist()
    starts = np.searchsorted(encoded.example, np.arange(len(split)))
    assert found.tokens.tolist() == np.maximum.reduceat(encoded.lengths, starts).tolist()


@pytest.mark.parametrize("longest", [16, 32, 61])
@pytest.mark.parametrize("asked", [1, 6, 40])
def test_windows_overlap_and_hold_the_question_each(saved, asked: int, longest: int) -> None:
    bundle, folder = saved
    contexts = tuple(" ".join(["w5"] * count) for count in range(1, 200, 3))
    split = Split("train", (" ".join(["w3"] * asked),) * len(contexts), contexts)
    task = task_of("question-answering")
    encoded = task.encode(split, bundle.processor, max_tokens=longest, seed=0)
    assert lengths_of(split, folder, task, longest).rows.tolist() == np.bincount(encoded.example).tolist()


def test_of_a_long_table_the_longest_texts_are_exact_and_the_rest_near(saved, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, folder = saved
    split = tiny_split("train", 400)
    exact = lengths_of(split, folder, bundle.task, 64)
    longest = np.argsort([len(text) for text in split.texts], kind="stable")[-20:]
    monkeypatch.setattr(module, "TOKENIZED", 20)
    near = lengths_of(split, folder, bundle.task, 64)
    assert near.tokens[longest].tolist() == exact.tokens[longest].tolist()
    assert near.total == pytest.approx(exact.total, rel=0.1)


def test_a_folder_whose_tokenizer_is_damaged_is_refused(saved, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match=r"tokenizer\.json: no usable tokenizer"):
        lengths_of(tiny_split("train", 4), tmp_path, saved[0].task, 64)


def test_without_a_tokenizer_file_lengths_follow_from_the_characters(saved, tmp_path: Path) -> None:
    split = Split("train", ("a" * 40, "a" * 400, "a" * 4000))
    found = lengths_of(split, tmp_path, saved[0].task, 512)
    assert found.tokens.tolist() == [12, 102, 512]
