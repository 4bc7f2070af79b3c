"""Where one target sits while it is timed: a `Seat` in this process. A `Worker`'s, in another, has the same methods."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from compress.runtime import Session
from compress.runtimes.timing import (
    LONG_CALL_MS,
    STABLE_WITHIN,
    CallPlayer,
    Limits,
    Player,
    clock_of,
    no_garbage_collection,
)

if TYPE_CHECKING:
    from jaxtyping import Float

    from compress.inputs import Inputs

TRIED = 8
"""Batches of texts that warm a target up, and that say how long one takes, at most."""
TRIED_SECONDS = 1.0
"""After so long they are not tried once more."""

Batch = tuple[tuple[str, ...], tuple[str, ...] | None]


@dataclass(frozen=True)
class Texts:
    """Texts that are given to a model so many at a time, in their own lengths: padded to the longest of a batch.

    Attributes:
        texts: the texts, in the order in which every target is given them.
        pairs: the second texts, for a model that reads two at once.
        max_tokens: what is longer is cut.
        batch: texts at a time; what is left over at the end is not read.
    """

    texts: tuple[str, ...]
    pairs: tuple[str, ...] | None
    max_tokens: int
    batch: int = 1

    def batches(self) -> list[Batch]:
        """The texts of each batch, and their second ones where there are two."""
        starts = range(0, len(self.texts) - self.batch + 1, self.batch)
        cuts = [slice(start, start + self.batch) for start in starts]
        return [(self.texts[cut], None if self.pairs is None else self.pairs[cut]) for cut in cuts]


class Seated(Player, Protocol):
    """One target, open for timing, here or in another process."""

    def take(self, inputs: Inputs) -> None:
        """From now on a call is the model on these inputs."""

    def read(self, texts: Texts) -> None:
        """From now on a call is the model on a batch of these texts."""

    def read_in_blocks_of(self, count: int) -> None:
        """From now on a block reads so many batches, and the next goes on from there."""


class Seat:
    """A target in this process. What it last was given decides what a block is."""

    def __init__(self, session: Session, processor: Any, device: str, limits: Limits) -> None:
        self._session = session
        self._processor = processor
        self._device = device
        self._limits = limits
        self._player: Player | None = None

    def take(self, inputs: Inputs) -> None:
        self._player = CallPlayer(self._session.bind(inputs), clock_of(self._device), self._limits)

    def read(self, texts: Texts) -> None:
        self._player = TextPlayer(texts, Tokenizing(self._processor, texts.max_tokens), self._session, self._limits)

    def read_in_blocks_of(self, count: int) -> None:
        assert isinstance(self._player, TextPlayer), "a seat is given texts first"
        self._player.per_block = count

    def warm_up(self) -> float:
        return self._playing.warm_up()

    def block(self) -> Float[np.ndarray, "call ..."]:
        return self._playing.block()

    @property
    def _playing(self) -> Player:
        assert self._player is not None, "a seat is given inputs or texts before its turn"
        return self._player


class Tokenizing:
    """Texts, or pairs, as rows of inputs, made the way that a program with requests at hand would."""

    def __init__(self, tokenizer: Any, max_tokens: int) -> None:
        self._tokenizer = copy.deepcopy(tokenizer)  # a call may change how a fast tokenizer truncates
        if self._tokenizer.pad_token is None:  # what stands where nothing is attended to has no meaning
            self._tokenizer.pad_token = self._tokenizer.eos_token or self._tokenizer.convert_ids_to_tokens(0)
        self._settings = {
            "truncation": True,
            "max_length": max_tokens,
            "return_attention_mask": True,
            "return_tensors": "np",
        }

    def __call__(self, texts: tuple[str, ...], pairs: tuple[str, ...] | None = None) -> Inputs:
        seconds = None if pairs is None else list(pairs)
        return dict(self._tokenizer(list(texts), seconds, padding=len(texts) > 1, **self._settings))


class TextPlayer:
    """Real texts, batch after batch, from the start again after the last: each is tokenized, and the model answers.

    Both times come from one pass, as the tokenizer's work for a batch ends before the model's begins.
    """

    def __init__(self, texts: Texts, tokenize: Callable[..., Inputs], session: Session, limits: Limits) -> None:
        self._batches = texts.batches()
        self._tokenize = tokenize
        self._session = session
        self._limits = limits
        self._next = 0
        self._typical_ms = 0.0
        self.per_block = len(self._batches)

    def warm_up(self) -> float:
        """The mean time of a batch, tokenization included, once reading the first few takes the same twice in a row."""
        started, before = time.monotonic(), 0.0
        while not self._typical_ms:
            now = float(np.mean([self._read(*batch)[1] for batch in self._batches[:TRIED]]))
            if abs(now - before) <= STABLE_WITHIN * before or time.monotonic() - started > TRIED_SECONDS:
                self._typical_ms = now
            before = now
        return self._typical_ms

    def block(self) -> Float[np.ndarray, "batch 2"]:
        """Milliseconds of each batch: the model alone, and with tokenization.

        What is not counted are the batches before: read twice in a row, a text would find its length prepared for.
        """
        uncounted = 1 if self._typical_ms > LONG_CALL_MS else self._limits.warmup_calls
        with no_garbage_collection():
            time.sleep(self._limits.pause_seconds)
            for place in range(self._next - uncounted, self._next):
                self._read(*self._batches[place % len(self._batches)])
            places = range(self._next, self._next + self.per_block)
            self._next += self.per_block
            return np.array([self._read(*self._batches[place % len(self._batches)]) for place in places])

    def _read(self, texts: tuple[str, ...], pairs: tuple[str, ...] | None) -> tuple[float, float]:
        start = time.perf_counter_ns()
        inputs = self._tokenize(texts, pairs)
        tokenized = time.perf_counter_ns()
        self._session.outputs(inputs)  # the answer as numbers in memory: what a GPU does is waited for
        done = time.perf_counter_ns()
        return (done - tokenized) / 1e6, (done - start) / 1e6
