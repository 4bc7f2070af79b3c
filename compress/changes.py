"""Changes to a recipe as `--set PATH=VALUE` asks for them, made to its values before they are checked."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from compress.errors import RecipeError
from compress.places import Key, read_value


def with_changes(values: dict[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """A copy with each PATH=VALUE put in place; list items go by number, or a stage by its name, and a block that the
    recipe leaves out is made.

    Raises:
        RecipeError: not of that form, or the path leads nowhere.
    """
    changed = copy.deepcopy(values)
    for change in changes:
        path, equals, text = change.partition("=")
        if not equals or not path:
            raise RecipeError(f"--set {change}: wanted PATH=VALUE, as stages.0.distill.epochs=3")
        try:
            value = read_value(text)
        except (yaml.YAMLError, ValueError, RecursionError) as fault:
            reason = getattr(fault, "problem", None) or str(fault).split("\n", 1)[0]
            raise RecipeError(f"--set {change}: the value is not YAML: {reason}") from None
        try:
            *outer, last = landing(changed, path)
            here: Any = changed
            for key in outer:
                if isinstance(here, dict) and here.get(key) is None:
                    here[key] = {}
                here = here[key]
            here[last] = value
        except (KeyError, IndexError, TypeError, ValueError):
            raise RecipeError(f"--set {change}: the recipe has no place {path!r}") from None
    return changed


def landed(values: Any, changes: Sequence[str]) -> Iterator[tuple[tuple[Key, ...], str]]:
    """Each change by where it is in the values, but for those that a later one has taken out again."""
    for change in changes:
        with contextlib.suppress(KeyError, IndexError, TypeError, ValueError):
            yield landing(values, change.partition("=")[0]), change


def landing(values: Any, path: str) -> tuple[Key, ...]:
    """The keys that a dotted path leads through: a stage's name stands for the one entry of its list that has it.

    >>> landing({"stages": [{"export": {}}, {"prune": {"steps": 1}}]}, "stages.prune.steps")
    ('stages', 1, 'prune', 'steps')
    """
    keys: list[Key] = []
    here = values
    for place, name in enumerate(names := path.split(".")):
        if isinstance(here, list) and not name.isdecimal():
            [entry] = [number for number, item in enumerate(here) if isinstance(item, dict) and name in item]
            keys.append(entry)
            here = here[entry]
        keys.append(int(name) if isinstance(here, list) else name)
        if place < len(names) - 1:
            inner = here.get(name) if isinstance(here, dict) else here[keys[-1]]
            here = {} if inner is None else inner
    return tuple(keys)
