"""The helper process that loads little finds the very anatomy that the model's own classes give."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from small_run import outside
from tiny import tiny_bundle

from compress import catalog, outline
from compress.anatomy import Anatomy
from compress.bundle import Bundle
from compress.errors import ModelError

CASES = [(family, None) for family in catalog.names("families")]
CASES += [("bert", "fill-mask"), ("gpt2", "text-generation"), ("llama", "text-generation")]  # their heads are tied


FORKING = """
import gc, io, os, sys
gc.disable()
from compress import outline
questions = sys.stdin.readlines()
sys.meta_path.insert(0, outline._Empty())
import torch, transformers.modeling_utils
for question in questions:
    if os.fork() == 0:
        sys.stdin = io.StringIO(question)
        outline.answer()
    if os.wait()[1]:
        print("null", flush=True)
"""
"""A helper that has loaded answers one question; forks of it answer many, and no family meets what another loaded."""


@pytest.fixture(scope="module")
def answers() -> dict[tuple[str, str | None], Any]:
    """What a helper says of each family's model, and of some with a head of the embeddings' weights."""
    bundles = [tiny_bundle(family, task=task) for family, task in CASES]
    questions = [{"config": bundle.config, "task": bundle.task.name, "threads": 1} for bundle in bundles]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outline, "_PROGRAM", FORKING)
        helper = outline._start()
    printed, _ = helper.communicate("".join(json.dumps(question) + "\n" for question in questions), timeout=300)
    return dict(zip(CASES, map(json.loads, printed.splitlines()), strict=True))


@pytest.mark.parametrize(("family", "task"), CASES)
def test_of_every_family_the_same_anatomy_is_found(
    answers: dict[tuple[str, str | None], Any], family: str, task: str | None
) -> None:
    said = answers[family, task]
    assert said is not None, "the helper failed: libraries now call what is left out"
    assert Anatomy.from_json(said["anatomy"]) == tiny_bundle(family, task=task).anatomy
    assert said["rate"] > 0


def test_where_all_is_loaded_no_helper_is_started(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outline, "_start", lambda: pytest.fail("a helper was started"))
    with outline.outlining() as ask:
        assert ask(bundle.config, bundle.task.name, 1).anatomy == bundle.anatomy


def test_where_the_helper_fails_the_answer_is_the_same(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "transformers.modeling_utils")
    monkeypatch.setattr(outline, "_PROGRAM", "raise SystemExit(1)")
    told: list[str] = []
    real = outline.outline

    def noted(*given: Any) -> outline.Outline:
        told.append("here")
        return real(*given)

    with outline.outlining() as ask:
        monkeypatch.undo()  # the classes are there again
        monkeypatch.setattr(outline, "outline", noted)
        assert ask(bundle.config, bundle.task.name, 1).anatomy == bundle.anatomy
    assert told == ["here"]


def test_a_fault_of_the_config_comes_through(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "transformers.modeling_utils")
    with outline.outlining() as ask:
        monkeypatch.undo()
        with pytest.raises(ModelError, match="can't build a 'bert'"):
            ask({**bundle.config, "hidden_size": 33}, bundle.task.name, 1)


def test_a_helper_answers_and_its_caller_loads_no_model_classes(bundle: Bundle, tmp_path: Path) -> None:
    code = f"""
import json, sys
from compress.outline import outlining
with outlining() as ask:
    said = ask(json.loads({json.dumps(json.dumps(bundle.config))}), "text-classification", 1)
print(json.dumps([said.anatomy.as_json(), said.flops_per_second]))
print([name for name in ("torch", "transformers") if name in sys.modules])
"""
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, capture_output=True, text=True, check=True, env=outside(tmp_path))
    said, loaded = done.stdout.splitlines()
    anatomy, rate = json.loads(said)
    assert Anatomy.from_json(anatomy) == bundle.anatomy
    assert rate > 0
    assert loaded == "[]"
