"""How each target's tokenizer reads the test texts, where they read them differently: a trimmed vocabulary spells words
that it lost in shorter pieces, and what it can't spell is unknown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from compress.bundle import reading_of
from compress.data import Split
from compress.lineage import digest_of
from evaluation.sitting import Opened


def reading_rows(opened: Sequence[Opened], test: Split) -> list[dict[str, Any]]:
    """One row a target: tokens, special ones left out, and those that are unknown; nothing where all read alike."""
    if any(one.subject.bundle.task.modality != "text" for one in opened):
        return []
    readings = {one.name: digest_of(reading_of(one.subject.bundle.processor)) for one in opened}
    if len(set(readings.values())) < 2:
        return []
    texts = [*test.texts, *(test.pairs or ())]
    counted: dict[str, dict[str, Any]] = {}
    for one in opened:
        reading = readings[one.name]
        if reading not in counted:
            counted[reading] = _counted(one.subject.bundle.processor, texts)
    return [{"target": one.name, **counted[readings[one.name]]} for one in opened]


def _counted(tokenizer: Any, texts: list[str]) -> dict[str, Any]:
    rows = tokenizer(texts, add_special_tokens=False, truncation=False, verbose=False)["input_ids"]
    unknown = sum(row.count(tokenizer.unk_token_id) for row in rows)
    tokens = sum(map(len, rows))
    return {"texts": len(texts), "tokens": tokens, "tokens a text": round(tokens / len(texts), 3), "unknown": unknown}
