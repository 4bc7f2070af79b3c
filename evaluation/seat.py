"""Where one target sits while it is timed: a `Seat` in this process. A `Worker`'s, in another, has the same methods."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from compress.runtime import Session
from compress.runtimes.timing import CallPlayer, Limits, Player, clock_of, no_garbage_collection

if TYPE_CHECKING:
    from jaxtyping import Float

    from compress.inputs import Inputs

TRIED_TEXTS = 8
"""Texts that warm a target up, and that say how long one takes."""


@dataclass(frozen=True)
class Texts:
    """Texts that are given to a model one at a time, each in its own length.

    Attributes:
        texts: the texts, in the order in which every target is given them.
        pairs: the second texts, for a model that reads two at once.
        max_tokens: what is longer is cut.
    """

    texts: tuple[str, ...]
    pairs: tuple[str, ...] | None
    max_tokens: int

    def each(self) -> list[tuple[str, str | None]]:
        """Each text, with its second one where there are two."""
        return list(zip(self.texts, self.pairs or [None] * len(self.texts), strict=True))


class Seated(Player, Protocol):
    """One target, open for timing, here or in another process."""

    def take(self, inputs: Inputs) -> None:
        """From now on a call is the model on these inputs."""

    def read(self, texts: Texts) -> None:
        """From now on a call is the model on one of these texts."""

    def read_in_blocks_of(self, count: int) -> None:
        """From now on a block reads so many texts, and the next goes on from there."""


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
    """A text, or two, as one row of inputs, made the way that a program with a request at hand would."""

    def __init__(self, tokenizer: Any, max_tokens: int) -> None:
        self._tokenizer = copy.deepcopy(tokenizer)  # a call may change how a fast tokenizer truncates
        self._settings = {
            "truncation": True,
            "max_length": max_tokens,
            "return_attention_mask": True,
            "return_tensors": "np",
        }

    def __call__(self, text: str, pair: str | None = None) -> Inputs:
        return dict(self._tokenizer(text, pair, **self._settings))


class TextPlayer:
    """Real texts, one after the other, from the start again after the last: each is tokenized, and the model answers.

    Both times come from one pass, as the tokenizer's work for a text ends before the model's begins.
    """

    def __init__(self, texts: Texts, tokenize: Callable[..., Inputs], session: Session, limits: Limits) -> None:
        self._texts = texts.each()
        self._tokenize = tokenize
        self._session = session
        self._limits = limits
        self._next = 0
        self.per_block = len(self._texts)

    def warm_up(self) -> float:
        """The mean time of a text, tokenization included, once the first few were read."""
        tried = self._texts[:TRIED_TEXTS]
        for text in tried:
            self._read(*text)
        return float(np.mean([self._read(*text)[1] for text in tried]))

    def block(self) -> Float[np.ndarray, "text 2"]:
        """Milliseconds of each text: the model alone, and with tokenization."""
        chosen = [self._texts[(self._next + place) % len(self._texts)] for place in range(self.per_block)]
        self._next += self.per_block
        with no_garbage_collection():
            time.sleep(self._limits.pause_seconds)
            for text in chosen[: self._limits.warmup_calls]:
                self._read(*text)
            return np.array([self._read(*text) for text in chosen])

    def _read(self, text: str, pair: str | None) -> tuple[float, float]:
        start = time.perf_counter_ns()
        inputs = self._tokenize(text, pair)
        tokenized = time.perf_counter_ns()
        self._session.outputs(inputs)  # the answer as numbers in memory: what a GPU does is waited for
        done = time.perf_counter_ns()
        return (done - tokenized) / 1e6, (done - start) / 1e6
