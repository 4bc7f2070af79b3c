"""The wheel: what is data and what is code is in it, what is neither is not, and it runs from anywhere."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from small_run import ROOT, outside

SOURCES = ("compress", "evaluation", "recipes", "reports")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the tree, as building writes beside the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    tree = folder / "tree"
    tree.mkdir()
    for name in (*SOURCES, "tests"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    words = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(tree)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    [made] = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def contents(wheel: Path) -> set[str]:
    """The names of all files in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_every_module_is_in_the_wheel(contents):
    for package in SOURCES:
        for file in (ROOT / package).rglob("*.py"):
            name = file.relative_to(ROOT).as_posix()
            assert name in contents or name.startswith("reports/published/"), name


def test_recipes_locks_claims_and_templates_are_in_the_wheel(contents):
    for pattern in ("recipes/*.yaml", "recipes/*.lock", "reports/*.yaml", "reports/templates/*"):
        wanted = {file.relative_to(ROOT).as_posix() for file in ROOT.glob(pattern)}
        assert wanted, pattern
        assert wanted <= contents


def test_tests_and_published_reports_are_not_in_the_wheel(contents):
    assert [name for name in contents if name.startswith(("tests/", "reports/published/", "bench/", "docs/"))] == []


def test_the_wheel_names_the_command_and_the_licence(wheel, contents):
    [entry] = [name for name in contents if name.endswith(".dist-info/entry_points.txt")]
    with zipfile.ZipFile(wheel) as archive:
        assert "compress = compress.cli:main" in archive.read(entry).decode()
    assert any(name.endswith("/LICENSE") for name in contents)


def test_the_unpacked_wheel_runs_from_another_folder(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    (tmp_path / "elsewhere").mkdir()
    environment = outside(tmp_path / "cache") | {"PYTHONPATH": str(tmp_path / "site")}
    for words in (["list", "recipes"], ["plan", "reviews-trio"]):
        command = [sys.executable, "-m", "compress", *words, "--json"]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=tmp_path / "elsewhere", env=environment
        )
        assert done.returncode == 0, done.stderr
        assert "reviews-trio" in json.dumps(json.loads(done.stdout))
