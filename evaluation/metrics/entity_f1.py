"""Entity F1: precision and recall of whole entities in tagged words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from compress.errors import DataError
from compress.settings import Settings
from evaluation.metrics.ends import ends_of_counts
from evaluation.metrics.words import same_width

if TYPE_CHECKING:
    from compress.metric import Reads
    from compress.task import Target

OUTSIDE = "O"
"""The tag of words that are in no entity."""

_PREFIXED = re.compile(r"([BIESLUM])-(.+)")
_SAME_AS = {"L": "E", "U": "S", "M": "I"}  # BILOU and BMES call them so


class EntityF1(Settings):
    """F1 of whole entities, of all types together: one is right when its type, its first and its last word are.

    Entities are counted as by the CoNLL-2003 shared task (Tjong Kim Sang and De Meulder 2003, section 2). Tags are read
    from `names` as conlleval and seqeval's default mode read them: B- begins an entity, and so does I- (or E-) where no
    entity of its type is open, though nothing began it; E- ends one and S- is one. Beyond that, L-, U- and M- stand for
    E-, S- and I-; where any name but O has no such prefix, the names are types, and neighbours of one type are one
    entity. A word that was cut off, or whose true tag is not known, is outside of every entity. Without any entity,
    true or decided, F1 is 0.
    """

    unit: ClassVar[str] = "ratio"
    higher_is_better: ClassVar[bool] = True
    relative_drop: ClassVar[bool] = False
    targets: ClassVar[tuple[Target | None, ...]] = ("tags",)
    reads: ClassVar[Reads] = "decisions"
    overstates: ClassVar[bool] = False

    names: tuple[str, ...] = Field((), description="the name of each tag")

    def evidence(self, truth: np.ndarray, decisions: np.ndarray) -> np.ndarray:
        """How many entities are right, true and decided, int64 (examples, 3).

        Args:
            truth: int (examples, words), -100 where no word is.
            decisions: likewise; fewer or more words than `truth` has are filled up with -100.

        Raises:
            DataError: a tag is beyond `names`.
        """
        right, true_types, types = self._compared(truth, decisions)
        return np.stack([right.sum(-1), (true_types >= 0).sum(-1), (types >= 0).sum(-1)], axis=-1)

    def value(self, evidence: np.ndarray) -> np.ndarray:
        """F1 = 2 right / (true + decided): (..., examples, 3) gives (...)."""
        right, true, decided = np.moveaxis(evidence.sum(-2), -1, 0)
        return np.asarray(2 * right / np.maximum(true + decided, 1))

    def ends(self, evidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Every entity found, and none: (examples, 3) gives two of these."""
        return ends_of_counts(evidence)

    def by_type(self, truth: np.ndarray, decisions: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """For every type of entity: its name, and how many are right and how many are true, int64 (examples, 2).

        Args:
            truth: as of `evidence`.
            decisions: likewise.

        Raises:
            DataError: a tag is beyond `names`.
        """
        right, true_types, _ = self._compared(truth, decisions)
        for number, name in enumerate(self._read_names()[2]):
            true = true_types == number
            yield name, np.stack([(right & true).sum(-1), true.sum(-1)], axis=-1)

    def _compared(self, truth: np.ndarray, decisions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Whether an entity that is right begins at each word, and the type of the true and of the decided one that
        begins there, -1 where none does: (examples, words) each."""
        truth, decisions = same_width(truth, decisions)
        if (largest := int(max(truth.max(initial=0), decisions.max(initial=0)))) >= len(self.names):
            raise DataError(f"entity_f1: a tag is {largest}, wanted 0 to {len(self.names) - 1}, as there are names")
        decisions = np.where(truth >= 0, decisions, -1)
        true_starts, true_types, true_ends = self._entities(truth)
        starts, types, ends = self._entities(decisions)
        right = true_starts & starts & (true_types == types) & (true_ends == ends)
        return right, np.where(true_starts, true_types, -1), np.where(starts, types, -1)

    def _entities(self, tags: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where entities begin, the type of each word, and, where one begins, its end (exclusive): (examples, words).

        Types are numbers, -1 outside.
        """
        letters, type_numbers, _ = self._read_names()
        known = np.maximum(tags, 0)
        letter = np.where(tags >= 0, letters[known], OUTSIDE)
        kind = np.where(tags >= 0, type_numbers[known], -1)
        before_letter = np.pad(letter[:, :-1], ((0, 0), (1, 0)), constant_values=OUTSIDE)
        before_kind = np.pad(kind[:, :-1], ((0, 0), (1, 0)), constant_values=-1)
        inside = kind >= 0
        fresh = (kind != before_kind) | np.isin(letter, ["B", "S"]) | np.isin(before_letter, ["E", "S"])
        starts = inside & fresh
        # The end is the next word that does not go on: the nearest such place, looked for from the right.
        places = np.where(inside & ~fresh, tags.shape[1], np.arange(tags.shape[1]))
        nearest = np.minimum.accumulate(places[:, ::-1], axis=1)[:, ::-1]
        ends = np.pad(nearest[:, 1:], ((0, 0), (0, 1)), constant_values=tags.shape[1])
        return starts, kind, ends

    def _read_names(self) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """The letter of each tag, the number of its type, -1 for O, and the types. A name without prefix has the letter
        I."""
        pairs = [_PREFIXED.fullmatch(name) for name in self.names]
        plain = any(pair is None and name != OUTSIDE for pair, name in zip(pairs, self.names, strict=True))
        letters, types = [], []
        for name, pair in zip(self.names, pairs, strict=True):
            if name == OUTSIDE:
                letters.append(OUTSIDE)
                types.append("")
            elif plain or pair is None:
                letters.append("I")
                types.append(name)
            else:
                letters.append(_SAME_AS.get(pair[1], pair[1]))
                types.append(pair[2])
        known = sorted(set(types) - {""})
        return np.array(letters), np.array([known.index(one) if one else -1 for one in types]), known
