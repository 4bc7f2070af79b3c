"""Recipes that ship with the toolkit: data only, found by name."""

from __future__ import annotations

from pathlib import Path

from compress.catalog import closest
from compress.errors import RecipeError

FOLDER = Path(__file__).parent


def names() -> tuple[str, ...]:
    """The shipped recipes, sorted."""
    return tuple(sorted(file.stem for file in FOLDER.glob("*.yaml")))


def find(recipe: str) -> Path:
    """The file that `recipe` names: a path, or a shipped recipe's name.

    Raises:
        RecipeError: it is neither.
    """
    path = Path(recipe)
    if path.is_file():
        return path
    if recipe in names():
        return FOLDER / f"{recipe}.yaml"
    what = "is a folder, wanted a recipe file" if path.is_dir() else "no such file, and no shipped recipe"
    raise RecipeError(f"{recipe}: {what}; shipped: {', '.join(names())}{closest(path.stem, names())}")
