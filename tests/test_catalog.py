"""Laws of the catalog: a file is enough to register what it holds."""

from __future__ import annotations

import importlib
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from compress import catalog
from compress.bundle import Bundle
from compress.choices import StageChoice, name_of
from compress.stage import Context

TOY = '''
"""Index: the later a unit, the more it is worth."""

import torch

from compress.settings import Settings


class Helper:
    """Not a criterion: it has no score."""


class Index(Settings):
    """A unit is worth its place.

    Recipe:
        - prune: {target: {encoder_parameters: 0.7}, criterion: {use: by_place, step: 2.0}}
    """

    step: float = 1.0

    def score(self, bundle, groups, context):
        return [self.step * torch.arange(group.units) * group.unit_parameters for group in groups]


class _Hidden(Settings):
    """Private: never found."""

    def score(self, bundle, groups, context):
        return []
'''


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of criteria with one more file in it than the project's own, and a helper file."""
    folder = tmp_path / "toy_criteria"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "by_place.py").write_text(TOY)
    (folder / "shared.py").write_text('"""What several criteria share."""\n\nclass Sum:\n    """No criterion."""\n')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(catalog.FOLDERS, "criteria", "toy_criteria")
    _forget()
    yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == "toy_criteria"]:
        del sys.modules[name]
    monkeypatch.undo()
    _forget()


def _forget() -> None:
    for remembered in (catalog.names, catalog._files, catalog._folder, catalog._public_class):
        remembered.cache_clear()
    importlib.invalidate_caches()


def _prune(criterion: dict) -> dict:
    return {"prune": {"target": {"encoder_parameters": 0.7}, "round_to": 1, "criterion": criterion}}


def test_a_file_that_is_dropped_in_is_found_described_and_used(
    toy: Path, bundle: Bundle, make_context: Callable[..., Context]
):
    assert catalog.names("criteria") == ("by_place",)
    assert catalog.describe("criteria", "by_place") == "A unit is worth its place."
    assert catalog.load("criteria", "by_place").__name__ == "Index"
    stage = TypeAdapter(StageChoice).validate_python(_prune({"use": "by_place", "step": 3.0}))
    assert stage.criterion.step == 3.0
    assert name_of("criteria", stage.criterion) == "by_place"
    assert TypeAdapter(StageChoice).dump_python(stage)["prune"]["criterion"] == {"use": "by_place", "step": 3.0}
    cut = stage.apply(bundle, make_context())
    kept = cut.anatomy.of_axis("ffn")[0].units
    path = bundle.anatomy.of_axis("ffn")[0].slices[0].module
    whole, left = (some.module.get_submodule(path).weight for some in (bundle, cut))
    assert 0 < kept < len(whole)
    assert torch.equal(left, whole[-kept:]), "the later channels are what stays"


def test_listing_imports_nothing_of_what_it_lists(toy: Path):
    (toy / "by_place.py").write_text("import no_such_module\n" + TOY)
    _forget()
    assert catalog.names("criteria") == ("by_place",)
    assert catalog.describe("criteria", "by_place")


@pytest.mark.parametrize("kind", sorted(catalog.FOLDERS))
def test_everything_that_is_listed_loads_and_says_what_it_is(kind: str):
    assert catalog.names(kind)
    for name in catalog.names(kind):
        assert catalog.load(kind, name).__doc__
        assert catalog.describe(kind, name).endswith(".")


def test_an_unknown_name_says_what_there_is_and_what_was_meant():
    with pytest.raises(ValidationError, match=r"no stage 'prunes'; known: .*did you mean 'prune'"):
        TypeAdapter(StageChoice).validate_python({"prunes": {}})
    with pytest.raises(ValidationError, match=r"no criterion 'tailor'; known: .*did you mean 'taylor'"):
        TypeAdapter(StageChoice).validate_python(_prune({"use": "tailor"}))
    with pytest.raises(ValidationError, match=r"with one of .*taylor"):
        TypeAdapter(StageChoice).validate_python(_prune({"batch": 3}))
    with pytest.raises(KeyError):
        catalog.load("stages", "no such stage")


def test_an_unknown_setting_of_a_chosen_thing_keeps_its_place():
    with pytest.raises(ValidationError) as told:
        TypeAdapter(StageChoice).validate_python(_prune({"use": "taylor", "batches": 3}))
    [error] = told.value.errors()
    assert error["loc"][-2:] == ("criterion", "batches")
    assert "did you mean 'batch'" in error["msg"]


def test_names_are_spelled_as_the_field_does():
    assert "text-classification" in catalog.names("tasks")
    assert "torch-dynamic-int8" in catalog.names("runtimes")
    assert "random" in catalog.names("criteria")
    assert "timing" not in catalog.names("runtimes"), "a helper beside the runtimes is none"


def test_listing_everything_stays_light():
    code = """
        import sys
        from compress import catalog
        for kind in catalog.FOLDERS:
            for name in catalog.names(kind):
                catalog.describe(kind, name)
        print([name for name in ("torch", "onnxruntime", "transformers", "altair", "numpy") if name in sys.modules])
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
