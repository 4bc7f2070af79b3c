"""The laws of every task; a new file in `compress/tasks/` is found and held to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from task_samples import fitting_families, sample, task_bundle, untrained_bundle
from tiny import mixed_inputs
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from compress import catalog
from compress.batching import IGNORED, Batch, batches, in_order
from compress.bundle import Bundle
from compress.data import Split
from compress.feed import feed
from compress.folder import load, save
from compress.metric import metric_of, metrics_for
from compress.stage import Context
from compress.stages.distill import Distill
from compress.stages.export import Export
from compress.stages.finetune import Finetune
from compress.stages.prune import Prune
from compress.stages.quantize import Quantize
from compress.task import Task, task_in, task_of
from compress.training.judge import dev_score

TASKS = catalog.names("tasks")
PAIRS = [(name, family) for name in TASKS for family in fitting_families(task_of(name))]


@pytest.fixture(params=TASKS)
def task(request: pytest.FixtureRequest) -> Task:
    """Each task, as a model with a config of its own asks for it."""
    return task_bundle(task_of(request.param)).task


@pytest.fixture
def contexts(task: Task, make_context: Callable[..., Context]) -> Context:
    """A context with small splits of the task's own kind."""
    return make_context(
        train=sample(task, "train", 96, seed=1),
        dev=sample(task, "dev", 32, seed=2),
        calibration=sample(task, "calibration", 32, seed=3),
    )


def encoded(task: Task, bundle: Bundle, split: Split, *, seed: int = 0) -> Any:
    return task.encode(split, bundle.processor, max_tokens=bundle.max_tokens, seed=seed)


def outputs_of(bundle: Bundle, split: Split, size: int) -> list[tuple[Batch, np.ndarray]]:
    """The model's scores, batch by batch."""
    found = []
    with torch.no_grad():
        for batch in feed(split, bundle, torch.device("cpu"), size=size):
            scores = bundle.task.scores(bundle.module(**batch.inputs), batch.inputs)
            found.append((batch.source, scores.numpy()))
    return found


def predictions_of(bundle: Bundle, split: Split, size: int) -> np.ndarray:
    found = outputs_of(bundle, split, size)
    parts = [bundle.task.predict(scores, batch) for batch, scores in found]
    return in_order(parts, [batch.index for batch, _ in found])


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_called_what_its_file_is(name: str):
    assert task_of(name).name == name


def test_its_metrics_can_judge_it_and_its_scores_are_outputs(task: Task):
    assert task.metrics
    assert set(task.metrics) <= set(metrics_for(task.target))
    assert task.decided_on
    assert set(task.decided_on) <= set(task.outputs)


@pytest.mark.parametrize(("name", "family"), PAIRS)
def test_a_saved_model_of_every_family_reads_back_equal(name: str, family: str, tmp_path: Path):
    task = task_of(name)
    bundle = task_bundle(task, family)
    save(bundle, tmp_path)
    (tmp_path / "anatomy.json").unlink()  # as a folder of other people
    again, missing = task.read(tmp_path, bundle.labels)
    again.eval()
    assert missing == ()
    inputs = mixed_inputs(bundle)
    with torch.no_grad():
        # Weights that are mapped from a file lie elsewhere in memory, and sums then round differently.
        got, wanted = (bundle.task.scores(some(**inputs), inputs) for some in (again, bundle.module))
        assert torch.allclose(got, wanted, atol=1e-4, rtol=1e-4)
    ours, theirs = bundle.module.state_dict(), again.state_dict()
    assert all(torch.equal(weight, theirs[key]) for key, weight in ours.items())
    found = load(tmp_path)
    how = ("pooling", "normalize")
    assert (found.task.name, found.labels) == (name, bundle.labels)
    assert [getattr(found.task, key, None) for key in how] == [getattr(bundle.task, key, None) for key in how]


def test_the_task_is_known_by_the_config(task: Task):
    assert task_in(task_bundle(task).config).name == task.name


def test_every_example_has_rows_and_the_seed_alone_decides_what_is_drawn(task: Task):
    bundle, split = task_bundle(task), sample(task, "train", 24)
    first, again, other = (encoded(task, bundle, split, seed=seed) for seed in (3, 3, 4))
    assert len(first) == len(split)
    assert set(first.example.tolist()) == set(range(len(split)))
    assert (np.diff(first.example) >= 0).all()
    assert _rows_equal(first, again)
    assert _rows_equal(first, other) != task.draws


def test_no_row_is_longer_than_asked(task: Task):
    bundle = task_bundle(task)
    split = sample(task, "train", 12)
    if task.modality == "image":
        pytest.skip("pictures have one size")
    long = replace(split, texts=tuple(f"{text} {'w7 ' * 200}".strip() for text in split.texts), labels=None)
    assert task.encode(long, bundle.processor, max_tokens=24, seed=0).lengths.max() <= 24


def test_training_lowers_the_losses_and_improves_the_first_metric(task: Task, contexts: Context):
    bundle = untrained_bundle(task)

    def loss_of(model: torch.nn.Module) -> float:
        with torch.no_grad():
            [batch] = feed(contexts.train, bundle, torch.device("cpu"), size=96)
            losses = task.losses(task.scores(model(**batch.inputs), batch.inputs), batch.truth)
        assert losses.ndim == 1
        assert len(losses) >= len(contexts.train)
        assert bool(losses.isfinite().all())
        return float(losses.mean())

    trained = Finetune(epochs=8, learning_rate=2e-3, batch=8).apply(bundle, contexts)
    assert loss_of(trained.module) < loss_of(bundle.module)
    before, after = (dev_score(some, some.module, contexts) for some in (bundle, trained))
    higher = catalog.load("metrics", task.metrics[0]).higher_is_better
    assert (after > before) == higher


def test_a_student_is_never_nearer_to_its_teacher_than_the_teacher_itself(task: Task):
    bundle = task_bundle(task)
    [batch] = feed(sample(task, "train", 16), bundle, torch.device("cpu"), size=16)
    with torch.no_grad():
        teacher = task.scores(bundle.module(**batch.inputs), batch.inputs)
        student = task.scores(task_bundle(task, seed=5).module(**batch.inputs), batch.inputs)

    def apart(some: torch.Tensor) -> float:
        return float(task.distillation(some, teacher, batch.inputs, batch.labels, temperature=2.0))

    assert apart(student) > apart(teacher) + 1e-4
    nudged = teacher.clone().requires_grad_()
    gradient = torch.autograd.grad(
        task.distillation(nudged, teacher, batch.inputs, batch.labels, temperature=2.0), nudged
    )[0]
    assert float(gradient.abs().max()) < 1e-5, "the teacher itself is where the distance is least"


def test_predictions_do_not_depend_on_the_batch(task: Task):
    bundle, split = task_bundle(task), sample(task, "test", 13)
    together = predictions_of(bundle, split, 13)
    alone = predictions_of(bundle, split, 1)
    assert len(together) == len(split)
    assert np.allclose(together, alone, atol=1e-4, equal_nan=True)


@pytest.mark.parametrize("side", ["right", "left"])
def test_scores_that_say_the_label_are_decided_as_the_label(task: Task, side: str):
    """From label to row to scores and back: what an answer is read from is where the label was put, padding or not."""
    bundle, split = task_bundle(task), sample(task, "test", 17)
    if task.modality == "text":
        bundle.processor.padding_side = side
    parts, index = [], []
    for batch in batches(encoded(task, bundle, split), 5):
        if task.modality == "text" and len(set(batch.inputs["attention_mask"].sum(axis=1))) > 1:
            assert (batch.inputs["attention_mask"][:, 0] == 0).any() == (side == "left")
        parts.append(task.predict(_oracle(task, batch, split), batch))
        index.append(batch.index)
    decisions = task.decide(in_order(parts, index))
    metric = metric_of(task.metrics[0], task.target, labels=split.label_names, contexts=split.pairs or ())
    # The best there is, of an accuracy, an F1, a correlation and a perplexity alike.
    assert float(metric.value(metric.evidence(split.labels, decisions))) == pytest.approx(1.0, abs=2e-3)


def test_a_model_agrees_with_itself_and_less_with_another(task: Task):
    bundle, split = task_bundle(task), sample(task, "test", 20)
    own, other = predictions_of(bundle, split, 8), predictions_of(task_bundle(task, seed=9), split, 8)
    assert task.alike(own, own) == pytest.approx(np.ones(20))
    assert task.alike(own, other).shape == (20,)
    assert task.alike(own, other).mean() < 1


EVERY_STAGE = [(name, fitting_families(task_of(name))[0]) for name in TASKS]
EVERY_STAGE += [("text-classification", name) for name in fitting_families(task_of("text-classification"))[1:]]


@pytest.mark.parametrize(("name", "family"), EVERY_STAGE)
def test_every_task_and_every_family_goes_through_every_stage(
    name: str, family: str, make_context: Callable[..., Context], tmp_path: Path
):
    task = task_of(name)
    bundle = task_bundle(task, family)
    context = make_context(
        train=sample(task, "train", 48, seed=1),
        dev=sample(task, "dev", 16, seed=2),
        calibration=sample(task, "calibration", 24, seed=3),
    )
    gates: list[dict[str, Any]] = []
    tuned = Finetune(epochs=1, learning_rate=1e-3, batch=8).apply(bundle, context)
    context = replace(context, reference=tuned, check=lambda **gate: gates.append(gate))
    losses = {"logits": {}, "hidden": {}, "labels": {}}
    small = Distill.model_validate({"student": {"layers": 2}, "losses": losses, "epochs": 1, "batch": 8})
    cut = Prune.model_validate(
        {
            "target": {"encoder_parameters": 0.7},
            "criterion": {"use": "taylor"},
            "repair": "least_squares",
            "round_to": 8,
        }
    )
    pruned = cut.apply(small.apply(tuned, context), context)
    save(pruned, tmp_path / "model")
    assert load(tmp_path / "model").digest == pruned.digest
    exported = Export().apply(pruned, context)
    save(Quantize().apply(exported, context), tmp_path / "model")
    of_graphs = ["nameless", "opens_afresh"]
    of_integers = ["quantized_operators", "quantized_agreement"]
    assert [gate["name"] for gate in gates] == ["fusion", "parity", *of_graphs, *of_integers, *of_graphs]
    assert [gate for gate in gates if not gate["passed"] and gate["name"] != "quantized_agreement"] == []
    again = load(tmp_path / "model" / "onnx" / "model_int8.onnx")
    assert (again.task.name, again.labels, again.anatomy) == (name, bundle.labels, pruned.anatomy)


def test_an_unknown_task_suggests_the_nearest():
    with pytest.raises(Exception, match="did you mean 'text-classification'"):
        task_of("text-clasification")


@pytest.mark.parametrize("prefix", [True, False])
def test_tags_stand_on_the_pieces_that_the_whole_text_has(prefix: bool):
    """A byte-level tokenizer marks the space before a word; tokenized word by word it would give other pieces."""
    letters = sorted({"Ġ", *"thebankinLondon"})
    merges = [("Ġ", "b"), ("Ġb", "a"), ("Ġba", "n"), ("Ġban", "k"), ("Ġ", "i"), ("Ġi", "n"), ("o", "n"), ("d", "on")]
    pieces = [*letters, *("".join(pair) for pair in merges), "<s>", "</s>", "<pad>"]
    backend = Tokenizer(models.BPE({piece: place for place, piece in enumerate(pieces)}, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=prefix)
    backend.post_processor = processors.RobertaProcessing(
        ("</s>", pieces.index("</s>")), ("<s>", pieces.index("<s>")), trim_offsets=prefix, add_prefix_space=False
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", model_input_names=["input_ids", "attention_mask"]
    )
    text, task = "the bank in London", task_of("token-classification")
    split = Split("test", (text,), None, np.array([[1, 2, 3, 4]]), ("a", "b", "c", "d", "e"))
    rows = task.encode(split, tokenizer, max_tokens=32, seed=0)
    assert rows.inputs["input_ids"][0].tolist() == tokenizer(text)["input_ids"]
    tokens = tokenizer.convert_ids_to_tokens(rows.inputs["input_ids"][0].tolist())
    tagged = {int(tag): tokens[place] for place, tag in enumerate(rows.labels[0]) if tag != IGNORED}
    assert [tagged[tag].lstrip("Ġ")[0] for tag in (1, 2, 3, 4)] == ["t", "b", "i", "L"] or tagged[4] == "Ġ"
    assert tagged[2] == "Ġbank"


def _rows_equal(first: Any, second: Any) -> bool:
    pairs = [(first.inputs[name], second.inputs[name]) for name in first.inputs]
    pairs += [] if first.labels is None else [(first.labels, second.labels)]
    return all(np.array_equal(a, b) for one, two in pairs for a, b in zip(one, two, strict=True))


def _oracle(task: Task, batch: Batch, split: Split) -> np.ndarray:
    """The scores of a model that knows the labels."""
    if task.target in ("class", "classes", "number") and task.name != "sentence-embedding":
        labels = split.labels[batch.index]
        if task.target == "class":
            return np.eye(len(split.label_names))[labels] * 9
        return labels.astype(float) * 9 - 4 if task.target == "classes" else labels[:, None].astype(float)
    if task.name == "sentence-embedding":  # unit vectors whose cosine is the label
        angles = np.arccos(split.labels[batch.index])
        rows = np.zeros((2 * len(angles), 2))
        rows[0::2, 0], rows[1::2, 0], rows[1::2, 1] = 1, np.cos(angles), np.sin(angles)
        return rows
    assert batch.labels is not None
    if task.target == "span":
        scores = np.zeros((*batch.inputs["input_ids"].shape, 2))
        for side, mark in enumerate((1, 2)):
            scores[..., side] = 9.0 * (np.maximum(batch.labels, 0) & mark > 0)
        return scores
    width = len(split.label_names) or int(batch.labels.max()) + 1
    return np.eye(max(width, 2))[np.where(batch.labels == IGNORED, 0, batch.labels)] * 30
