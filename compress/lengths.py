"""How many tokens a model will be given at once: foretold from the texts, most of them not tokenized."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.batching import WINDOW_BATCHES
from compress.errors import ModelError

if TYPE_CHECKING:
    from compress.data import Split
    from compress.task import Task

TOKENIZED = 512
"""The longest texts, of which so many are tokenized: their lengths decide. Of the others a sample is."""


CHARACTERS_PER_TOKEN = 4
"""In English, where the folder has no tokenizer.json and the tokenizer would first have to be converted."""
SPECIAL_TOKENS = (2, 3)
"""As BERT has them, there: around one text, and around two."""


@dataclass(frozen=True)
class Lengths:
    """The rows that a model is given of each example of a split.

    Attributes:
        rows: int64 (examples,), rows of an example.
        tokens: int64 (examples,), length of the longest of them.
        characters: in all texts of the split; of pictures, the bytes that are held in memory.
    """

    rows: np.ndarray
    tokens: np.ndarray
    characters: int = 0

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def total(self) -> int:
        """Tokens of all examples, without padding."""
        return int((self.rows * self.tokens).sum())

    def batches(self, size: int, *, shuffled: bool = False) -> list[tuple[int, int]]:
        """(rows, tokens) of the batches that may be the dearest: of all, or the longest where they are shuffled.

        Shuffled examples are sorted by length in windows of some batches only; which of several windows has the
        longest texts, and beside which others, is not known here, so they are taken to be all in one batch.
        """
        order = np.argsort(self.tokens, kind="stable")
        if shuffled and len(self) > size * WINDOW_BATCHES:
            order = order[-size:]
        chunks = [order[start : start + size] for start in range(0, len(order), size)]
        return [(int(self.rows[chunk].sum()), int(self.tokens[chunk].max())) for chunk in chunks]

    def plus(self, other: Lengths) -> Lengths:
        """The examples of both."""
        return Lengths(
            np.append(self.rows, other.rows), np.append(self.tokens, other.tokens), self.characters + other.characters
        )


def lengths_of(split: Split, folder: Path, task: Task, longest: int) -> Lengths:
    """The lengths of a split's examples for the model in `folder`, which reads `longest` tokens at most.

    Raises:
        ModelError: the folder's tokenizer.json can't be read.
    """
    count = len(split)
    if task.modality == "image":
        held = sum(len(picture) for picture in split.pictures or () if isinstance(picture, bytes))
        return Lengths(np.ones(count, dtype=np.int64), np.full(count, longest, dtype=np.int64), held)
    columns = [split.texts] if split.pairs is None else [split.texts, split.pairs]
    characters = sum(len(text) for column in columns for text in column)
    tokenizer = _tokenizer(folder)
    rows, tokens = task.rows([_tokens(column, tokenizer) for column in columns], _special(tokenizer), longest)
    return Lengths(rows, tokens, characters)


def _tokens(texts: Sequence[str], tokenizer: Any) -> np.ndarray:
    """The length of each text without special tokens: exact for the longest, by the rate of a sample for the others."""
    size = np.array([len(text) for text in texts], dtype=np.int64)
    if tokenizer is None:
        return size // CHARACTERS_PER_TOKEN
    order = np.argsort(size, kind="stable")
    dear, others = order[-TOKENIZED:], order[:-TOKENIZED]
    tokens = np.zeros(len(texts), dtype=np.int64)
    tokens[dear] = _counted([texts[place] for place in dear], tokenizer)
    if len(others):
        sample = others[:: -(-len(others) // TOKENIZED)]
        rate = _counted([texts[place] for place in sample], tokenizer).sum() / max(size[sample].sum(), 1)
        tokens[others] = np.rint(rate * size[others]).astype(np.int64)
    return tokens


def _counted(texts: list[str], tokenizer: Any) -> np.ndarray:
    encoded = tokenizer.encode_batch(texts, add_special_tokens=False)
    return np.array([len(encoding.ids) for encoding in encoded], dtype=np.int64)


def _special(tokenizer: Any) -> tuple[int, int]:
    """Special tokens of a row that holds one text, and of one that holds two."""
    if tokenizer is None:
        return SPECIAL_TOKENS
    return tokenizer.num_special_tokens_to_add(False), tokenizer.num_special_tokens_to_add(True)


def _tokenizer(folder: Path) -> Any:
    """The tokenizer alone, without transformers, which takes a second to import; None where only that can make one."""
    from tokenizers import Tokenizer

    file = folder / "tokenizer.json"
    if not file.exists():
        return None
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as fault:  # the library raises plain exceptions
        raise ModelError(f"{file}: no usable tokenizer: {str(fault).splitlines()[0]}") from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
