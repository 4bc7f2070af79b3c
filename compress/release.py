"""Lay out a result as the hub does, so that other people's loaders find what they expect."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from compress.bundle import Bundle, Form
from compress.folder import save
from compress.store.refusals import writing

DRAFT, OLD = ".model-draft", ".model-old"


def write_model(bundles: Sequence[Bundle], folder: Path, card: str) -> None:
    """Write the last bundle of torch form as safetensors, and every graph that came after it under `onnx/`.

    The folder is made aside and moved into place: it is never half of one result and half of another. One process at
    a time may write beside `folder`.

    Args:
        bundles: the reference and each stage's outcome, in order.
        card: the model card, Markdown with the hub's front matter.

    Raises:
        StoreError: no space or no permission; an earlier model in `folder` is as it was.
    """
    with writing(folder, "the model"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        clear_drafts(folder.parent)
        draft = folder.with_name(DRAFT)
        try:
            last_torch = max(index for index, bundle in enumerate(bundles) if bundle.form is Form.TORCH)
            for bundle in bundles[last_torch:]:
                save(bundle, draft)  # config, anatomy, tokenizer and lineage of the last one stay
            (draft / "README.md").write_text(card, encoding="utf-8")
            if folder.exists():
                folder.rename(folder.with_name(OLD))
            draft.rename(folder)
        finally:
            clear_drafts(folder.parent)


def clear_drafts(folder: Path) -> None:
    """Remove from a run folder what a dead process left of writing its model."""
    for name in (DRAFT, OLD):
        shutil.rmtree(folder / name, ignore_errors=True)
