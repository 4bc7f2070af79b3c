"""Runs are compared pair by pair from what they kept; what can't be compared is said, and nothing ends in a crash."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kept_runs import COUNT, TEST, made, scores_of
from tiny import tiny_split

from evaluation.across import across as module
from evaluation.across.across import across
from evaluation.across.doubts import doubts
from evaluation.across.kept import Kept
from evaluation.measurement import Across, Comparison
from evaluation.statistics.significance import mcnemar


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """How well intervals hold is looked at elsewhere."""
    monkeypatch.setattr(module, "_RESAMPLES", 100)


def changed(kept: Kept, **fields: Any) -> Kept:
    """The same folder, with another run.json."""
    return Kept(kept.label, kept.run.model_copy(update=fields), kept.folder)


def reasons(found: Across, what: str) -> list[str]:
    return [each.reason for each in found.obstacles if each.what == what]


def drop(found: Across, metric: str = "accuracy") -> Comparison:
    [row] = [row for row in found.comparisons if row.conditions.get("metric") == metric]
    return row


class TestQuality:
    def test_two_runs_are_paired_example_by_example(self, tmp_path: Path) -> None:
        good, bad = made(tmp_path, "good", wrong=0.05, seed=1), made(tmp_path, "bad", wrong=0.2, seed=2)
        found = across([good, bad])
        row = drop(found)
        right = [scores_of(TEST, w, s).argmax(1) == TEST.labels for w, s in ((0.05, 1), (0.2, 2))]
        assert (row.target, row.baseline, row.count) == ("bad", "good", COUNT)
        assert row.value == pytest.approx(right[0].mean() - right[1].mean())
        assert row.p_value == pytest.approx(mcnemar(*(each.astype(int) for each in right)))
        assert row.adjusted_p_value is not None
        assert row.adjusted_p_value >= row.p_value
        assert row.verdict == "worse"
        [alike] = [each for each in found.comparisons if each.name == "agreement"]
        assert alike.value == pytest.approx((right[0] == right[1]).mean())
        assert found.doubts == {}
        assert reasons(found, "quality") == []

    def test_quality_is_compared_across_machines(self, tmp_path: Path) -> None:
        found = across([made(tmp_path, "a"), made(tmp_path, "b", machine={"cpu": "another"}, seed=1)])
        assert drop(found).baseline == "a"
        assert reasons(found, "speed") == ["other processor: a and another"]

    def test_a_run_against_a_copy_of_itself_loses_nothing(self, tmp_path: Path) -> None:
        found = across([made(tmp_path, "a"), made(tmp_path, "b")])
        for metric in ("accuracy", "f1"):
            assert (drop(found, metric).value, drop(found, metric).verdict) == (0.0, "tie")

    def test_a_changed_label_order_is_caught(self, tmp_path: Path) -> None:
        assert TEST.labels is not None
        turned = replace(TEST, labels=1 - TEST.labels, label_names=TEST.label_names[::-1])
        found = across([made(tmp_path, "a"), made(tmp_path, "b", test=turned)])
        [reason] = reasons(found, "quality")
        assert "labels stand in another order (negative, positive; positive, negative)" in reason
        assert not [row for row in found.comparisons if row.name in ("quality_drop", "agreement")]

    def test_other_data_are_said_with_how_many_examples_are_shared(self, tmp_path: Path) -> None:
        part = TEST.rows(np.arange(200))
        found = across([made(tmp_path, "a"), made(tmp_path, "b", test=part)])
        assert reasons(found, "quality") == [f"{COUNT} and 200 test examples; 200 are in both"]
        other = tiny_split("test", COUNT, seed=9)
        [reason] = reasons(across([made(tmp_path, "a"), made(tmp_path, "c", test=other)]), "quality")
        assert reason.startswith("other test examples; ")

    def test_other_labels_of_the_same_texts_are_said(self, tmp_path: Path) -> None:
        assert TEST.labels is not None
        flipped = replace(TEST, labels=np.where(np.arange(COUNT) < 3, 1 - TEST.labels, TEST.labels))
        found = across([made(tmp_path, "a"), made(tmp_path, "b", test=flipped)])
        assert reasons(found, "quality") == ["the same test texts, but with other labels"]

    def test_a_missing_file_of_predictions_is_said_and_the_others_are_compared(self, tmp_path: Path) -> None:
        runs = [made(tmp_path, label, seed=place) for place, label in enumerate("abc")]
        (tmp_path / "b" / "predictions" / "result.npz").unlink()
        found = across(runs)
        assert {(row.baseline, row.target) for row in found.comparisons if row.name == "agreement"} == {("a", "c")}
        assert (
            reasons(found, "quality") == ["predictions/result.npz: no such file; was it removed, or never written?"] * 2
        )
        assert str(tmp_path) not in found.model_dump_json()

    def test_a_missing_prediction_is_said(self, tmp_path: Path) -> None:
        runs = [made(tmp_path, "a"), made(tmp_path, "b")]
        file = tmp_path / "b" / "predictions" / "result.npz"
        with np.load(file) as kept:
            arrays = {name: kept[name] for name in kept.files}
        np.savez_compressed(file, **arrays | {"scores": arrays["scores"][:-1]})
        [reason] = reasons(across(runs), "quality")
        assert "299 scores" in reason
        assert "a prediction is missing" in reason

    def test_a_metric_of_one_run_alone_is_said(self, tmp_path: Path) -> None:
        found = across([made(tmp_path, "a"), made(tmp_path, "b", metrics=("accuracy",))])
        assert reasons(found, "quality") == ["f1 was measured in a alone"]
        assert drop(found).value == 0.0

    def test_other_tasks_are_said(self, tmp_path: Path) -> None:
        found = across([made(tmp_path, "a"), made(tmp_path, "b", task="image-classification")])
        assert reasons(found, "quality") == ["other tasks: text-classification and image-classification"]

    def test_files_of_an_older_version_are_compared(self, tmp_path: Path) -> None:
        runs = [made(tmp_path, "a"), made(tmp_path, "b", wrong=0.3, seed=1)]
        runs = [
            changed(kept, tables={"data": {"splits": {"test": {"labels": {"negative": 1, "positive": 1}}}}})
            for kept in runs
        ]
        for file in tmp_path.glob("*/predictions/*.npz"):
            with np.load(file) as kept:
                arrays = {name: kept[name] for name in ("scores", "labels", "data")}
            np.savez_compressed(file, **arrays)
        assert drop(across(runs)).verdict == "worse"

    def test_many_runs_are_each_compared_with_the_first(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MANY", 2)
        found = across([made(tmp_path, label, seed=place) for place, label in enumerate("abcd")])
        assert {row.baseline for row in found.comparisons} == {"a"}
        assert {row.target for row in found.comparisons} == {"b", "c", "d"}


class TestSpeed:
    def speedup(self, found: Across) -> Comparison:
        [row] = [row for row in found.comparisons if row.name == "speedup"]
        return row

    def test_the_same_machine_run_alike_gives_a_ratio_with_both_runs_intervals(self, tmp_path: Path) -> None:
        row = self.speedup(across([made(tmp_path, "a"), made(tmp_path, "b", p50_ms=5.0)]))
        assert (row.value, row.target, row.verdict) == (2.0, "b", "better")
        assert row.low is not None
        assert row.high is not None
        assert 2 / 1.04 < row.low < 2 / 1.02  # wider than either run's two per cent, narrower than their sum
        assert 2 * 1.02 < row.high < 2 * 1.04
        assert row.conditions == {"batch": 1, "tokens": 16, "sittings": "apart", "drift": 0.0}

    def test_a_ratio_within_both_sittings_noise_is_a_tie(self, tmp_path: Path) -> None:
        row = self.speedup(across([made(tmp_path, "a"), made(tmp_path, "b", p50_ms=9.6)]))
        assert row.noise == pytest.approx(0.02)
        assert row.verdict == "tie"

    def test_a_machine_that_drifted_between_the_sittings_makes_no_run_slower(self, tmp_path: Path) -> None:
        first = made(tmp_path, "a")
        drifted = made(tmp_path, "b", p50_ms=12.0, reference_ms=36.0)
        row = self.speedup(across([first, drifted]))
        assert row.noise == pytest.approx(0.02 + 0.2)
        assert row.verdict == "tie"
        assert self.speedup(across([first, made(tmp_path, "c", p50_ms=12.0)])).verdict == "worse"

    def test_without_a_reference_that_both_timed_there_is_no_verdict(self, tmp_path: Path) -> None:
        first, second = made(tmp_path, "a"), made(tmp_path, "b", p50_ms=5.0)
        rows = [row for row in second.run.measurements if (row.target, row.name) != ("torch-fp32", "latency_p50_ms")]
        alone = replace(second, run=second.run.model_copy(update={"measurements": rows}))
        assert self.speedup(across([first, alone])).verdict is None

    @pytest.mark.parametrize(
        ("machine", "reason"),
        [
            ({"cores": 4}, "other number of cores: 2 and 4"),
            ({"device": "NVIDIA"}, "other device: cpu and NVIDIA"),
            ({"cpu": None}, "processor is not known of one of them"),
            ({"packages": {"onnxruntime": "1.30"}}, "other version of onnxruntime: 1.31 and 1.30"),
        ],
    )
    def test_another_machine_or_version_is_said(self, tmp_path: Path, machine: dict[str, Any], reason: str) -> None:
        found = across([made(tmp_path, "a"), made(tmp_path, "b", machine=machine)])
        assert reasons(found, "speed") == [reason]
        assert not [row for row in found.comparisons if row.name == "speedup"]

    @pytest.mark.parametrize("key", ["threads", "runtime", "processes"])
    def test_another_way_of_running_is_said(self, tmp_path: Path, key: str) -> None:
        first, second = made(tmp_path, "a"), made(tmp_path, "b")
        rows = [
            row.model_copy(update={"conditions": row.conditions | {key: "other"}}) for row in second.run.measurements
        ]
        [reason] = reasons(across([first, changed(second, measurements=rows)]), "speed")
        assert ("process" if key == "processes" else key) in reason


class TestSeeds:
    def test_runs_that_differ_by_seed_alone_are_taken_together(self, tmp_path: Path) -> None:
        runs = [made(tmp_path, f"s{seed}", seed=seed) for seed in (1, 2, 3)]
        [group] = across(runs).seeds
        assert (group.runs, group.seeds) == (["s1", "s2", "s3"], [1, 2, 3])
        [row] = [each for each in group.comparisons if each.conditions["metric"] == "accuracy"]
        own = [kept.run.comparisons[0].value for kept in runs]
        assert row.value == pytest.approx(np.mean(own))
        assert row.conditions["seeds"] == 3
        assert row.low is not None
        assert row.low < row.value

    def test_another_setting_or_the_same_seed_is_no_group(self, tmp_path: Path) -> None:
        other = made(tmp_path, "b", seed=2, recipe={"deploy": {"threads": 1}})
        assert across([made(tmp_path, "a", seed=1), other]).seeds == []
        assert across([made(tmp_path, "a", seed=1), made(tmp_path, "c", seed=1)]).seeds == []


class TestDoubts:
    def test_a_run_as_it_was_written_contradicts_nothing(self, tmp_path: Path) -> None:
        assert made(tmp_path, "a").doubts() == []

    def test_an_accuracy_that_the_predictions_do_not_give_is_found(self, tmp_path: Path) -> None:
        """Edited so well that the file agrees with itself."""
        kept = made(tmp_path, "a", metrics=("accuracy",))
        rows = [
            row.model_copy(update={"value": row.value + 0.02}) if row.name == "accuracy" else row
            for row in kept.run.measurements
        ]
        forged = changed(kept, measurements=rows)
        assert doubts(forged.run) == []
        assert any("accuracy of result is" in each and "its predictions give" in each for each in forged.doubts())

    def test_a_run_in_doubt_is_compared_with_none(self, tmp_path: Path) -> None:
        kept = made(tmp_path, "a")
        rows = [row.model_copy(update={"value": 0.9999}) for row in kept.run.comparisons]
        found = across([changed(kept, comparisons=rows), made(tmp_path, "b")])
        assert list(found.doubts) == ["a"]
        assert found.comparisons == []
        assert "the run.json of a contradicts itself or its predictions" in reasons(found, "quality")

    @pytest.mark.parametrize(
        ("field", "change", "words"),
        [
            ("measurements", {"low": 0.999, "high": 1.0}, "outside of its own interval"),
            ("measurements", {"target": "stranger"}, "figures of stranger, which is none of its targets"),
            ("comparisons", {"value": 0.5}, "quality_drop of accuracy of result against torch-fp32 is 0.5, but"),
        ],
    )
    def test_what_contradicts_is_named(self, tmp_path: Path, field: str, change: dict[str, Any], words: str) -> None:
        kept = made(tmp_path, "a")
        first, *rest = getattr(kept.run, field)
        found = doubts(changed(kept, **{field: [first.model_copy(update=change), *rest]}).run)
        assert any(words in each for each in found), found

    def test_a_compression_ratio_has_to_be_that_of_the_sizes(self, tmp_path: Path) -> None:
        ratio = Comparison(target="result", baseline="torch-fp32", name="compression_ratio", value=4.0)
        assert any(
            "compression_ratio" in each for each in doubts(changed(made(tmp_path, "a"), comparisons=[ratio]).run)
        )

    def test_a_target_named_like_a_path_reads_nothing_outside(self, tmp_path: Path) -> None:
        kept = made(tmp_path, "a")
        outside = [target.model_copy(update={"name": "../../b/predictions/result"}) for target in kept.run.targets[1:]]
        made(tmp_path, "b")
        found = across([changed(kept, targets=outside, measurements=[], comparisons=[]), made(tmp_path, "b")])
        assert "leads out of the folder" in reasons(found, "quality")[0]


def test_a_sweep_has_no_one_result_and_its_variants_are_found_where_it_keeps_them(tmp_path: Path) -> None:
    kept = made(tmp_path, "a")
    variant = [target.model_copy(update={"kind": "variant"}) for target in kept.run.targets]
    found = across([changed(kept, targets=variant), made(tmp_path, "b")])
    assert "a has no one result; of a sweep, name the folders of its variants" in reasons(found, "quality")
    alone = tmp_path / "sweep" / "variants" / "layers=3"
    alone.mkdir(parents=True)
    (tmp_path / "a" / "predictions").rename(tmp_path / "sweep" / "predictions")
    (tmp_path / "sweep" / "predictions" / "result.npz").rename(tmp_path / "sweep" / "predictions" / "layers=3.npz")
    assert drop(across([Kept("v", kept.run, alone), made(tmp_path, "b")])).value == 0.0
