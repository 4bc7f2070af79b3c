"""The variants of a sweep: every combination of the values that some settings of a recipe take.

Nothing here touches a model or data: what is wrong with any variant is known before any work begins.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from compress.errors import RecipeError
from compress.places import read_value
from compress.recipe import Recipe, read_recipe

_SWEPT = "stages"
_LONGEST_NAME = 80  # a folder's and a file's name is made of it
_BRACKETS = {"[": "]", "{": "}"}


@dataclass(frozen=True)
class Axis:
    """One setting that varies: its path in the recipe, and its values as they were typed."""

    path: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Variant:
    """One combination: its name, the value of each setting that varies, and the recipe that they make."""

    name: str
    changes: tuple[tuple[str, str], ...]
    recipe: Recipe


def read_variants(file: Path, over: Sequence[str], changes: Sequence[str] = ()) -> list[Variant]:
    """Every variant of a recipe, in the order of the values; the last axis varies fastest.

    Args:
        over: `PATH=V1,V2,...` each; see `read_axis`.
        changes: `PATH=VALUE` each, made in every variant before those of its own.

    Raises:
        RecipeError: an axis can't be read or may not vary, or variants have faults: each fault on a line, after the
            name of the variant that has it, or without one where all have it.
    """
    axes = [read_axis(text) for text in over]
    _check_paths(axes)
    chosen = [tuple(zip((axis.path for axis in axes), values, strict=True)) for values in _combinations(axes)]
    names = _names(axes, chosen)
    found: list[Variant] = []
    faults: dict[str, list[str]] = {}
    for name, settings in zip(names, chosen, strict=True):
        try:
            recipe = read_recipe(file, [*changes, *(f"{path}={value}" for path, value in settings)])
        except RecipeError as fault:
            faults[name] = [_as_typed(line, settings) for line in str(fault).splitlines()]
        else:
            found.append(Variant(name, settings, recipe))
    if faults:
        raise RecipeError("\n".join(_listing(faults, len(names))))
    _refuse_equals(found)
    return found


def read_axis(text: str) -> Axis:
    """`PATH=V1,V2,...`: values as YAML, parted by the commas that stand outside of brackets and quotes.

    A value that is a list has brackets of its own.

    >>> read_axis("stages.distill.student.layers=[0,2,5],3").values
    ('[0,2,5]', '3')

    Raises:
        RecipeError: no path, an empty value, a value twice, or one that is not YAML.
    """
    path, equals, listed = text.partition("=")
    if not equals or not path:
        raise RecipeError(f"--over {text}: wanted PATH=V1,V2,..., as stages.distill.student.layers=2,3")
    values = tuple(_parted(listed))
    if not all(values):
        raise RecipeError(f"--over {text}: a value is empty; is there a comma too many?")
    read = [_value(text, value) for value in values]
    for place, value in enumerate(read):
        if repr(value) in map(repr, read[:place]):  # True and 1 are equal, and not the same setting
            raise RecipeError(f"--over {text}: the value {values[place]} stands there twice")
    return Axis(path, values)


def _parted(text: str) -> Iterator[str]:
    """The parts of a text between its top-level commas."""
    waiting: list[str] = []  # the brackets and the quote that are open, by what closes them
    start = 0
    for place, letter in enumerate(text):
        if waiting and letter == waiting[-1] and (letter != '"' or text[place - 1] != "\\"):
            waiting.pop()
        elif waiting and waiting[-1] in "\"'":
            continue
        elif letter in _BRACKETS:
            waiting.append(_BRACKETS[letter])
        elif letter in "\"'" and text[start:place].rstrip()[-1:] in "[{,:":  # or nothing is before it
            waiting.append(letter)  # elsewhere it is an apostrophe within a word
        elif letter == "," and not waiting:
            yield text[start:place].strip()
            start = place + 1
    yield text[start:].strip()


def _value(text: str, value: str) -> Any:
    try:
        return read_value(value)
    except (yaml.YAMLError, ValueError, RecursionError) as fault:
        reason = getattr(fault, "problem", None) or str(fault).split("\n", 1)[0]
        raise RecipeError(f"--over {text}: the value {value} is not YAML: {reason}") from None


def _check_paths(axes: Sequence[Axis]) -> None:
    """Variants are compared in one sitting: what they are compared with, and on, has to be the same for all."""
    if not axes:
        raise RecipeError("a sweep wants at least one --over PATH=V1,V2,...; without any, `compress run` is what it is")
    paths = [axis.path for axis in axes]
    for place, path in enumerate(paths):
        if path.split(".")[0] != _SWEPT:
            raise RecipeError(
                f"--over {path}: only settings under `{_SWEPT}` can vary: the variants share one reference, one test "
                "set and one sitting, or their figures would not compare; `--set` changes it for all of them"
            )
        for other in paths[:place]:
            if f"{path}.".startswith(f"{other}.") or f"{other}.".startswith(f"{path}."):
                raise RecipeError(f"--over {path}: it is varied already, by --over {other}")


def _combinations(axes: Sequence[Axis]) -> Iterator[tuple[str, ...]]:
    return product(*(axis.values for axis in axes))


def _names(axes: Sequence[Axis], chosen: Sequence[tuple[tuple[str, str], ...]]) -> list[str]:
    """A short name for each combination, as `layers=3,encoder_parameters=0.7`; all different on any file system."""
    labels = _labels([axis.path.split(".") for axis in axes])
    names: list[str] = []
    taken: set[str] = set()
    for position, settings in enumerate(chosen, start=1):
        name = ",".join(f"{label}={_short(value)}" for label, (_, value) in zip(labels, settings, strict=True))
        if len(name) > _LONGEST_NAME or name.casefold() in taken:
            name = f"{name[: _LONGEST_NAME - 6]}-{position}"
        taken.add(name.casefold())
        names.append(name)
    return names


def _labels(paths: Sequence[Sequence[str]]) -> list[str]:
    """The end of each path, from its last word on, and as much before that as tells it from the others."""
    labels = []
    for path in paths:
        others = [other for other in paths if other is not path]
        ends = [path[start:] for start in reversed(range(len(path)))]
        apart = (end for end in ends if not end[0].isdecimal() and all(o[-len(end) :] != end for o in others))
        labels.append(".".join(next(apart, path)))
    return labels


def _short(value: str) -> str:
    """A value as part of a name: letters, digits, dots, signs and dashes alone.

    >>> _short("[0, 2, 5]"), _short("{use: taylor}"), _short("1e-4")
    ('0-2-5', 'use-taylor', '1e-4')
    """
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", value.strip(" []{}\"'")).rstrip("-") or "empty"


def _as_typed(line: str, settings: Sequence[tuple[str, str]]) -> str:
    """A fault of a path that leads nowhere, found as if by `--set`, as one of the option that was typed."""
    for path, value in settings:
        typed = f"--set {path}={value}:"
        if line.startswith(typed):
            return f"--over {path}:{line.removeprefix(typed)}"
    return line


def _refuse_equals(variants: Sequence[Variant]) -> None:
    """One setting can be written in several ways, and reached by several paths."""
    for place, variant in enumerate(variants):
        for other in variants[:place]:
            if variant.recipe == other.recipe:
                raise RecipeError(f"--over: {variant.name} and {other.name} are the same recipe; leave one of them out")


def _listing(faults: dict[str, list[str]], variants: int) -> list[str]:
    """Every fault once: with the names of those that have it, unless all do."""
    holders: dict[str, list[str]] = {}
    for name, lines in faults.items():
        for line in lines:
            holders.setdefault(line, []).append(name)
    return [line if len(names) == variants else f"{' and '.join(names)}: {line}" for line, names in holders.items()]
