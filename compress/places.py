"""YAML that remembers where everything stood, so that a fault can be shown with its line and column."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from compress.errors import RecipeError

Key = str | int


@dataclass(frozen=True)
class Place:
    """A position in a file, both counted from 1 as editors do."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.line}:{self.column}"


@dataclass(frozen=True)
class Document:
    """YAML as plain values, and the place of each value by its path."""

    values: Any
    places: Mapping[tuple[Key, ...], Place]

    def place(self, path: Sequence[Key]) -> tuple[tuple[Key, ...], Place]:
        """The deepest part of `path` that stands in the file, and where.

        Validators add components that are no keys (which member of a union was tried); these are passed over.
        """
        found: tuple[Key, ...] = ()
        for key in path:
            if (*found, key) in self.places:
                found = (*found, key)
        return found, self.places[found]


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as the safe loader reads it, but `5e-5` is a number, as everybody expects."""


_Loader.yaml_implicit_resolvers = {key: list(pairs) for key, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read_yaml(file: Path) -> Document:
    """The values in a YAML file and their places.

    Raises:
        RecipeError: no such file, not YAML, not UTF-8, or a key stands twice.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise RecipeError(f"{file}: no such file") from None
    except (OSError, UnicodeDecodeError) as fault:
        raise RecipeError(f"{file}: not readable: {fault}") from None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            raise RecipeError(f"{file}:1:1: the file is empty; wanted a recipe")
        places = dict(_walk(node, (), file))
        return Document(loader.construct_document(node), places)
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        where = f"{mark.line + 1}:{mark.column + 1}" if mark else "1:1"
        raise RecipeError(f"{file}:{where}: not YAML: {fault.problem or fault.context}") from None
    except yaml.reader.ReaderError as fault:
        before = text[: fault.position].split("\n")
        where = f"{len(before)}:{len(before[-1]) + 1}"
        raise RecipeError(f"{file}:{where}: not YAML: unacceptable character #x{fault.character:04x}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as fault:
        reason = str(fault).splitlines()[0] if str(fault) else type(fault).__name__
        raise RecipeError(f"{file}:1:1: not YAML: {reason}") from None


def read_value(text: str) -> Any:
    """One value, read as in a recipe: `5e-5` is a number, `[1, 2]` a list."""
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _walk(node: yaml.Node, path: tuple[Key, ...], file: Path) -> Iterator[tuple[tuple[Key, ...], Place]]:
    """Every path below `node` with its place: a mapping's entries stand where their keys do."""
    if not path:
        yield path, _place(node)
    if isinstance(node, yaml.MappingNode):
        seen: set[Key] = set()
        for key_node, value_node in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else str(_place(key_node))
            if key in seen:
                raise RecipeError(f"{file}:{_place(key_node)}: the key {key!r} stands here a second time")
            seen.add(key)
            yield (*path, key), _place(key_node)
            yield from _walk(value_node, (*path, key), file)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield (*path, index), _place(item)
            yield from _walk(item, (*path, index), file)


def _place(node: yaml.Node) -> Place:
    return Place(node.start_mark.line + 1, node.start_mark.column + 1)
