"""What a cut did, as tables for `run.json`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from compress.pruning.allocation import Kept, Scored

if TYPE_CHECKING:
    from jaxtyping import Bool
    from torch import Tensor


def kept_table(scored: Scored, kept: Kept, keep: Sequence[Bool[Tensor, "unit"]]) -> list[dict[str, Any]]:
    """One row a group, and one for the layers where some may leave: scores' spread and what was kept."""
    rows = [
        {
            "group": group.name,
            "units": group.units,
            "kept": int(mask.sum()),
            "score_min": float(score.min()),
            "score_max": float(score.max()),
        }
        for group, score, mask in zip(scored.groups, scored.scores, keep, strict=True)
        if group.layer is None or group.layer in _layers_that_stayed(scored, kept)
    ]
    if scored.layers is not None:
        spread = {"score_min": min(scored.layers), "score_max": max(scored.layers)}
        rows.append({"group": "layers", "units": scored.anatomy.layers, "kept": len(kept.layers), **spread})
    return rows


def unit_table(scored: Scored, kept: Kept, keep: Sequence[Bool[Tensor, "unit"]]) -> list[dict[str, Any]]:
    """One row a head, or KV group: its score before the cut and whether it stayed; the report draws a heat map."""
    stayed = _layers_that_stayed(scored, kept)
    return [
        {
            "layer": group.layer,
            "head": head,
            "score": float(score[head]),
            "kept": group.layer in stayed and bool(mask[head]),
        }
        for group, score, mask in zip(scored.groups, scored.scores, keep, strict=True)
        if group.heads
        for head in range(group.units)
    ]


def _layers_that_stayed(scored: Scored, kept: Kept) -> set[int]:
    """By the numbers that groups know them by."""
    return {scored.anatomy.runs[layer] for layer in kept.layers}
