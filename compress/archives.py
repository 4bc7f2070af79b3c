"""Take one member, a file or a folder, out of a tar or zip archive, and nothing else.

Archives come from elsewhere, so names are not trusted: links and devices are never followed or made, and no name may
leave the folder that is written to. Nor are sizes: a few kilobytes can stand for any number of gigabytes, so half of
the disk's free space is all that may come out. Files are copied byte by byte; modes, owners and times are left behind.
"""

from __future__ import annotations

import gzip
import lzma
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import IO

from compress.errors import SourceError

PIECE_BYTES = 1 << 20

_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, lzma.LZMAError, zlib.error, EOFError)


def extract(archive: Path, members: Sequence[str], into: Path, *, skip_top: bool = False) -> Path:
    """Copy a member into the existing empty folder `into` and return its path there.

    Args:
        archive: a tar archive (plain or compressed) or a zip archive; a wheel is a zip archive.
        members: path inside `archive`; where there are more, each is a path inside the archive that the one before
            names.
        skip_top: paths inside `archive` are relative to the one folder that everything lies in, as in an sdist.

    Raises:
        SourceError: not an archive, a damaged one, no such member, one that is a link or has an unsafe name, or more
            than the disk has room for.
    """
    member, *inner = members
    if not inner:
        return _extract_one(archive, member, into, skip_top)
    with tempfile.TemporaryDirectory(dir=into.parent) as scratch:
        return extract(_extract_one(archive, member, Path(scratch), skip_top), inner, into)


@dataclass(frozen=True)
class _Entry:
    """One thing in an archive: where it says it belongs, whether it is a link or a device, and how to read it."""

    name: str
    special: bool
    read: Callable[[], IO[bytes] | None]


def _extract_one(archive: Path, member: str, into: Path, skip_top: bool) -> Path:
    wanted = _safe_parts(member, archive)
    target = into / wanted[-1]
    room = shutil.disk_usage(into).free // 2
    try:
        with _opened(archive) as entries:
            depth = _shared_top(entries) if skip_top else 0
            inside = ["/".join(PurePosixPath(entry.name).parts[depth:]) for entry in entries]
            for entry, name in zip(entries, inside, strict=True):
                if PurePosixPath(name).parts[: len(wanted)] == wanted:
                    place = target.joinpath(*_safe_parts(name, archive)[len(wanted) :])
                    room -= _copy(entry, place, archive, room)
    except _DAMAGE as fault:
        raise SourceError(f"{archive.name}: not a whole archive ({fault}); was its download cut short?") from None
    except RuntimeError as fault:  # what zipfile raises for passwords and for compression methods that it lacks
        raise SourceError(f"{archive.name}: {fault}; wanted a plain tar or zip archive") from None
    if not target.exists():
        close = get_close_matches(member, inside, n=1)
        hint = f"did you mean {close[0]}?" if close else f"it holds {', '.join(inside[:5]) or 'nothing'}, ..."
        raise SourceError(f"{archive.name}: holds no {member}; {hint}")
    return target


def _copy(entry: _Entry, target: Path, archive: Path, room: int) -> int:
    """Copy one file of at most `room` bytes, and give its size. What it says of its own size is not asked."""
    source = None if entry.special else entry.read()
    if source is None:
        raise SourceError(
            f"{archive.name}: {entry.name} is a link or a device, wanted a plain file; links aren't followed"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    copied = 0
    with source, target.open("wb") as sink:
        while piece := source.read(PIECE_BYTES):
            copied += len(piece)
            if copied > room:
                sink.truncate(0)
                raise SourceError(
                    f"{archive.name}: {entry.name} takes more than half of the disk's free space when it is extracted; "
                    "free some if that is its true size"
                )
            sink.write(piece)
    return copied


def _safe_parts(name: str, archive: Path) -> tuple[str, ...]:
    """The parts of a relative name that stays below its folder on every system."""
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
        raise SourceError(f"{archive.name}: {name!r} may leave the folder it belongs in; wanted a plain relative path")
    return path.parts


def _shared_top(entries: Sequence[_Entry]) -> int:
    """1 if everything lies in one folder, else 0."""
    paths = [PurePosixPath(entry.name).parts for entry in entries]
    return int(len({parts[:1] for parts in paths}) == 1 and all(len(parts) > 1 for parts in paths))


@contextmanager
def _opened(archive: Path) -> Iterator[list[_Entry]]:
    """Everything in the archive but folders, readable while the context lasts."""
    if tarfile.is_tarfile(archive):  # asked first: a tar archive that ends with a zip file in it looks like a zip too
        with tarfile.open(archive) as tar:
            yield [_tar_entry(tar, info) for info in tar if not info.isdir()]
    elif zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            yield [_zip_entry(zipped, info) for info in zipped.infolist() if not info.is_dir()]
    else:
        raise SourceError(f"{archive.name}: neither a tar nor a zip archive, so nothing can be taken out of it")


def _tar_entry(tar: tarfile.TarFile, info: tarfile.TarInfo) -> _Entry:
    return _Entry(info.name, special=not info.isfile(), read=lambda: tar.extractfile(info))


def _zip_entry(zipped: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Entry:
    return _Entry(info.filename, special=stat.S_ISLNK(info.external_attr >> 16), read=lambda: zipped.open(info))
