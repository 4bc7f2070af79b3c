"""Lay out a result as the hub does, so that other people's loaders find what they expect."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from compress.bundle import Bundle, Form
from compress.folder import save


def write_model(bundles: Sequence[Bundle], folder: Path, card: str) -> None:
    """Write the last bundle of torch form as safetensors, and every graph that came after it under `onnx/`.

    The folder is made aside and moved into place: it is never half of one result and half of another.

    Args:
        bundles: the reference and each stage's outcome, in order.
        card: the model card, Markdown with the hub's front matter.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".model-", dir=folder.parent))
    try:
        last_torch = max(index for index, bundle in enumerate(bundles) if bundle.form is Form.TORCH)
        for bundle in bundles[last_torch:]:
            save(bundle, draft)  # config, anatomy, tokenizer and lineage of the last one stay
        (draft / "README.md").write_text(card, encoding="utf-8")
        draft.chmod(0o755)  # mkdtemp makes folders that only their owner can read
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
