"""The suite's laws: equal models are found equal, worse ones worse, and every score stands at its example."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
from tiny import LABELS, tiny_bundle, tiny_split

from compress.batching import Batch, Encoded, encode
from compress.bundle import Bundle, Form
from compress.data import Split
from compress.deploy import Deploy
from compress.errors import DataError, ExportError
from compress.runtime import runtime_of
from compress.runtimes.timing import Limits
from compress.task import Target as Labels
from compress.task import Task
from evaluation import suite
from evaluation.measurement import Comparison, Target
from evaluation.quality import quality
from evaluation.quality.quality import corrected
from evaluation.sitting import Conditions, Sitting, Subject
from evaluation.speed import speed
from evaluation.statistics import intervals
from evaluation.suite import measure

COUNT = 90
LOSSES = {"sure": 0.0, "vague": 0.1}
"""Kinds of session that give a loss for each token, and by how much it is too high."""


class Oracle:
    """A runtime that knows the words which decide the label. The target's title says how it errs."""

    form: ClassVar[Form] = Form.TORCH
    opened: ClassVar[list[FakeSession]] = []

    def __init__(self, name: str) -> None:
        self.name = name

    def obstacle(self, device: str) -> str | None:
        return "no such machine here" if self.name == "absent" else None

    def open(self, bundle: Bundle, *, device: str, threads: int) -> FakeSession:
        if self.name == "unreadable":
            raise ExportError("x.onnx: an operator of no kind")
        if self.name == "unopened":
            raise OSError("no such library\nand a long story")
        session = FakeSession(self.name, bundle.processor.convert_tokens_to_ids("w0"))
        self.opened.append(session)
        return session


class FakeSession:
    """Scores by whether the deciding word is there; wrong for some texts, or not finite, where asked to be."""

    def __init__(self, kind: str, good: int) -> None:
        self.kind, self.good, self.closed, self.bound = kind, good, False, list[tuple[int, ...]]()
        self.weight_bytes = 500 if kind == "smaller" else 1000

    def outputs(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        ids = inputs["input_ids"]
        if self.kind == "uncompiled":
            raise RuntimeError("no header Python.h\nand a compiler's log")
        if self.kind in LOSSES:
            return (1.0 + ids % 3 + LOSSES[self.kind]).astype(np.float32)
        positive = (ids == self.good).any(axis=1)
        if self.kind == "worse":
            positive = positive ^ (ids.sum(axis=1) % 3 == 0)
        scores = np.stack([~positive, positive], axis=1).astype(np.float32)
        if self.kind == "broken":
            scores[ids.sum(axis=1) % 2 == 0] = np.nan
        return scores

    def bind(self, inputs: Mapping[str, np.ndarray]) -> Any:
        self.bound.append(inputs["input_ids"].shape)
        return lambda: None

    def close(self) -> None:
        self.closed = True


class Guessing(Task):
    """Every token of a text is guessed, and nothing is labelled: there are as many losses as the text has tokens."""

    name: ClassVar[str] = "guessing"
    target: ClassVar[Labels | None] = None
    head: ClassVar[str] = ""
    metrics: ClassVar[tuple[str, ...]] = ("perplexity",)

    def encode(self, split: Split, processor: Any, *, max_tokens: int, seed: int) -> Encoded:
        return encode(split, processor, max_tokens=max_tokens)

    def predict(self, scores: np.ndarray, batch: Batch) -> np.ndarray:
        real = batch.inputs["attention_mask"][..., None] == 1
        return np.where(real, np.stack([batch.inputs["input_ids"], batch.inputs["input_ids"], scores], axis=-1), np.nan)

    def decide(self, predictions: np.ndarray) -> np.ndarray:
        return predictions

    def alike(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return 1 - np.nanmean(np.abs(first - second), axis=(1, 2))


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch) -> None:
    Oracle.opened.clear()
    monkeypatch.setattr(suite, "runtime_of", Oracle)
    monkeypatch.setattr(speed, "LIMITS", Limits(block_calls=3, pause_seconds=0.0, warmup_calls=1))
    monkeypatch.setattr(speed, "TEXTS", 8)


def sitting(
    *kinds: str,
    test: Split | None = None,
    shapes: tuple[str, ...] = ("1x8",),
    role: str = "stage",
    bundle: Bundle | None = None,
    **changes: Any,
) -> Sitting:
    """Fake targets, called by their kinds and places, measured against all before them."""
    bundle = bundle or tiny_bundle()
    subjects = [
        Subject(Target(name=f"{kind}-{place}", kind=role, title=kind, runtime=kind, form="torch"), bundle)
        for place, kind in enumerate(kinds)
    ]
    conditions = Conditions(
        test=test or tiny_split("test", COUNT, seed=5),
        deploy=Deploy(threads=1, shapes=shapes),
        device="cpu",
        metrics=bundle.task.metrics,
        seed=3,
        rounds=2,
        footprint=False,
    )
    names = [subject.target.name for subject in subjects]
    return measure(subjects, replace(conditions, **changes), baselines=names, progress=lambda *_told: None)


def comparison(found: Sitting, name: str, **conditions: Any) -> Any:
    """The one comparison of that name under these conditions."""
    [row] = [row for row in found.comparisons if row.name == name and conditions.items() <= row.conditions.items()]
    return row


def test_a_model_against_itself_loses_nothing_and_agrees_everywhere():
    found = sitting("right", "right")
    for metric in ("accuracy", "f1"):
        drop = comparison(found, "quality_drop", metric=metric)
        assert (drop.value, drop.verdict) == (0.0, "tie")
        assert drop.low <= 0.0 <= drop.high
    assert comparison(found, "quality_drop", metric="accuracy").p_value == 1.0
    agreement = comparison(found, "agreement")
    assert (agreement.value, agreement.count) == (1.0, COUNT)
    error = comparison(found, "logit_error")
    assert (error.value, error.unit, error.count) == (0.0, "ratio", COUNT)
    size = comparison(found, "compression_ratio")
    assert (size.value, size.verdict) == (1.0, "tie")


def test_a_model_that_errs_on_a_third_is_found_worse_by_as_much():
    found = sitting("right", "worse")
    exact = [m.value for m in found.measurements if m.name == "accuracy"]
    assert exact[0] == 1.0
    drop = comparison(found, "quality_drop", metric="accuracy")
    assert drop.value == pytest.approx(exact[0] - exact[1])
    assert 0 < drop.low <= drop.value <= drop.high
    assert drop.verdict == "worse"
    assert drop.p_value < 0.01
    assert comparison(found, "agreement").value == pytest.approx(exact[1])
    error = comparison(found, "logit_error")
    assert 0 < error.low <= error.value <= error.high


def test_half_the_bytes_are_a_ratio_of_two():
    size = comparison(sitting("right", "smaller"), "compression_ratio")
    assert (size.value, size.verdict) == (2.0, "better")


def test_scores_that_are_not_finite_are_counted_and_the_target_has_no_other_quality():
    found = sitting("right", "broken", "worse")
    rows = {row.name: row for row in found.measurements if row.target == "broken-1"}
    assert 0 < rows["not_finite"].value < rows["not_finite"].count == COUNT
    assert not {"accuracy", "f1", "calibration_error"} & rows.keys()
    assert {"bytes", "latency_p50_ms"} <= rows.keys()
    about = {row.name for row in found.comparisons if "broken-1" in (row.target, row.baseline)}
    assert not {"quality_drop", "agreement", "logit_error"} & about
    assert comparison(found, "quality_drop", metric="accuracy").target == "worse-2"
    assert len(found.predictions["broken-1"]) == 0
    assert {row["target"] for row in found.tables["slices"]} == {"worse-2"}
    assert not [row for row in found.measurements if row.name == "not_finite" and row.target != "broken-1"]


def test_an_example_whose_rows_span_batches_is_counted_once(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(DataError) as once:
        sitting("broken", role="baseline")
    usual = quality.batches_of
    monkeypatch.setattr(quality, "batches_of", lambda *args: [batch for batch in usual(*args) for _ in range(2)])
    with pytest.raises(DataError) as twice:
        sitting("broken", role="baseline")
    assert str(twice.value) == str(once.value)


@pytest.mark.parametrize("role", ["baseline", "variant"])
def test_a_baseline_or_variant_that_is_not_finite_is_skipped_with_the_number(role: str):
    found = sitting("right", "broken", "worse", role=role)
    [skipped] = found.skipped
    assert skipped.target == "broken-1"
    assert re.fullmatch(rf"\d+ of {COUNT} test examples give scores that are not finite", skipped.reason)
    assert [target.name for target in found.targets] == ["right-0", "worse-2"]


def test_targets_of_which_none_is_finite_are_refused_with_their_numbers():
    with pytest.raises(DataError, match=rf"broken-0: \d+ of {COUNT} test examples"):
        sitting("broken", role="baseline")
    assert all(session.closed for session in Oracle.opened)


def test_verdicts_are_by_the_p_value_that_is_adjusted_for_all_comparisons_by_a_metric(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(intervals, "mcnemar", lambda *_: 0.02)
    [alone] = [row for row in sitting("right", "worse").comparisons if row.conditions.get("metric") == "accuracy"]
    assert (alone.p_value, alone.adjusted_p_value, alone.verdict) == (0.02, 0.02, "worse")
    many = sitting("right", *["worse"] * 2)  # each of three with each other
    rows = [row for row in many.comparisons if row.conditions.get("metric") == "accuracy"]
    assert [(row.p_value, row.adjusted_p_value) for row in rows] == [(0.02, 0.06)] * 3
    assert {row.verdict for row in rows} == {"tie"}


def test_which_of_a_pair_is_the_baseline_does_not_change_what_is_corrected_for():
    p_values = {("a", "b"): 0.01, ("a", "c"): 0.02, ("b", "c"): 0.04}
    there = corrected([dropped(one, other, p_value) for (one, other), p_value in p_values.items()])
    back = corrected([dropped(other, one, p_value) for (one, other), p_value in reversed(p_values.items())])
    assert [row.adjusted_p_value for row in there] == pytest.approx([0.03, 0.04, 0.04])
    assert [row.adjusted_p_value for row in back] == [row.adjusted_p_value for row in reversed(there)]


def test_steps_compared_with_the_step_before_are_a_family_of_their_own():
    rows = [dropped("base", "first", 0.01), dropped("base", "second", 0.02), dropped("first", "second", 0.03)]
    assert [row.adjusted_p_value for row in corrected(rows, ["base"])] == [0.02, 0.02, 0.03]
    assert [row.adjusted_p_value for row in corrected(rows, ["base", "first"])] == [0.03, 0.04, 0.04]


def dropped(baseline: str, target: str, p_value: float) -> Comparison:
    return Comparison(
        target=target,
        baseline=baseline,
        name="quality_drop",
        value=0.1,
        unit="ratio",
        p_value=p_value,
        conditions={"metric": "f1"},
    )


def test_how_sure_it_is_that_no_more_than_a_gates_drop_was_lost_is_said_of_that_metric_alone():
    found = sitting("right", "worse", margins={"accuracy": 0.9})
    drop = comparison(found, "quality_drop", metric="accuracy")
    assert (drop.margin, drop.margin_p_value) == (0.9, pytest.approx(0.0, abs=0.01))
    assert comparison(found, "quality_drop", metric="f1").margin_p_value is None


def test_a_baseline_whose_file_a_runtime_cannot_read_is_skipped_unless_nothing_else_opens():
    found = sitting("exact", "unreadable", role="baseline")
    assert [(one.target, one.reason) for one in found.skipped] == [("unreadable-1", "x.onnx: an operator of no kind")]
    with pytest.raises(ExportError, match="an operator of no kind"):
        sitting("unreadable", role="baseline")


def test_a_target_that_cannot_run_here_is_listed_with_its_reason():
    found = sitting("right", "absent", "worse")
    assert [(one.target, one.reason) for one in found.skipped] == [("absent-1", "no such machine here")]
    assert [target.name for target in found.targets] == ["right-0", "worse-2"]
    named = {row.target for row in found.measurements} | set(found.predictions)
    assert named == {"right-0", "worse-2"}
    assert {(row.target, row.baseline) for row in found.comparisons} == {("worse-2", "right-0")}


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("unopened", "OSError: no such library"), ("uncompiled", "RuntimeError: no header Python.h")],
)
def test_a_baseline_that_fails_once_it_is_called_is_skipped_with_its_reason(kind: str, reason: str):
    found = sitting("right", kind, "worse", role="baseline")
    assert [(one.target, one.reason) for one in found.skipped] == [(f"{kind}-1", reason)]
    assert [target.name for target in found.targets] == ["right-0", "worse-2"]
    assert all(session.closed for session in Oracle.opened)


@pytest.mark.parametrize("kind", ["unopened", "uncompiled"])
def test_a_stage_that_fails_once_it_is_called_ends_the_run(kind: str):
    with pytest.raises((OSError, RuntimeError), match=r"no such library|no header"):
        sitting("right", kind)


def test_nothing_is_called_worse_that_the_test_does_not_bear_out(monkeypatch: pytest.MonkeyPatch):
    """The interval and the p-value come from two methods, and near the limit they may differ."""
    for p_value, verdict in ((0.04, "worse"), (0.05, "tie")):
        monkeypatch.setattr(intervals, "mcnemar", lambda *_, p_value=p_value: p_value)
        assert comparison(sitting("right", "worse"), "quality_drop", metric="accuracy").verdict == verdict


def test_only_what_is_right_or_wrong_has_the_exact_test(monkeypatch: pytest.MonkeyPatch):
    asked: list[int] = []
    monkeypatch.setattr(intervals, "mcnemar", lambda before, _after: asked.append(len(before)) or 0.123)
    found = sitting("right", "worse", metrics=("accuracy", "f1", "matthews"))
    p_values = {m: comparison(found, "quality_drop", metric=m).p_value for m in ("accuracy", "f1", "matthews")}
    assert asked.count(COUNT) == 1  # the others are parts of the split
    assert p_values["accuracy"] == 0.123
    assert 0.123 not in (p_values["f1"], p_values["matthews"])


def test_a_task_without_labels_is_measured_and_its_drop_is_relative():
    bundle = replace(tiny_bundle(), task=Guessing())
    test = replace(tiny_split("test", COUNT, seed=5), labels=None, label_names=())
    found = sitting("sure", "vague", bundle=bundle, test=test)
    sure, vague = [m for m in found.measurements if m.name == "perplexity"]
    assert (sure.unit, sure.count, sure.higher_is_better) == ("perplexity", COUNT, False)
    assert sure.low is not None
    assert sure.high is not None
    assert sure.low < sure.value < sure.high
    assert vague.value == pytest.approx(sure.value * np.exp(0.1))
    drop = comparison(found, "quality_drop", metric="perplexity")
    assert (drop.value, drop.unit) == (pytest.approx(np.exp(0.1) - 1, rel=1e-5), "relative")
    assert (drop.verdict, drop.count) == ("worse", COUNT)


def test_agreement_by_degrees_is_their_mean_with_its_interval():
    bundle = replace(tiny_bundle(), task=Guessing())
    agreement = comparison(sitting("sure", "vague", bundle=bundle), "agreement")
    assert agreement.value == pytest.approx(1 - 0.1 / 3, abs=1e-5)
    assert agreement.low <= agreement.value <= agreement.high


def test_targets_that_were_asked_different_things_are_not_compared(monkeypatch: pytest.MonkeyPatch):
    bundle = replace(tiny_bundle(), task=Guessing())
    assert not [row for row in sitting("sure", "vague", bundle=bundle).comparisons if row.name == "logit_error"]
    monkeypatch.setattr(Guessing, "comparable", lambda *_both: False)
    found = sitting("sure", "vague", bundle=bundle)
    assert not {"quality_drop", "agreement"} & {row.name for row in found.comparisons}


def test_predictions_that_differ_in_length_are_filled_up_and_in_order():
    bundle = replace(tiny_bundle(), task=Guessing())
    test = tiny_split("test", COUNT, seed=5)
    kept = sitting("sure", bundle=bundle, test=test).predictions["sure-0"]
    tokens = [len(text.split()) + 2 for text in test.texts]
    assert kept.shape == (COUNT, max(tokens), 3)
    assert (~np.isnan(kept)).all(axis=-1).sum(axis=1).tolist() == tokens
    first = bundle.processor.convert_tokens_to_ids([text.split()[0] for text in test.texts])
    assert kept[:, 1, 0].tolist() == first


def test_a_metric_that_does_not_fit_the_task_is_refused_before_anything_is_opened():
    with pytest.raises(DataError, match=r"'spearman' does not fit .*'class'; wanted one of accuracy, .*f1"):
        sitting("right", metrics=("accuracy", "spearman"))
    assert Oracle.opened == []


WORDS = ("w0", "w1", "w2", "w3", "w4", "w5", "w6")


def labelled(task: str) -> Split:
    """A few examples of what the task wants."""
    random = np.random.default_rng(0)
    texts = tuple(" ".join(random.choice(WORDS, size=int(random.integers(3, 7)))) for _ in range(12))
    split = Split("test", texts, None, None, ("a", "b", "c"))
    if task == "multi-label-classification":
        return replace(split, labels=random.integers(0, 2, (12, 3)).astype(np.int8))
    if task in ("text-regression", "sentence-embedding"):
        return replace(split, pairs=texts[::-1], labels=random.normal(size=12), label_names=("score",))
    if task == "token-classification":
        counts = np.array([len(text.split()) for text in texts])
        tags = np.where(np.arange(6) < counts[:, None], random.integers(0, 3, (12, 6)), -100)
        return replace(split, labels=tags, label_names=("O", "B-w", "I-w"))
    if task == "question-answering":
        return replace(split, pairs=texts[::-1], labels=np.array([[[0, 2]]] * 12), label_names=())
    assert task == "fill-mask", task
    return replace(split, label_names=())


@pytest.mark.parametrize(
    "task",
    [
        "fill-mask",
        "multi-label-classification",
        "question-answering",
        "sentence-embedding",
        "text-regression",
        "token-classification",
    ],
)
def test_whatever_the_task_a_model_against_itself_loses_nothing(task: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(suite, "runtime_of", runtime_of)
    rounds = [np.array([1.0, 2.0])] * 2
    monkeypatch.setattr(speed, "take_turns", lambda seats, **_: dict.fromkeys(seats, rounds))
    monkeypatch.setattr(speed, "_time_texts", lambda *_: None)
    test = labelled(task)
    bundle = tiny_bundle(labels=test.label_names or LABELS, task=task)
    found = sitting("torch-fp32", "torch-fp32", bundle=bundle, test=test)
    for metric in bundle.task.metrics:
        drop = comparison(found, "quality_drop", metric=metric)
        assert (drop.value, drop.verdict) == (0.0, "tie")
        assert drop.low <= 0.0 <= drop.high
        measured = [m for m in found.measurements if m.name == metric]
        assert [m.count for m in measured] == [12, 12]
        assert all(m.unit and np.isfinite([m.value, m.low, m.high]).all() for m in measured)
    assert comparison(found, "agreement").value == pytest.approx(1.0)
    assert all(row.unit for row in found.comparisons)


def test_predictions_stand_in_the_order_of_the_split():
    test = tiny_split("test", COUNT, seed=5)
    assert len({len(text.split()) for text in test.texts}) > 3  # batched by length, so not in the order of the split
    scores = sitting("right", test=test).predictions["right-0"]
    assert scores.shape == (COUNT, 2)
    assert np.array_equal(scores.argmax(axis=1) == 0, np.array([" w1 " in f" {text} " for text in test.texts]))


def test_shuffling_the_split_shuffles_the_predictions_alike():
    test = tiny_split("test", COUNT, seed=5)
    order = np.random.default_rng(0).permutation(COUNT)
    straight = sitting("worse", test=test).predictions["worse-0"]
    shuffled = sitting("worse", test=test.rows(order)).predictions["worse-0"]
    assert np.array_equal(shuffled, straight[order])


def test_a_split_without_labels_is_refused_before_anything_is_opened():
    with pytest.raises(DataError, match="no labels to measure quality against"):
        sitting("right", test=replace(tiny_split("test", COUNT), labels=None))
    assert Oracle.opened == []


def test_a_shape_that_a_target_cannot_read_is_refused_before_anything_is_opened():
    with pytest.raises(DataError, match=r"shape 1x65: the model reads 64 tokens at most"):
        sitting("right", shapes=("1x8", "1x65"))
    assert Oracle.opened == []


def test_every_target_is_timed_on_the_same_inputs_at_every_shape():
    found = sitting("right", "worse", shapes=("1x8", "3x16"))
    bound = [session.bound for session in Oracle.opened]
    assert bound == [[(1, 8), (3, 16)]] * 4  # one of each runtime is opened and timed twice
    assert all(session.closed for session in Oracle.opened)
    shaped = [m for m in found.measurements if "p50" in m.name and "tokens" in m.conditions]
    timed = {(m.target, m.conditions["batch"], m.conditions["tokens"]) for m in shaped}
    assert timed == {(name, *shape) for name in ("right-0", "worse-1") for shape in ((1, 8), (3, 16))}


def test_the_same_seed_gives_the_same_figures():
    def steady(found: Sitting) -> list[Any]:
        return [
            row
            for row in (*found.measurements, *found.comparisons)
            if row.name not in ("speedup", "throughput_per_s", "noise") and not row.name.startswith("latency")
        ]

    assert steady(sitting("right", "worse")) == steady(sitting("right", "worse"))


def test_progress_of_quality_and_latency_reaches_the_end():
    told: list[tuple[str, float]] = []
    bundle = tiny_bundle()
    target = Target(name="a", kind="stage", title="a", runtime="right", form="torch")
    conditions = Conditions(
        tiny_split("test", 10), Deploy(threads=1, shapes=("1x8",)), "cpu", ("accuracy",), 3, 2, footprint=False
    )
    measure(
        [Subject(target, bundle)], conditions, baselines=[], progress=lambda work, part, _: told.append((work, part))
    )
    assert ("quality", 1.0) in told
    assert ("latency", 1.0) in told


def test_every_step_is_compared_with_the_reference_and_with_the_step_before_it():
    bundle = tiny_bundle()
    kinds = [
        ("right", "baseline"),
        ("smaller", "baseline"),
        ("right", "stage"),
        ("worse", "stage"),
        ("right", "result"),
    ]
    subjects = [
        Subject(Target(name=f"{runtime}-{place}", kind=role, title="", runtime=runtime, form="torch"), bundle)
        for place, (runtime, role) in enumerate(kinds)
    ]
    conditions = Conditions(
        tiny_split("test", 20), Deploy(threads=1, shapes=("1x8",)), "cpu", ("accuracy",), 3, 2, footprint=False
    )
    found = measure(subjects, conditions, baselines=["right-0"], progress=lambda *_told: None)
    ratios = [(row.target, row.baseline) for row in found.comparisons if row.name == "compression_ratio"]
    with_reference = [(subject.target.name, "right-0") for subject in subjects[1:]]
    assert ratios == [*with_reference, ("worse-3", "right-2"), ("right-4", "worse-3")]


def test_every_target_has_the_parameters_of_its_parts():
    found = sitting("right", "worse")
    total = tiny_bundle().anatomy.parameters
    for name in ("right-0", "worse-1"):
        assert sum(row["parameters"] for row in found.tables["parts"] if row["target"] == name) == total
