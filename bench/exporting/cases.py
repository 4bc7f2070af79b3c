"""The files that are made, and what is promised of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

HEADS = (12, 8, 5, 12, 3, 1)
"""Of each layer, in the uneven case: more than one layer keeps a number that no power of two divides."""
_EXPORT, _BFLOAT = {"export": {}}, {"export": {"precision": "bf16"}}
_CALIBRATED = {"quantize": {"method": "static_int8"}}
_INT4_TABLE = {"quantize": {"method": "static_int8", "embedding": "int4"}}
_TRIMMED = {"prune": {"axes": ["vocabulary"], "vocabulary": {"seen_in": ["train"]}}}
_BLOCKS = {"quantize": {"method": "weight_int4", "embedding": "int4"}}


@dataclass(frozen=True)
class Case:
    """A way from the model to a file.

    Attributes:
        name: what reports call it.
        title: a reader's words for it.
        stages: as a recipe lists them.
        heads: that stay in each layer; all of them where it is empty.
        megabytes: the most that its file may take.
    """

    name: str
    title: str
    stages: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    heads: Sequence[int] = ()
    megabytes: float | None = None


WHOLE = Case("int8", "calibrated int8", (_EXPORT, _CALIBRATED), megabytes=23.5)
UNEVEN = Case("uneven-int8", f"calibrated int8, {', '.join(map(str, HEADS))} heads", (_EXPORT, _CALIBRATED), HEADS)
FLOAT = Case("fp32", "float32", (_EXPORT,))
BFLOAT = Case("bf16", "weights in bfloat16, widened at loading", (_BFLOAT,))
CASES = (
    FLOAT,
    BFLOAT,
    WHOLE,
    Case("int8-int4-table", "calibrated int8, table of int4", (_EXPORT, _INT4_TABLE), megabytes=18.0),
    Case(
        "int8-trimmed",
        "the same, vocabulary trimmed to what train holds",
        (_TRIMMED, _EXPORT, _INT4_TABLE),
        megabytes=15.0,
    ),
    Case("int4", "weights alone in int4, table of int4", (_EXPORT, _BLOCKS)),
    UNEVEN,
)
