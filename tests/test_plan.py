"""A plan says what a run will do, and leaves no trace of having been made."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from small_run import Small, command, make_small, outside

from compress.commands import plan as module
from compress.memory import Room


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return make_small(tmp_path_factory.mktemp("plan"))


def planned(small: Small, patch: pytest.MonkeyPatch, *words: str) -> module.Planned:
    patch.chdir(small.home)
    answer = command(patch, "plan", "small.yaml", "--json", *words, cache=small.cache)
    assert answer.code == 0, answer.err
    found: module.Planned = json.loads(answer.out)
    return found


def tree(folder: Path) -> dict[str, str]:
    """Every file and folder below, with the digest of its content and its time."""
    return {
        str(path.relative_to(folder)): f"{path.stat().st_mtime_ns} "
        + (hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder")
        for path in sorted(folder.rglob("*"))
    }


def test_a_plan_in_a_process_of_its_own_writes_nothing_and_loads_no_model_classes(small: Small, tmp_path: Path) -> None:
    code = """
import sys
sys.argv = ["compress", "plan", "small.yaml"]
from compress import cli
assert cli._exit_code() == 0
print([name for name in ("torch", "transformers", "datasets", "pandas") if name in sys.modules])
"""
    before = tree(small.home)
    environment = {**outside(small.cache), "TMPDIR": str(tmp_path), "HOME": str(tmp_path)}
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, cwd=small.home, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert tree(small.home) == before
    assert tree(tmp_path) == {}
    assert not small.cache.exists()


def test_bytes_follow_from_what_stages_store(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    stages = {stage["name"]: stage for stage in planned(small, monkeypatch)["stages"]}
    for name in ("p1-finetune", "01-distill", "02-prune", "03-export"):
        assert stages[name]["bytes"] == 4 * stages[name]["parameters"]
    assert stages["04-quantize"]["bytes"] == stages["04-quantize"]["parameters"]


def test_memory_is_foretold_for_each_stage_and_named_term_by_term(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = planned(small, monkeypatch)
    assert [row["phase"] for row in found["memory"]] == [*(stage["name"] for stage in found["stages"]), "measure"]
    for row in found["memory"]:
        assert sum(row["terms"].values()) == pytest.approx(row["bytes"], abs=len(row["terms"]))
    assert found["memory_bytes"] == max(row["bytes"] for row in found["memory"])
    assert found["shortage"] == ""


def test_a_plan_that_may_not_fit_says_so(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compress.preflight.room", lambda: Room(10**8, "free on this machine"))
    assert "0.1 GB is free on this machine" in planned(small, monkeypatch)["shortage"]
    monkeypatch.chdir(small.home)
    text = command(monkeypatch, "plan", "small.yaml", cache=small.cache).out
    assert "may not fit: " in text


def test_a_plan_is_the_same_twice_but_for_its_times(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (planned(small, monkeypatch) for _ in range(2))
    for found in (first, second):
        for row in (found, *found["stages"]):
            row.pop("seconds")
    assert first == second


def test_memory_is_left_out_where_the_run_is_to_be_on_a_gpu(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "memory_bytes" not in planned(small, monkeypatch, "--set", "deploy.device=cuda")
