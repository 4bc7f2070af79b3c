"""`compress list`: what there is to use, and what each thing is, read without importing it."""

from __future__ import annotations

import recipes
from compress import catalog
from compress.errors import CompressError

Listing = dict[str, dict[str, str]]


def listing(kind: str | None) -> Listing:
    """Kind to name to description, for one kind or all.

    Raises:
        CompressError: no such kind; suggests.
    """
    kinds = ("recipes", *catalog.FOLDERS, "baselines")
    if kind is not None and kind not in kinds:
        raise CompressError(f"list {kind}: no such kind; known: {', '.join(kinds)}{catalog.closest(kind, kinds)}")
    return {one: _of_kind(one) for one in (kinds if kind is None else (kind,))}


def to_text(listed: Listing) -> str:
    """Two columns a kind."""
    lines: list[str] = []
    for kind, entries in listed.items():
        width = max((len(name) for name in entries), default=0)
        lines += [f"{kind}:", *(f"  {name:<{width}}  {text}".rstrip() for name, text in entries.items()), ""]
    return "\n".join(lines).rstrip()


def _of_kind(kind: str) -> dict[str, str]:
    if kind == "recipes":
        return {name: _heading(name) for name in recipes.names()}
    if kind == "baselines":
        from compress.baselines import BASELINES

        return {
            name: baseline.obstacle or f"the reference on {baseline.runtime}" for name, baseline in BASELINES.items()
        }
    return {name: catalog.describe(kind, name) for name in catalog.names(kind)}


def _heading(recipe: str) -> str:
    """The comment that a shipped recipe opens with."""
    first = recipes.find(recipe).read_text(encoding="utf-8").splitlines()[0]
    return first.removeprefix("#").strip()
