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
from compress.bundle import Bundle
from compress.errors import ModelError

FAMILIES = catalog.names("families")


def asked(bundle: Bundle) -> outline.Outline | None:
    """What a helper says, by itself."""
    helper = outline._start()
    try:
        return outline._asked(helper, {"config": bundle.config, "task": bundle.task.name, "threads": 1})
    finally:
        helper.kill()
        helper.communicate()


@pytest.mark.parametrize("family", [pytest.param(f, marks=[] if f == "bert" else pytest.mark.slow) for f in FAMILIES])
def test_a_helper_finds_the_same_anatomy(family: str) -> None:
    bundle = tiny_bundle(family)
    said = asked(bundle)
    assert said is not None, "the helper failed: libraries now call what is left out"
    assert said.anatomy == bundle.anatomy
    assert said.flops_per_second > 0


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


def test_the_caller_loads_no_model_classes(bundle: Bundle, tmp_path: Path) -> None:
    code = f"""
import json, sys
from compress.outline import outlining
with outlining() as ask:
    ask(json.loads({json.dumps(json.dumps(bundle.config))}), "text-classification", 1)
print([name for name in ("torch", "transformers") if name in sys.modules])
"""
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, capture_output=True, text=True, check=True, env=outside(tmp_path))
    assert done.stdout.strip() == "[]"
