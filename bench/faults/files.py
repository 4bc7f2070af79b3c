"""Malformed files of every kind that the program reads: all kinds in turn, and what counts as refusing one well.

A changed byte may leave a file that is valid and says something else (a weight's value, a word of a text): no reader
can know. Such trials are counted as still valid and replaced by others; where the format is broken for certain, taking
the file is a fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random

from bench.faults import documents, graphs, pictures, tables, weights
from bench.faults.cell import Answer, Trial

LONGEST = 4_000
"""Characters of one line of a message that a person will still read."""
GROWTH_BYTES = 1 << 30
"""How far a trial may make the process grow. The files are some hundred kilobytes."""

Good = Mapping[str, bytes]
"""The good folder's files by path."""


def mutations(good: Path, random: Random) -> Iterator[Trial]:
    """Mutations without end, all kinds in turn, in an order that is drawn: a few are of every sort of file."""
    content: Good = {
        file.relative_to(good).as_posix(): file.read_bytes() for file in sorted(good.rglob("*")) if file.is_file()
    }
    makers = [maker for part in _PARTS for maker in part(content)]
    random.shuffle(makers)
    while True:
        for maker in makers:
            yield maker(random)


_PARTS: tuple[Callable[[Good], list[Callable[[Random], Trial]]], ...] = (
    tables.makers,
    weights.makers,
    documents.makers,
    graphs.makers,
    pictures.makers,
)


def objection(answer: Answer, trial: Trial) -> str:
    """What is wrong with how a malformed file was refused; empty where nothing is."""
    faults = {
        answer.escaped: bool(answer.escaped),
        "a traceback": "Traceback" in answer.message,
        f"opened {answer.opened[:1]}": bool(answer.opened),
        f"wrote {answer.written[:1]}": bool(answer.written),
        f"the process grew by {answer.growth_bytes} bytes": answer.growth_bytes > GROWTH_BYTES,
    }
    found = next((fault for fault, holds in faults.items() if holds), "")
    skipped = answer.code == 0 and "skipped " in answer.printed
    return found or ("" if skipped else _unclear(answer, trial))


def _unclear(answer: Answer, trial: Trial) -> str:
    """What is wrong with the exit code or the message."""
    if answer.code != 2:
        return f"exit code {answer.code}"
    message = answer.message.removesuffix("\n")
    begin = message.find("compress: ")
    if begin < 0:
        return f"no message of ours: {message[:80]!r}"
    lines = message[begin:].split("\n")
    if long := [line for line in lines if len(line) > LONGEST]:
        return f"a line of {len(long[0])} characters"
    if any(not line.isprintable() for line in lines):
        return f"characters that a terminal would obey: {message[begin : begin + 160]!r}"
    # A table is known to a reader of the recipe by its name there, too.
    places = {part for name in (*trial.files, *trial.links) for part in Path(name).parts} | {"model", "source", "texts"}
    if not any(place in message for place in places):
        return f"does not say which file: {message[begin : begin + 160]!r}"
    return ""
