"""Laws of the cache: what is listed is what is there, what is in use stays, and the least recently used goes first."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_run import Answer, command, outside

from compress.commands.cache import size_text
from compress.errors import StoreError
from compress.store.inventory import LIMIT, bytes_of, limit_bytes, stages, sweep, trim
from compress.store.store import Store

DAY_S = 86400.0


def key(number: int) -> str:
    return f"sha256:{number:064x}"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Three stages of 1000 bytes and a bit, used 1, 2 and 3 days ago; work on a fourth; a source."""
    store = Store(tmp_path / "cache")
    for number in (1, 2, 3):
        with store.claimed(key(number)) as claim, claim.making({"stage": f"0{number}-cut", "recipe": "mine"}) as draft:
            (draft / "weights").write_bytes(b"w" * 1000)
        used_days_ago(store.folder(key(number)), number)
    with pytest.raises(KeyboardInterrupt), store.claimed(key(4)) as claim:
        (claim.scratch() / "checkpoint").write_bytes(b"c" * 500)
        with claim.making({"stage": "04-distill", "recipe": "mine"}):
            raise KeyboardInterrupt
    source = store.root / "sources" / "abc" / "content"
    source.mkdir(parents=True)
    (source / "reviews.txt").write_text("good\n")
    return store


def used_days_ago(folder: Path, days: float) -> None:
    when = time.time() - days * DAY_S
    os.utime(folder, (when, when))


@pytest.fixture
def ask(store: Store, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    """`compress cache ...` on that store."""

    def typed(*words: str) -> Answer:
        return command(monkeypatch, "cache", *words, cache=store.root)

    return typed


def names(store: Store) -> list[str]:
    return [entry.name for entry in stages(store)]


USER = """
import sys
from pathlib import Path
from compress.store.store import Store
with Store(Path(sys.argv[1])).in_use() as store:
    for key in sys.argv[2:]:
        assert store.find(key)
    print("in use", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def in_use_elsewhere(store: Store, *keys: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that uses entries."""
    words = [sys.executable, "-c", USER, str(store.root), *keys]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, env=outside(store.root)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "in use\n"
        yield process
        process.kill()


# list


def test_the_list_holds_every_stage_unfinished_work_and_source_with_its_size_and_age(ask, store):
    found = json.loads(ask("list", "--json").out)
    rows = {row["name"]: row for row in found["entries"]}
    assert list(rows) == ["03-cut", "02-cut", "01-cut", "04-distill", "reviews.txt"], "least recently used first"
    assert [row["kind"] for row in rows.values()] == ["stage"] * 3 + ["unfinished", "source"]
    assert all(row["recipe"] == "mine" for row in rows.values() if row["kind"] != "source")
    for number in (1, 2, 3):
        assert time.time() - rows[f"0{number}-cut"]["used"] == pytest.approx(number * DAY_S, abs=60)
        assert time.time() - rows[f"0{number}-cut"]["made"] < 60
    assert 1000 < rows["01-cut"]["size_bytes"] < 1500
    for kind, total in found["total_bytes"].items():
        assert total == sum(row["size_bytes"] for row in found["entries"] if row["kind"] == kind)
    text = ask("list").out
    assert all(name in text for name in rows)
    assert "3d ago" in text
    assert str(store.root) in text


def test_an_empty_cache_is_listed_and_cleared(ask, store, tmp_path, monkeypatch):
    monkeypatch.setenv("COMPRESS_CACHE", str(tmp_path / "none"))
    for words in (("cache", "list"), ("cache", "clear", "--sources")):
        assert command(monkeypatch, *words).code == 0
    assert json.loads(command(monkeypatch, "cache", "list", "--json").out)["entries"] == []


def test_a_damaged_entry_is_listed_and_can_be_cleared(ask, store):
    (store.folder(key(2)) / "manifest.json").write_text("[]")
    assert "?" in ask("list").out
    assert "stages 3" in ask("clear").out
    assert names(store) == []


def test_finding_an_entry_is_using_it(store):
    assert store.find(key(3)) is not None
    assert names(store)[-1] == "03-cut"


# clear


def test_clear_removes_all_stages_and_says_how_much_that_was(ask, store):
    size = sum(entry.size_bytes for entry in stages(store))
    answer = ask("clear")
    assert (answer.code, answer.out) == (0, f"freed {size_text(size)}: stages 3, unfinished stages 1, sources 0\n")
    assert names(store) == []
    assert (store.root / "sources" / "abc").exists()
    assert store.find(key(1)) is None


def test_clear_takes_sources_when_asked(ask, store):
    assert "sources 1" in ask("clear", "--sources").out
    assert list((store.root / "sources").iterdir()) == []


def test_clear_takes_only_what_was_not_used_for_long(ask, store):
    ask("clear", "--older-than", "36h")
    assert names(store) == ["01-cut", "04-distill"]


def test_clear_keeps_the_most_recently_used(ask, store):
    ask("clear", "--keep", "2.6kB")
    assert names(store) == ["01-cut", "04-distill"]
    ask("clear", "--keep", "1GB")
    assert names(store) == ["01-cut", "04-distill"]


def test_what_another_process_uses_stays_until_that_process_is_gone(ask, store):
    with in_use_elsewhere(store, key(2)) as process:
        answer = ask("clear", "--sources")
        assert f"kept, in use by process {process.pid} since" in answer.out
        assert (names(store), (store.root / "sources" / "abc").exists()) == (["02-cut"], True)
        assert f"in use: process {process.pid}" in ask("list").out
        process.kill()
        process.wait()
        ask("clear", "--sources")
    assert (names(store), (store.root / "sources" / "abc").exists()) == ([], False)
    assert [path.name for path in (store.root / "uses").iterdir()] == ["gate.lock"]


def test_what_is_being_made_stays(ask, store):
    with store.claimed(key(4)) as claim:
        answer = ask("clear")
        assert f"kept, in use by process {os.getpid()}" in answer.out
        assert (claim.scratch() / "checkpoint").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("clear", "--keep", "much"), "'much' is no size; wanted a number and a unit, as 500MB or 20GB"),
        (("clear", "--older-than", "30"), "'30' is no age; wanted a number and a unit of m, h, d or w"),
    ],
)
def test_what_is_no_size_or_age_is_refused_before_anything_goes(ask, store, words, said):
    answer = ask(*words)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err
    assert len(names(store)) == 4


# The limit


def test_trimming_takes_the_least_recently_used_until_the_limit_is_kept(store):
    assert [entry.name for entry in trim(store, 2600)] == ["03-cut", "02-cut"]
    assert names(store) == ["01-cut", "04-distill"]
    assert trim(store, 10**9) == []


def test_trimming_spares_what_the_running_recipe_uses(store):
    with store.in_use() as used:
        used.find(key(3))
        with used.claimed(key(5)) as claim, claim.making() as draft:
            (draft / "weights").write_bytes(b"w" * 1000)
        trim(used, 0)
        assert {entry.path.name for entry in stages(store)} == {store.folder(key(n)).name for n in (3, 5)}
    trim(store, 0)
    assert names(store) == []


def test_the_environment_sets_the_limit(store, monkeypatch):
    assert limit_bytes() is None
    assert trim(store) == []
    monkeypatch.setenv(LIMIT, "1.2kB")
    assert len(trim(store)) == 3
    monkeypatch.setenv(LIMIT, "plenty")
    with pytest.raises(StoreError, match="COMPRESS_CACHE_LIMIT: 'plenty' is no size"):
        limit_bytes()


# Sweeping


def test_downloads_that_were_left_behind_are_swept_after_a_day(store):
    old, new = store.root / "sources" / ".part-old", store.root / "sources" / ".part-new"
    for part in (old, new):
        part.mkdir()
    used_days_ago(old, 2)
    sweep(store)
    assert (old.exists(), new.exists()) == (False, True)


def test_what_a_killed_process_noted_is_swept(store):
    with in_use_elsewhere(store, key(2)) as process:
        process.kill()
        process.wait()
    (store.folder(key(2)).parent / f"{key(2).removeprefix('sha256:')}.lock.holder").write_text("{}")
    sweep(store)
    assert [path.name for path in (store.root / "uses").iterdir()] == ["gate.lock"]
    assert not list(store.root.rglob("*.holder"))


@given(st.integers(0, 10**15))
def test_a_size_that_is_shown_reads_back_to_within_its_digits(size: int):
    assert bytes_of(size_text(size)) == pytest.approx(size, rel=0.05, abs=0.5)
