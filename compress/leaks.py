"""What may not stand in anything given away: paths of this machine, its and its user's name, tokens, stack traces."""

from __future__ import annotations

import getpass
import os
import platform
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

from compress.security import printable


def leaks(folder: Path) -> list[str]:
    """What the files of a folder tell of the machine or of its user: `FILE: WHAT`, sorted; empty is what is wanted.

    Looked for, in text and in binary files and inside zipped ones: absolute paths, relative ones to a home folder, this
    user's and machine's name, tokens of usual forms, and stack traces.
    """
    found = set()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        for content in _contents(file):
            for what, pattern in _patterns().items():
                if match := pattern.search(content):
                    shown = match[0][:60].decode("utf-8", "replace")
                    found.add(f"{file.relative_to(folder).as_posix()}: {what}: {printable(shown)!r}")
    return sorted(found)


def _contents(file: Path) -> Iterator[bytes]:
    yield file.read_bytes()
    if zipfile.is_zipfile(file):  # .npz
        with zipfile.ZipFile(file) as zipped:
            yield from (zipped.read(name) for name in zipped.namelist())


def _patterns() -> dict[str, re.Pattern[bytes]]:
    patterns = {
        "an absolute path": rb"(?<![\w.:/<-])/(?:home|Users|root|tmp|var|private|work|opt|mnt|srv|usr|etc)/[\w.-]{2,}"
        rb"|\b[A-Za-z]:\\\\?(?:Users|Windows|Temp)\b|file:///",
        "a way to somebody's home folder": rb"(?:\.\.[/\\]{1,2})+(?:home|Users)[/\\]{1,2}[\w.-]{2,}",
        "a token": rb"\b(?:hf_[A-Za-z0-9]{30,}|gh[pousr]_[A-Za-z0-9]{30,}|sk-[A-Za-z0-9_-]{20,}|AKIA[0-9A-Z]{16}"
        rb"|xox[abp]-[\w-]{20,}|eyJ[\w-]{20,}\.eyJ[\w-]{20,})",
        "a stack trace": rb'Traceback \(most recent call last\)|File "[^"\n]+\.py", line \d+',
    }
    home = os.path.expanduser("~")
    own = {"this user's folder": home if len(home) > 5 else "", "this user's name": getpass.getuser()}
    own["this machine's name"] = platform.node()
    patterns |= {
        what: rb"(?<![\w.-])" + re.escape(text.encode()) + rb"(?![\w.-])"
        for what, text in own.items()
        if len(text) > 3 and text not in ("root", "user", "runner", "localhost")  # ordinary words
    }
    return {what: re.compile(pattern) for what, pattern in patterns.items()}
