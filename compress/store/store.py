"""The stage store: folders keyed by everything that went into them, shared by all recipes, never half written.

stages/ab/abcdef...            an entry, with a manifest of its files' digests; what does not agree is not used
stages/ab/.work-abcdef.../     where it is made: the draft, and the scratch folder that a resumed stage finds again
stages/ab/abcdef....lock       held by the one process that makes it
uses/                          what running processes rely on
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from platformdirs import user_cache_dir

from compress.errors import StoreError
from compress.lineage import file_digest
from compress.store.locks import held
from compress.store.refusals import writing
from compress.store.uses import Use, using

MANIFEST = "manifest.json"
WORK = ".work-"


def cache_root() -> Path:
    """Where sources and finished stages are kept: `COMPRESS_CACHE`, or the user's cache folder."""
    return Path(os.environ.get("COMPRESS_CACHE") or user_cache_dir("compress-transformers", appauthor=False))


@dataclass(frozen=True)
class Store:
    """Finished stages by key."""

    root: Path
    use: Use | None = None
    """Notes what is found and made through this store as in use; see `in_use`."""

    @contextmanager
    def in_use(self) -> Iterator[Store]:
        """This store, with all that is found or made through it safe from being cleared while the block runs."""
        with ExitStack() as stack:
            try:
                use = stack.enter_context(using(self.root / "uses"))
            except (OSError, StoreError):  # what can't be written can't be cleared either
                use = None
            yield replace(self, use=use)

    def find(self, key: str) -> Path | None:
        """The folder kept under `key`; None when there is none, or when it is not as it was left."""
        folder = self.folder(key)
        if not folder.exists():
            return None
        if self.use is not None:
            self.use.note(key)  # before the look, so that it can't be cleared after it
        if not is_whole(folder):
            return None
        with suppress(OSError):  # a store that can't be written is read all the same
            os.utime(folder)  # a folder's time says when it was used last, its manifest's when it was made
        return folder

    @contextmanager
    def claimed(self, key: str, waiting: Callable[[str], None] | None = None) -> Iterator[Claim]:
        """The right to make the entry of `key`, which one process has at a time.

        When another one has it, this one waits until it is done or dead, and then should look for the entry first.

        Args:
            waiting: told who is waited for; left out: nobody waits.

        Raises:
            StoreError: no space, no permission, or another process is making the same entry and nobody waits.
        """
        folder = self.folder(key)
        with writing(self.root, "the stage store"):
            folder.parent.mkdir(parents=True, exist_ok=True)
        if self.use is not None:
            self.use.note(key)
        with held(folder.with_suffix(".lock"), f"{self.root}: this stage", waiting=waiting) as waited:
            yield Claim(folder, waited)

    def folder(self, key: str) -> Path:
        """Where the entry of `key` is, or would be."""
        name = key.removeprefix("sha256:")
        return self.root / "stages" / name[:2] / name


@dataclass(frozen=True)
class Claim:
    """The right to make one entry."""

    folder: Path
    waited: bool
    """Whether another process had the right first, and has probably made the entry."""

    @property
    def work(self) -> Path:
        return self.folder.with_name(WORK + self.folder.name)

    def scratch(self, *, fresh: bool = False) -> Path:
        """A folder for whoever makes the entry: empty at first or when `fresh`, then as an interrupted try left it.

        It goes when the entry is made.
        """
        scratch = self.work / "scratch"
        with writing(scratch, "the scratch folder"):
            if fresh and scratch.exists():
                shutil.rmtree(scratch)
            scratch.mkdir(parents=True, exist_ok=True)
        return scratch

    @contextmanager
    def making(self, about: Mapping[str, Any] | None = None) -> Iterator[Path]:
        """An empty folder to fill. It becomes the entry when the block ends well, and vanishes otherwise.

        Args:
            about: what `compress cache list` says of the entry.

        Raises:
            StoreError: no space or no permission.
        """
        draft = self.work / "draft"
        with writing(self.folder.parent, "the stage store"):
            clear_drafts(self.work)
            draft.mkdir(parents=True)
            (self.work / "about.json").write_text(json.dumps(about or {}), encoding="utf-8")
        try:
            yield draft
            with writing(self.folder.parent, "the stage store"):
                self._seal(draft, about or {})
                self._put(draft)
                shutil.rmtree(self.work)
        finally:
            clear_drafts(self.work)

    def _seal(self, draft: Path, about: Mapping[str, Any]) -> None:
        files = sorted(file for file in draft.rglob("*") if file.is_file())
        listed = {file.relative_to(draft).as_posix(): file_digest(file) for file in files}
        text = json.dumps({"about": dict(about), "files": listed}, indent=1)
        (draft / MANIFEST).write_text(text + "\n", encoding="utf-8")

    def _put(self, draft: Path) -> None:
        """Move the draft into place. An entry that says the same stays: another process may be reading it."""
        if is_whole(self.folder) and _listed(self.folder) == _listed(draft):
            return
        if self.folder.exists():
            os.replace(self.folder, self.work / "old")
        os.replace(draft, self.folder)


def clear_drafts(work: Path) -> None:
    """Remove what a maker left half done; its scratch folder stays for the next one."""
    for name in ("draft", "old"):
        shutil.rmtree(work / name, ignore_errors=True)


def described(folder: Path) -> dict[str, Any]:
    """What was noted of an entry when it was made; nothing where it is damaged."""
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["about"]
        return found if isinstance(found, dict) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def is_whole(folder: Path) -> bool:
    """Whether an entry holds what its manifest lists: no file more, none less, each with its digest."""
    try:
        listed = _listed(folder)
        there = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
        alike = there - {MANIFEST} == set(listed)
        return alike and all(file_digest(folder / name) == digest for name, digest in listed.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _listed(folder: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    return found
