"""A trained Transformer and a recipe go in; a smaller, faster model as ONNX and an honest report come out.

The public names are loaded at first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compress.bundle import Bundle
    from compress.folder import load, save
    from compress.recipe import Recipe, read_recipe

__version__ = "0.1.0"
__all__ = ["Bundle", "Recipe", "load", "read_recipe", "save"]

_HOMES = {
    "Bundle": "compress.bundle",
    "Recipe": "compress.recipe",
    "load": "compress.folder",
    "read_recipe": "compress.recipe",
    "save": "compress.folder",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'compress' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
