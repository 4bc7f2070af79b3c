"""What broke: flipped examples are found and told apart, and a class that got worse is the worst slice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from task_samples import sample
from tiny import tiny_bundle, tiny_split

from compress.data import Split
from compress.deploy import Deploy
from compress.task import task_of
from evaluation.measurement import Target
from evaluation.quality.broke import EXAMPLES, what_broke
from evaluation.quality.quality import metrics_of
from evaluation.sitting import Conditions, Opened, Subject

COUNT = 400


def scores_of(decisions: np.ndarray, sureness: float | np.ndarray = 2.0) -> np.ndarray:
    """Logits of two classes that decide so."""
    return np.stack([np.zeros(len(decisions)), np.where(decisions == 1, sureness, -np.asarray(sureness))], axis=1)


def broken(
    test: Split,
    *predictions: np.ndarray,
    task: str = "text-classification",
    metrics: tuple[str, ...] = (),
    quote: bool = True,
) -> dict[str, Any]:
    """The tables of targets `m1`, `m2`, ... beside the reference `m0`, which make these predictions."""
    bundle = tiny_bundle(labels=test.label_names or ("a", "b"), task=task)
    bundle = replace(bundle, labels=test.label_names, task=task_of(task))
    conditions = Conditions(test, Deploy(threads=1), "cpu", metrics or bundle.task.metrics[:1], seed=0, quote=quote)
    opened = []
    for place, scores in enumerate(predictions):
        target = Target(name=f"m{place}", kind="stage", title="", runtime="torch-fp32", form="torch")
        subject = Subject(target, bundle)
        opened.append(Opened(subject, None, metrics_of(subject, conditions), predictions=scores))  # type: ignore[arg-type]
    return what_broke(opened, conditions, reference="m0")


def labels_of(test: Split) -> np.ndarray:
    assert test.labels is not None
    return test.labels


class TestFlips:
    def test_a_model_against_itself_flips_nothing(self) -> None:
        test = tiny_split("test", COUNT)
        tables = broken(test, scores_of(labels_of(test)), scores_of(labels_of(test)))
        assert tables["flips"] == []
        assert tables["flips_count"] == [
            {"target": "m1", "baseline": "m0", "broken": 0, "mended": 0, "changed": 0, "count": COUNT}
        ]

    def test_what_the_reference_had_right_is_broken_and_what_it_had_wrong_is_mended(self) -> None:
        test = tiny_split("test", 10)
        truth = labels_of(test)
        before, after = truth.copy(), truth.copy()
        before[[2, 3]] ^= 1
        after[[3, 7]] ^= 1  # 3 stays wrong, which is no flip with two classes
        rows = {row["example"]: row for row in broken(test, scores_of(before), scores_of(after))["flips"]}
        assert {example: row["kind"] for example, row in rows.items()} == {2: "mended", 7: "broken"}
        names = test.label_names
        assert rows[7]["text"] == test.texts[7]
        assert rows[7]["label"] == rows[7]["before"] == names[truth[7]]
        assert rows[7]["after"] == names[1 - truth[7]]

    def test_texts_that_are_not_to_be_quoted_leave_numbers_and_labels(self) -> None:
        test = tiny_split("test", 10)
        after = labels_of(test).copy()
        after[7] ^= 1
        [row] = broken(test, scores_of(labels_of(test)), scores_of(after), quote=False)["flips"]
        assert (row["example"], row["kind"]) == (7, "broken")
        assert test.texts[7] not in str(row)

    def test_wrong_in_another_way_is_changed(self) -> None:
        test = replace(tiny_split("test", 2), labels=np.array([0, 0]), label_names=("a", "b", "c"))
        before, after = np.eye(3)[[1, 0]], np.eye(3)[[2, 0]]
        [row] = broken(test, before, after)["flips"]
        assert (row["kind"], row["before"], row["after"], row["label"]) == ("changed", "b", "c", "a")

    def test_what_the_reference_was_surest_of_comes_first_and_no_more_than_are_shown(self) -> None:
        test = tiny_split("test", COUNT)
        sureness = np.random.default_rng(0).uniform(0.1, 5, COUNT)
        before = scores_of(labels_of(test), sureness)
        tables = broken(test, before, scores_of(1 - labels_of(test)))
        confidence = [row["confidence"] for row in tables["flips"]]
        assert confidence == sorted(confidence, reverse=True)
        assert len(confidence) == EXAMPLES
        assert confidence[0] == pytest.approx(1 / (1 + np.exp(-sureness.max())), abs=1e-6)
        assert tables["flips_count"][0]["broken"] == COUNT

    def test_many_targets_share_what_is_shown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("evaluation.quality.broke.EXAMPLES_IN_ALL", 40)
        test = tiny_split("test", COUNT)
        before, after = scores_of(labels_of(test)), scores_of(1 - labels_of(test))
        tables = broken(test, before, *[after] * 5)
        shown = [sum(row["target"] == f"m{place}" for row in tables["flips"]) for place in range(1, 6)]
        assert shown == [9] * 5

    @pytest.mark.parametrize(
        "task", ["multi-label-classification", "token-classification", "question-answering", "sentence-embedding"]
    )
    def test_every_task_that_decides_something_tells_its_flips(self, task: str) -> None:
        test = sample(task_of(task), "test", 40)
        before, after = PREDICTED[task](test)
        tables = broken(test, before, after, task=task)
        if task == "sentence-embedding":
            assert "flips" not in tables
            return
        [row] = tables["flips"]
        assert (row["example"], row["kind"]) == (5, "broken")
        assert row["label"] == row["before"] != row["after"]
        assert ("text_pair" in row) == (test.pairs is not None)
        [unquoted] = broken(test, before, after, task=task, quote=False)["flips"]
        told = " ".join(str(unquoted[column]) for column in ("label", "before", "after"))
        words = f"{test.texts[5]} {test.pairs[5] if test.pairs else ''}".split()
        assert not set(told.replace(":", "").split()) & set(words) - set(test.label_names)


def _several(test: Split) -> tuple[np.ndarray, np.ndarray]:
    before = 4.0 * labels_of(test) - 2
    after = before.copy()
    after[5, 2] = 1.0
    return before, after


def _tagged(test: Split) -> tuple[np.ndarray, np.ndarray]:
    """The second model reads one word less of the longest text, and tags the first word of text 5 otherwise."""
    truth = labels_of(test)
    before = np.where((truth >= 0)[..., None], 3 * np.eye(3)[np.maximum(truth, 0)], np.nan)
    after = before.copy()
    after[5, 0] = np.roll(after[5, 0], 1)
    return before, after


def _spanned(test: Split) -> tuple[np.ndarray, np.ndarray]:
    before = np.concatenate([labels_of(test)[:, 0], np.ones((len(test), 1))], axis=1).astype(float)
    after = before.copy()
    after[5, :2] = -1
    return before, after


def _embedded(test: Split) -> tuple[np.ndarray, np.ndarray]:
    vectors = np.random.default_rng(0).normal(size=(len(test), 2, 4))
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors, vectors[::-1]


PREDICTED = {
    "multi-label-classification": _several,
    "token-classification": _tagged,
    "question-answering": _spanned,
    "sentence-embedding": _embedded,
}


def _planted(rows: list[dict[str, Any]], what: str, value: str, *, count: int, lost: float) -> None:
    """The worst slice is the one that was made worse, beyond chance; other classes lost nothing."""
    worst = rows[0]
    assert (worst["slice"], worst["value"], worst["count"]) == (what, value, count)
    assert worst["drop"] == pytest.approx(lost)
    assert 0 < worst["low"] <= worst["drop"] <= worst["high"]
    assert worst["adjusted_p_value"] < 0.001
    others = [row for row in rows if row["slice"] == what and row["value"] != value]
    assert others
    assert all(row["drop"] <= 0 and row["low"] < 0 < row["high"] and row["p_value"] == 1.0 for row in others)


class TestSlices:
    def test_a_class_that_got_worse_is_the_worst_slice(self) -> None:
        test = tiny_split("test", COUNT)
        truth = labels_of(test)
        after = np.where((truth == 1) & (np.random.default_rng(0).random(COUNT) < 0.3), 0, truth)
        rows = broken(test, scores_of(truth), scores_of(after))["slices"]
        worst = rows[0]
        assert (worst["slice"], worst["value"], worst["metric"]) == ("label", test.label_names[1], "accuracy")
        assert 0 < worst["low"] <= worst["drop"] <= worst["high"]
        assert worst["drop"] == pytest.approx(worst["before"] - worst["after"])
        assert worst["adjusted_p_value"] < 0.001
        other = next(row for row in rows if row["value"] == test.label_names[0])
        assert (other["drop"], other["p_value"]) == (0.0, 1.0)

    def test_a_label_that_is_found_less_is_the_worst_of_many(self) -> None:
        random = np.random.default_rng(0)
        truth = (random.random((COUNT, 3)) < (0.5, 0.3, 0.2)).astype(np.int8)
        test = replace(tiny_split("test", COUNT), labels=truth, label_names=("a", "b", "c"))
        before, after = 4.0 * truth - 2, 4.0 * truth - 2
        missed = np.flatnonzero(truth[:, 1])[:40]
        after[missed, 1] = -2.0
        rows = broken(test, before, after, task="multi-label-classification")["slices"]
        _planted(rows, "label", "b", count=int(truth[:, 1].sum()), lost=40 / truth[:, 1].sum())
        assert {row["value"] for row in rows if row["slice"] == "label"} == {"a", "b", "c"}

    @pytest.mark.parametrize(
        ("names", "kind", "worse"), [(("O", "B-place", "B-person"), "entity", "place"), (("X", "N", "V"), "tag", "N")]
    )
    def test_a_type_of_entity_or_tag_that_is_found_less_is_the_worst(
        self, names: tuple[str, ...], kind: str, worse: str
    ) -> None:
        """Every text has two words of each tag; the target reads every third text's first word of tag 1 as tag 0."""
        truth = np.tile([0, 1, 2, 1, 0, 2], (COUNT, 1))
        text = " ".join(f"w{place}" for place in range(6))
        test = Split("test", (text,) * COUNT, None, truth, names)
        decided = truth.copy()
        decided[::3, 1] = 0
        scores = [3 * np.eye(3)[each] for each in (truth, decided)]
        rows = broken(test, *scores, task="token-classification")["slices"]
        _planted(rows, kind, worse, count=COUNT, lost=len(decided[::3]) / (2 * COUNT))
        assert {row["value"] for row in rows if row["slice"] == kind} == (
            {"place", "person"} if kind == "entity" else {"X", "N", "V"}
        )

    def test_questions_without_an_answer_are_judged_apart(self) -> None:
        context = "one two three"
        truth = np.array([[[0, 3]] if place % 2 else [[-1, -1]] for place in range(COUNT)])
        test = Split("test", ("which?",) * COUNT, (context,) * COUNT, truth, ())
        before = np.concatenate([truth[:, 0], np.ones((COUNT, 1))], axis=1).astype(float)
        after = before.copy()
        after[:100:2, :2] = (4, 7)  # an answer where there is none
        rows = broken(test, before, after, task="question-answering", metrics=("span_f1",))["slices"]
        _planted(rows, "answer", "no answer", count=COUNT // 2, lost=50 / (COUNT // 2))
        answered = replace(test, labels=np.tile([[[0, 3]]], (COUNT, 1, 1)))
        assert "answer" not in {
            row["slice"]
            for row in broken(answered, before, after, task="question-answering", metrics=("span_f1",))["slices"]
        }

    def test_slices_of_each_kind_hold_every_example_once(self) -> None:
        test = tiny_split("test", COUNT)
        test = replace(test, slices={"genre": tuple("xyz"[place % 3] for place in range(COUNT))})
        rows = broken(test, *[scores_of(labels_of(test))] * 2)["slices"]
        for kind in ("label", "length", "genre"):
            assert sum(row["count"] for row in rows if row["slice"] == kind) == COUNT

    def test_a_column_of_many_numbers_is_cut_into_quarters(self) -> None:
        test = tiny_split("test", COUNT)
        year = np.arange(COUNT)
        after = np.where(year >= 300, 1 - labels_of(test), labels_of(test))
        test = replace(test, slices={"year": tuple(map(str, year))})
        rows = broken(test, scores_of(labels_of(test)), scores_of(after))["slices"]
        assert (rows[0]["slice"], rows[0]["value"], rows[0]["drop"]) == ("year", "300 to 399", 1.0)
        assert len([row for row in rows if row["slice"] == "year"]) == 4

    def test_a_slice_of_few_examples_is_not_judged_and_comes_last(self) -> None:
        test = tiny_split("test", COUNT)
        values = tuple("rare" if place < 19 else "usual" for place in range(COUNT))
        test = replace(test, slices={"kind": values})
        after = np.where(np.arange(COUNT) < 19, 1 - labels_of(test), labels_of(test))
        rows = broken(test, scores_of(labels_of(test)), scores_of(after))["slices"]
        rare = rows[-1]
        assert (rare["value"], rare["drop"], rare["count"]) == ("rare", 1.0, 19)
        assert (rare["low"], rare["high"], rare["p_value"], rare["adjusted_p_value"]) == (None,) * 4

    def test_looking_at_many_slices_is_corrected_for(self) -> None:
        test = tiny_split("test", COUNT)
        after = np.where(np.random.default_rng(0).random(COUNT) < 0.1, 1 - labels_of(test), labels_of(test))
        rows = broken(test, scores_of(labels_of(test)), scores_of(after))["slices"]
        assert all(row["adjusted_p_value"] >= row["p_value"] for row in rows)
        assert any(row["adjusted_p_value"] > row["p_value"] for row in rows)

    def test_slices_of_all_targets_are_one_family(self) -> None:
        test = tiny_split("test", COUNT)
        before = scores_of(labels_of(test))
        after = scores_of(np.where(np.random.default_rng(0).random(COUNT) < 0.05, 1 - labels_of(test), labels_of(test)))
        alone, among = (broken(test, before, *[after] * many)["slices"] for many in (1, 3))
        sure = min(row["p_value"] for row in alone)
        adjusted = [next(r["adjusted_p_value"] for r in rows if r["p_value"] == sure) for rows in (alone, among)]
        assert adjusted == pytest.approx([sure * len(alone), sure * 3 * len(alone)])

    def test_a_score_is_sliced_by_length_and_judged_by_the_metric_asked_for(self) -> None:
        test = sample(task_of("sentence-embedding"), "test", 80)
        rows = broken(test, *_embedded(test), task="sentence-embedding", metrics=("spearman",))["slices"]
        assert {(row["slice"], row["metric"]) for row in rows} == {("length", "spearman")}


def test_nothing_is_said_without_a_reference_or_anything_beside_it() -> None:
    test = tiny_split("test", 20)
    assert broken(test, scores_of(labels_of(test))) == {}
