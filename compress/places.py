"""YAML that remembers where everything stood, so that a fault can be shown with its line and column."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError
from yaml.scanner import ScannerError

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


MOST_BYTES = 1_000_000
"""A recipe is some kilobytes; more is another kind of file."""
DEEPEST = 64
"""Levels of nesting. Recursive readers give up at some hundreds, and what is that deep is no recipe."""
MOST_VALUES = 20_000
"""Values in a document, an alias counted as all that it stands for: ten lines of aliases can stand for 10^10."""

MOST = 2**63 - 1
"""The largest integer. No setting means one as large; what counts with it later may be less patient than Python."""


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as the safe loader reads it, but `5e-5` is a number, as everybody expects, and size has its limits."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._values: dict[yaml.Node, int] = {}

    def fetch_flow_collection_start(self, TokenClass: Any) -> None:
        """A bracket; too many are refused here already, as the scanner looks far ahead of what is composed."""
        if self.flow_level > DEEPEST:
            raise ScannerError(None, None, f"nested more than {DEEPEST} levels deep", self.get_mark())
        super().fetch_flow_collection_start(TokenClass)

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """The next node; refused as soon as it is too deep, stands for too much, or is an alias of what it is in."""
        event = self.peek_event()
        at = event.start_mark
        if self._depth > DEEPEST:
            raise ComposerError(None, None, f"nested more than {DEEPEST} levels deep", at)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is not None and node not in self._values:
            if isinstance(event, yaml.AliasEvent):  # of a node that is not at its end yet
                raise ComposerError(None, None, f"the alias {event.anchor!r} stands in what it names", at)
            self._values[node] = 1 + sum(self._values[inner] for inner in _inside(node))
            if self._values[node] > MOST_VALUES:
                problem = f"more than {MOST_VALUES} values, aliases counted in full"
                raise ComposerError(None, None, problem, at)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """The value of a node; a tag that does not fit its text is a fault with a place, whatever PyYAML raises."""
        try:
            value = super().construct_object(node, deep)
            if isinstance(value, int) and abs(value) > MOST:
                raise ValueError(f"wanted at most {MOST}")
            return value
        except (ValueError, AttributeError, TypeError, OverflowError) as fault:
            kind = node.tag.rpartition(":")[2]
            raise ConstructorError(None, None, f"not a value of kind {kind} ({fault})", node.start_mark) from None


def _inside(node: yaml.Node) -> list[yaml.Node]:
    """The nodes that stand directly in a node."""
    if isinstance(node, yaml.MappingNode):
        return [inner for pair in node.value for inner in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


_Loader.yaml_implicit_resolvers = {key: list(pairs) for key, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read_yaml(file: Path) -> Document:
    """The values in a YAML file and their places.

    Raises:
        RecipeError: no such file, not YAML, not UTF-8, a key stands twice, or it is larger than a recipe can be.
    """
    text = _read_text(file)
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


def _read_text(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            content = opened.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise RecipeError(f"{file}: no such file") from None
    except OSError as fault:
        raise RecipeError(f"{file}: not readable: {fault}") from None
    if len(content) > MOST_BYTES:
        raise RecipeError(f"{file}:1:1: more than {MOST_BYTES} bytes; wanted a recipe")
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as fault:
        *above, line = content[: fault.start].split(b"\n")
        where = f"{len(above) + 1}:{len(line.decode('utf-8')) + 1}"
        problem = f"the byte 0x{content[fault.start]:02x} is not UTF-8; was it saved in another encoding?"
        raise RecipeError(f"{file}:{where}: {problem}") from None


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
