"""Parameters of every target part by part: embedding, attention, FFN, head, and the rest."""

from __future__ import annotations

from typing import Any

from compress.anatomy import Anatomy, Axis


def part_rows(target: str, anatomy: Anatomy) -> list[dict[str, Any]]:
    """One row a part: its parameters, counted by the target's anatomy; they add up to all parameters.

    `attention` and `ffn` are what their units hold, and leave with them; `other` is what no unit of a layer holds:
    norms, and the biases behind attention and FFN.
    """
    held = {
        "embedding": anatomy.rest_of("embeddings"),
        "attention": _of_axis(anatomy, "heads", "kv_groups"),
        "ffn": _of_axis(anatomy, "ffn"),
        "head": anatomy.rest_of("head"),
        "other": anatomy.rest_of("encoder"),
    }
    return [{"target": target, "part": part, "parameters": count} for part, count in held.items()]


def _of_axis(anatomy: Anatomy, *axes: Axis) -> int:
    return sum(group.units * group.unit_parameters for axis in axes for group in anatomy.of_axis(axis))
