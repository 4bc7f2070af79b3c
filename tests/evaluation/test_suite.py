"""The suite's laws: equal models are found equal, worse ones worse, and every score stands at its example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
from tiny import tiny_bundle, tiny_split

from compress.bundle import Bundle, Form
from compress.data import Split
from compress.deploy import Deploy
from compress.errors import DataError
from evaluation import suite
from evaluation.measurement import Target
from evaluation.suite import Conditions, Sitting, Subject, measure

COUNT = 90


class Oracle:
    """A runtime that knows the words which decide the label. The target's title says how it errs."""

    form: ClassVar[Form] = Form.TORCH
    opened: ClassVar[list[FakeSession]] = []

    def __init__(self, name: str) -> None:
        self.name = name

    def obstacle(self, device: str) -> str | None:
        return "no such machine here" if self.name == "absent" else None

    def open(self, bundle: Bundle, *, device: str, threads: int) -> FakeSession:
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


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch) -> None:
    Oracle.opened.clear()
    monkeypatch.setattr(suite, "runtime_of", Oracle)


def sitting(
    *kinds: str, test: Split | None = None, shapes: tuple[str, ...] = ("1x8",), role: str = "stage", **changes: Any
) -> Sitting:
    """Fake targets, called by their kinds and places, measured against all before them."""
    bundle = tiny_bundle()
    subjects = [
        Subject(Target(name=f"{kind}-{place}", kind=role, title=kind, runtime=kind, form="torch"), bundle)
        for place, kind in enumerate(kinds)
    ]
    conditions = Conditions(
        test=test or tiny_split("test", COUNT, seed=5),
        deploy=Deploy(threads=1, shapes=shapes),
        device="cpu",
        metrics=("accuracy", "f1"),
        seed=3,
        rounds=2,
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
        assert (drop.value, drop.low, drop.high, drop.verdict) == (0.0, 0.0, 0.0, "tie")
    assert comparison(found, "quality_drop", metric="accuracy").p_value == 1.0
    agreement = comparison(found, "agreement")
    assert (agreement.value, agreement.count) == (1.0, COUNT)
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


def test_half_the_bytes_are_a_ratio_of_two():
    size = comparison(sitting("right", "smaller"), "compression_ratio")
    assert (size.value, size.verdict) == (2.0, "better")


def test_scores_that_are_not_finite_are_refused_with_target_and_number():
    with pytest.raises(DataError, match=rf"broken-1: \d+ of {COUNT} test examples"):
        sitting("right", "broken")
    assert all(session.closed for session in Oracle.opened)


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
        monkeypatch.setattr(suite.statistics, "mcnemar", lambda *_, p_value=p_value: p_value)
        assert comparison(sitting("right", "worse"), "quality_drop", metric="accuracy").verdict == verdict


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
    assert [session.bound for session in Oracle.opened] == [[(1, 8), (3, 16)]] * 2
    assert all(session.closed for session in Oracle.opened)
    timed = {(m.target, m.conditions["batch"], m.conditions["tokens"]) for m in found.measurements if "p50" in m.name}
    assert timed == {(name, *shape) for name in ("right-0", "worse-1") for shape in ((1, 8), (3, 16))}


def test_the_same_seed_gives_the_same_figures():
    def steady(found: Sitting) -> list[Any]:
        return [
            row
            for row in (*found.measurements, *found.comparisons)
            if row.name not in ("speedup",) and not row.name.startswith("latency")
        ]

    assert steady(sitting("right", "worse")) == steady(sitting("right", "worse"))


def test_progress_of_quality_and_latency_reaches_the_end():
    told: list[tuple[str, float]] = []
    bundle = tiny_bundle()
    target = Target(name="a", kind="stage", title="a", runtime="right", form="torch")
    conditions = Conditions(tiny_split("test", 10), Deploy(threads=1, shapes=("1x8",)), "cpu", ("accuracy",), 3, 2)
    measure(
        [Subject(target, bundle)], conditions, baselines=[], progress=lambda work, part, _: told.append((work, part))
    )
    assert ("quality", 1.0) in told
    assert ("latency", 1.0) in told
