"""What there is of each kind: a folder holds a kind, a file one thing of that kind, and its name registers it.

`compress/stages/distill.py` is the stage `distill`; nothing else has to be edited. Files are listed without being
imported, so that looking things up stays light.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import pkgutil
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

FOLDERS = {
    "stages": "compress.stages",
    "criteria": "compress.criteria",
    "families": "compress.families",
    "tasks": "compress.tasks",
    "runtimes": "compress.runtimes",
    "metrics": "evaluation.metrics",
}

_HYPHENATED = ("tasks", "runtimes")

# What a file of the folder must offer, to tell the class it holds from the classes it uses.
_MARKS = {
    "stages": "apply",
    "criteria": "score",
    "families": "groups",
    "tasks": "decide",
    "runtimes": "open",
    "metrics": "value",
}


@cache
def names(kind: str) -> tuple[str, ...]:
    """The names of everything of a kind, sorted."""
    return tuple(sorted(name_of(kind, file) for file in _files(kind) if _public_class(kind, file)))


def name_of(kind: str, file: str) -> str:
    """The name that a file's stem registers: tasks and runtimes are spelled with hyphens, as the field does.

    A trailing underscore keeps a file from sharing a library's name and is no part of the name.

    >>> name_of("tasks", "text_classification"), name_of("criteria", "random_")
    ('text-classification', 'random')
    """
    stem = file.rstrip("_")
    return stem.replace("_", "-") if kind in _HYPHENATED else stem


def load(kind: str, name: str) -> Any:
    """The class that `name` registers.

    Raises:
        KeyError: nothing of this kind has that name.
    """
    for file in _files(kind):
        if name_of(kind, file) == name and (found := _public_class(kind, file)):
            return getattr(importlib.import_module(f"{FOLDERS[kind]}.{file}"), found[0])
    raise KeyError(name)


def describe(kind: str, name: str) -> str:
    """The first paragraph of the class's docstring, read without importing it."""
    for file in _files(kind):
        if name_of(kind, file) == name and (found := _public_class(kind, file)):
            return found[1]
    raise KeyError(name)


def closest(word: str, known: Iterable[str]) -> str:
    """A suggestion to append to an error, or nothing when no known word is near.

    >>> closest("tailor", ["taylor", "random"])
    "; did you mean 'taylor'?"
    >>> closest("zzz", ["taylor", "random"])
    ''
    """
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def modules(kind: str) -> tuple[str, ...]:
    """The full names of all modules of a kind, helpers included, sorted."""
    return tuple(f"{FOLDERS[kind]}.{file}" for file in _files(kind))


@cache
def _files(kind: str) -> tuple[str, ...]:
    return tuple(sorted(module.name for module in pkgutil.iter_modules([str(_folder(kind))])))


@cache
def _folder(kind: str) -> Path:
    spec = importlib.util.find_spec(FOLDERS[kind])
    assert spec is not None, f"{FOLDERS[kind]} is a package of this project"
    assert spec.origin is not None, f"{FOLDERS[kind]} has an __init__.py"
    return Path(spec.origin).parent


@cache
def _public_class(kind: str, file: str) -> tuple[str, str] | None:
    """Name and first docstring sentence of the public class in a file that has the kind's method; None for a helper."""
    tree = ast.parse((_folder(kind) / f"{file}.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            methods = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
            if _MARKS[kind] in methods:
                text = ast.get_docstring(node) or ""
                return node.name, text.split("\n\n")[0].replace("\n", " ")
    return None
