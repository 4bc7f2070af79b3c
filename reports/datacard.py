"""The data card of a run as tables: what each table and split holds, how its labels are spread, what was dropped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from reports.number import Reading, plain
from reports.outline import Block, Fold, Grid
from reports.record import cell_of, facts, table_of_record
from reports.table import Cell, Table, table_of

_QUANTILES = frozenset(("min", "p25", "median", "p75", "max"))  # of labels that are numbers
_MOST_LABELS = 12
_DIGITS_OF_DIGEST = 12

Card = Mapping[str, Mapping[str, Any]]


def data_blocks(card: Any) -> Iterator[Block]:
    """Tables as they were read, then the splits; keys that are not known here are shown as they are."""
    if not isinstance(card, Mapping):
        if table := table_of_record("Data card", card):
            yield Grid(table)
        return
    parts = {str(name): part for name, part in card.items() if isinstance(part, Mapping)}
    if rest := facts("Data card", {name: value for name, value in card.items() if str(name) not in parts}):
        yield Grid(rest)
    for name, part in parts.items():
        members = {str(member): about for member, about in part.items() if isinstance(about, Mapping)}
        if len(members) < len(part):
            if table := table_of_record(f"Data card: {name}", part):
                yield Grid(table)
            continue
        caption = {"tables": "Tables, as they were read", "splits": "Splits"}.get(name, name)
        yield Grid(_contents(caption, members))
        yield from _labels(caption, members)


def _contents(caption: str, members: Card) -> Table:
    rows = [[name, *_row(about)] for name, about in members.items()]
    columns = ["", "rows", "dropped", "duplicate rows", "words: median, 95 %, most", "words of the pair", "source"]
    return table_of(caption, [*columns, "digest", "also"], rows)


def _row(about: Mapping[str, Any]) -> Iterator[Cell]:
    known = ("rows", "dropped", "duplicates", "lengths", "labels", "source", "digest")
    lengths = about.get("lengths")
    lengths = lengths if isinstance(lengths, Mapping) else {}
    yield cell_of(about.get("rows"))
    yield _dropped(about.get("dropped"))
    yield cell_of(about.get("duplicates"))
    yield _words(lengths.get("text"))
    yield _words(lengths.get("text_pair"))
    yield str(cell_of(about.get("source")))
    yield str(about.get("digest", "")).removeprefix("sha256:")[:_DIGITS_OF_DIGEST]
    yield ", ".join(f"{str(k).replace('_', ' ')}: {cell_of(value)}" for k, value in about.items() if k not in known)


def _dropped(reasons: Any) -> str:
    if not isinstance(reasons, Mapping):
        return str(cell_of(reasons))
    return ", ".join(f"{cell_of(count)} ({reason})" for reason, count in reasons.items()) or "none"


def _words(lengths: Any) -> str:
    words = lengths.get("words") if isinstance(lengths, Mapping) else None
    return ", ".join(str(cell_of(count)) for count in words.values()) if isinstance(words, Mapping) else ""


def _labels(caption: str, members: Card) -> Iterator[Block]:
    """How labels are spread: a label a row, a split a column."""
    spread = {name: about["labels"] for name, about in members.items() if isinstance(about.get("labels"), Mapping)}
    names = list(dict.fromkeys(str(label) for labels in spread.values() for label in labels))
    if not names:
        return
    totals = {name: _total(members[name], labels) for name, labels in spread.items()}
    rows: list[list[Cell]] = [
        [label, *(_share(labels.get(label), totals[name]) for name, labels in spread.items())] for label in names
    ]
    title = f"{caption}: labels"
    grid = Grid(table_of(title, ["label", *spread], rows))
    yield Fold(f"{title} ({len(names)} of them)", (grid,)) if len(names) > _MOST_LABELS else grid


def _total(about: Mapping[str, Any], labels: Mapping[str, Any]) -> float:
    """What a label's count is a share of; 0 where the labels are no counts."""
    if labels.keys() <= _QUANTILES:
        return 0.0
    if "without_class" in about:  # an example may have several labels
        return float(about.get("rows") or 0)
    return float(sum(count for count in labels.values() if isinstance(count, int)))


def _share(count: Any, total: float) -> Cell:
    if not isinstance(count, int | float) or isinstance(count, bool):
        return ""
    return Reading(plain(count), f"{100 * count / total:.1f} %" if total else "")
