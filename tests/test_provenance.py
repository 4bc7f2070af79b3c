"""Laws of provenance: a code digest follows all that a module imports, and nothing else."""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest
from tiny import example_stage, tiny_split

from compress import catalog, provenance, runner
from compress.bundle import Bundle
from compress.deploy import Deploy
from compress.provenance import code_digest, environment, versions
from compress.runner import Runner
from compress.stage import Sight

FILES = {
    "__init__.py": "",
    "stage.py": "from minipack import near\nfrom json import dumps\n",
    "near.py": "def work():\n    import minipack.far\n",
    "far.py": "VALUE = 1\n",
    "other.py": "VALUE = 1\n",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A small package of "ours": stage imports near, and near, inside a function, far."""
    folder = tmp_path / "minipack"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(provenance, "OWN", ("minipack",))
    _forget()
    yield folder
    sys.modules.pop("minipack", None)
    _forget()


def _forget() -> None:
    for remembered in vars(provenance).values():
        if hasattr(remembered, "cache_clear"):
            remembered.cache_clear()
    importlib.invalidate_caches()


def _digest_after(change: Callable[[], object]) -> tuple[str, str]:
    before = code_digest("minipack.stage")
    change()
    _forget()
    return before, code_digest("minipack.stage")


@pytest.mark.parametrize("name", ["stage.py", "near.py", "far.py"])
def test_the_digest_changes_with_every_module_that_is_reached(package: Path, name: str):
    before, after = _digest_after(lambda: (package / name).write_text(FILES[name] + "# changed\n"))
    assert before != after


def test_the_digest_stays_when_another_module_changes(package: Path):
    before, after = _digest_after(lambda: (package / "other.py").write_text("VALUE = 2\n"))
    assert before == after


def test_a_stage_reaches_what_it_relies_on_and_no_report():
    reached = provenance._reached("compress.stages.prune")
    assert {"compress.pruning.allocation", "compress.pruning.repair", "compress.surgery", "compress.anatomy"} <= reached
    assert not any(name.startswith(("reports", "compress.commands", "evaluation.suite")) for name in reached)


@pytest.mark.parametrize("name", catalog.names("stages"))
def test_the_key_of_a_stage_counts_what_is_found_by_name(name: str, bundle: Bundle, monkeypatch: pytest.MonkeyPatch):
    """A criterion, the family, the task and its metric reach a stage through the catalog, not through an import."""
    asked: list[str] = []
    monkeypatch.setattr(runner, "code_digest", lambda module: asked.append(module) or module)
    split, deploy = tiny_split("train", 4), Deploy(threads=1)
    sights = {**dict.fromkeys(get_args(Sight), split), "deploy": deploy, "reference": bundle}
    made = Runner(SimpleNamespace(deploy=deploy, seed=1), None, None, "cpu")  # type: ignore[arg-type]
    stage = example_stage(catalog.load("stages", name))
    made._key(stage, bundle, sights)
    reached = set().union(*(provenance._reached(module) for module in asked))
    wanted = {f"compress.stages.{name}", "compress.families.bert", "compress.tasks.text_classification"}
    wanted |= {"evaluation.metrics.accuracy", "compress.bundle"}
    if criterion := getattr(stage, "criterion", None):
        wanted.add(type(criterion).__module__)
    assert wanted <= reached


def test_the_environment_names_the_machine_but_no_user_host_or_path():
    told = environment("cpu", 2)
    assert told["device"] == "cpu"
    assert told["threads"] == 2
    assert told["cores"] >= 1
    assert set(told["packages"]) >= {"torch", "transformers", "onnx"}
    text = json.dumps(told)
    assert str(Path.home()) + "/" not in text
    assert not re.search(r"/(home|root|usr|work|tmp)\b", text)


def test_versions_are_those_that_are_installed():
    import torch

    assert versions()["torch"] == torch.__version__
    # They make pixels of pictures, and the perplexity that an epoch is chosen by.
    assert {"pillow", "scipy"} <= versions().keys()
    assert "no-such-package" not in versions()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to cores")
def test_the_environment_says_which_cores_the_process_is_held_to():
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {max(before)})
        assert environment("cpu", 1)["affinity"] == str(max(before))
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(("cores", "told"), [([0, 1, 2, 3], "0-3"), ([5, 0, 2, 1], "0-2,5"), ([7], "7")])
def test_cores_are_told_as_ranges(cores: list[int], told: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("psutil.Process.cpu_affinity", lambda _self: cores)
    assert environment("cpu", 1)["affinity"] == told
