"""`compress report` over several runs: what they predict is compared, and broken files are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from kept_runs import made
from small_run import Answer, command

from evaluation.measurement import write_run


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two run folders on the same data."""
    monkeypatch.setattr("evaluation.across.across._RESAMPLES", 100)
    for label, wrong in (("good", 0.05), ("bad", 0.3)):
        write_run(made(tmp_path, label, wrong=wrong, seed=len(label)).run, tmp_path / label)
    return [tmp_path / "good", tmp_path / "bad"]


def report(patch: pytest.MonkeyPatch, runs: list[Path], output: Path) -> Answer:
    return command(patch, "report", *runs, "-o", output)


def edited(run: Path, **fields: Any) -> None:
    file = run / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | fields), encoding="utf-8")


def test_two_runs_are_compared_on_one_page(runs, tmp_path, monkeypatch):
    answer = report(monkeypatch, runs, tmp_path / "out")
    assert answer.code == 0, answer
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "good" in text
    assert "bad" in text
    assert str(tmp_path) not in text


def test_a_file_that_was_edited_is_named_and_its_run_is_in_no_pair(runs, tmp_path, monkeypatch):
    document = json.loads((runs[1] / "run.json").read_text(encoding="utf-8"))
    rows = [row | {"value": 0.99} if row["name"] == "accuracy" else row for row in document["measurements"]]
    edited(runs[1], measurements=rows)
    answer = report(monkeypatch, runs, tmp_path / "out")
    assert answer.code == 0, answer
    assert "compress: bad: accuracy of result is 0.99, but its predictions give" in answer.err
    assert "compress: good" not in answer.err
    assert "contradicts itself" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")


def test_missing_predictions_are_said_on_the_page(runs, tmp_path, monkeypatch):
    (runs[0] / "predictions" / "result.npz").unlink()
    assert report(monkeypatch, runs, tmp_path / "out").code == 0
    assert "no such file" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")


def test_a_future_format_and_a_file_cut_short_are_refused(runs, tmp_path, monkeypatch):
    edited(runs[0], format=2)
    answer = report(monkeypatch, runs, tmp_path / "out")
    assert (answer.code, "format 2" in answer.message) == (2, True)
    file = runs[0] / "run.json"
    file.write_text(file.read_text(encoding="utf-8")[:200], encoding="utf-8")
    answer = report(monkeypatch, runs, tmp_path / "out")
    assert (answer.code, "file cut" in answer.message) == (2, True)
    assert not (tmp_path / "out").exists()
