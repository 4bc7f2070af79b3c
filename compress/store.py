"""The stage store: folders keyed by everything that went into them, shared by all recipes, never half written.

A folder is made aside and moved into place in one step, with a manifest of its files' digests. What does not agree with
its manifest is not used.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_cache_dir

from compress.errors import StoreError
from compress.lineage import file_digest

MANIFEST = "manifest.json"


def cache_root() -> Path:
    """Where sources and finished stages are kept: `COMPRESS_CACHE`, or the user's cache folder."""
    return Path(os.environ.get("COMPRESS_CACHE") or user_cache_dir("compress-transformers", appauthor=False))


@dataclass(frozen=True)
class Store:
    """Finished stages by key."""

    root: Path

    def find(self, key: str) -> Path | None:
        """The folder kept under `key`; None when there is none, or when it is not as it was left."""
        folder = self._folder(key)
        return folder if (folder / MANIFEST).exists() and _is_whole(folder) else None

    @contextmanager
    def making(self, key: str) -> Iterator[Path]:
        """An empty folder to fill. It becomes the entry of `key` when the block ends well, and vanishes otherwise.

        Raises:
            StoreError: no space, no permission, or another process is making the same entry.
        """
        folder = self._folder(key)
        with self._blamed():
            folder.parent.mkdir(parents=True, exist_ok=True)
        with held(folder.with_suffix(".lock"), "this stage"):
            with self._blamed():
                draft = Path(tempfile.mkdtemp(prefix=".making-", dir=folder.parent))
            try:
                yield draft
                with self._blamed():
                    files = sorted(file for file in draft.rglob("*") if file.is_file())
                    listed = {file.relative_to(draft).as_posix(): file_digest(file) for file in files}
                    (draft / MANIFEST).write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")
                    draft.chmod(0o755)  # mkdtemp's own mode shuts out others who share the store
                    shutil.rmtree(folder, ignore_errors=True)  # an entry that was damaged, or is to be made afresh
                    os.replace(draft, folder)
            finally:
                shutil.rmtree(draft, ignore_errors=True)

    @contextmanager
    def _blamed(self) -> Iterator[None]:
        """Report the machine's refusals as the store's; those met while a stage works are not the store's doing."""
        try:
            yield
        except OSError as fault:
            raise StoreError(f"{self.root}: the stage store can't be written: {fault}") from fault

    def _folder(self, key: str) -> Path:
        name = key.removeprefix("sha256:")
        return self.root / "stages" / name[:2] / name


@contextmanager
def held(lock: Path, what: str) -> Iterator[None]:
    """Hold a lock file while the block runs.

    Raises:
        StoreError: another process holds it.
    """
    try:
        with FileLock(lock, timeout=0):
            yield
    except Timeout:
        raise StoreError(
            f"{lock}: another process is at work on {what}; wait for it, or choose another folder"
        ) from None


def _is_whole(folder: Path) -> bool:
    try:
        listed = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return all(file_digest(folder / name) == digest for name, digest in listed.items())
    except (OSError, ValueError, AttributeError):
        return False
