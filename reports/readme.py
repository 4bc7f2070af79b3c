"""The tables that a README keeps between markers: written from `run.json` files, never typed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from compress.errors import DataError
from evaluation.measurement import Run
from reports.headline import gates_table
from reports.table import results_table, to_markdown

_WRITTEN: dict[str, Callable[[Run], str]] = {
    "results": results_table,
    "gates": lambda run: to_markdown(gates_table(run)),
}
_OPEN = re.compile(rf"<!-- (?P<what>{'|'.join(_WRITTEN)}):(?P<name>\S+) -->")
_SHUT = re.compile(rf"<!-- /(?P<what>{'|'.join(_WRITTEN)}) -->")


def fill_markers(text: str, runs: Mapping[str, Run]) -> str:
    """`text` with a table of run NAME between each `<!-- results:NAME -->` and its `<!-- /results -->`.

    `results` is every target with its figures, `gates` every gate of the run. What stood between the markers goes;
    doing it twice changes nothing.

    Raises:
        DataError: a marker names a run that is not in `runs`, or is not closed, or is closed without being opened.
    """
    pieces, place = [], 0
    while opened := _OPEN.search(text, place):
        shut, following = _SHUT.search(text, opened.end()), _OPEN.search(text, opened.end())
        here = f"line {_row(text, opened.start())}: {opened[0]}"
        early = shut is not None and following is not None and following.start() < shut.start()
        if shut is None or early or shut["what"] != opened["what"]:
            raise DataError(f"{here} is not closed; wanted <!-- /{opened['what']} --> after it")
        if opened["name"] not in runs:
            known = ", ".join(sorted(runs)) or "none"
            raise DataError(
                f"{here} names no known run; known: {known}; is its run.json missing, or the name misspelt?"
            )
        table = _WRITTEN[opened["what"]](runs[opened["name"]])
        pieces += [_checked(text, place, opened.end()), "\n", table, "\n", shut[0]]
        place = shut.end()
    return "".join([*pieces, _checked(text, place, len(text))])


def _checked(text: str, start: int, end: int) -> str:
    if stray := _SHUT.search(text, start, end):
        wanted = f"<!-- {stray['what']}:NAME -->"
        raise DataError(f"line {_row(text, stray.start())}: {stray[0]} closes nothing; wanted {wanted} before it")
    return text[start:end]


def _row(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1
