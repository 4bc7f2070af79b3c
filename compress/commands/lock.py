"""`compress lock`: pin the `pip:` sources of a recipe by hash."""

from __future__ import annotations

from pathlib import Path

import recipes
from compress.recipe import read_recipe
from compress.sources import Lock
from compress.sources import lock as pinned


def lock(recipe_name: str) -> Path:
    """Write the lock file beside the recipe and return it.

    Raises:
        SourceError: a package can't be had, or the member is in neither its wheel nor its sdist.
    """
    file = recipes.find(recipe_name)
    recipe = read_recipe(file)
    flat = [source for tried in recipe.sources.values() for source in tried]
    target = Lock.beside(file)
    pinned([source for source in flat if source.startswith("pip:")]).write(target)
    return target
