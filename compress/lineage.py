"""What was done to a model: one `Step` a stage, in order, and the digests that tie the steps together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Step:
    """One stage's doing: its settings and seed, the sizes before and after, and the digests of both bundles."""

    name: str
    """Number and stage, as `02-prune`; preparation steps carry a `p`, as `p1-finetune`."""
    stage: str
    settings: dict[str, Any]
    seed: int
    before: dict[str, float]
    after: dict[str, float]
    digest_before: str
    digest_after: str


@dataclass(frozen=True)
class Lineage:
    """The steps from the source to here, and what the source was."""

    source: str = ""
    source_digest: str = ""
    steps: tuple[Step, ...] = field(default=())

    def then(self, step: Step) -> Lineage:
        return Lineage(self.source, self.source_digest, (*self.steps, step))

    @property
    def digest(self) -> str:
        """Of what was done to what; how the source was spelled, and so from which folder, is left out."""
        return digest_of({**self.as_json(), "source": ""})

    def as_json(self) -> dict[str, Any]:
        return {"source": self.source, "source_digest": self.source_digest, "steps": [asdict(s) for s in self.steps]}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Lineage:
        steps = tuple(Step(**step) for step in document["steps"])
        return cls(document["source"], document["source_digest"], steps)


def digest_of(value: Any) -> str:
    """The sha256 of a JSON value in its canonical form: keys sorted, no spaces.

    >>> digest_of({"b": 1, "a": [2]}) == digest_of({"a": [2], "b": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """The sha256 of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
