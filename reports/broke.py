"""What broke, as blocks of a report: examples whose decision flipped, slices that lost most, calibration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from evaluation.measurement import Comparison, Measurement, Run
from reports import cast
from reports.number import Reading, drop_scale, plain, read_comparison, read_p_value
from reports.outline import Block, Fold, Grid, Paragraph
from reports.table import Cell, Table, compared, measured, table_of, title_of

_CALIBRATION = "calibration_error"
_MOST_FLIPS = 20
_MOST_SLICES = 12
_WORST = 3

Row = Mapping[str, Any]


def broke_blocks(run: Run) -> Iterator[Block]:
    """Outputs that were no numbers, flips, slices and calibration of every target; the result's are not folded."""
    yield from _not_finite(run)
    yield from _flips(run)
    yield from _slices(run)
    yield from _calibration(run)


def broke_in_brief(run: Run) -> Iterator[Block]:
    """The result's flips in one line, and its worst slices: what a reviewer has to see."""
    yield from _not_finite(run)
    subject = run.subject
    for row in _rows(run, "flips_count"):
        if row.get("target") == subject:
            yield Paragraph(_flipped(row))
    worst = [row for row in _rows(run, "slices") if row.get("target") == subject and _judged(row)][:_WORST]
    if worst:
        metrics = " and ".join(dict.fromkeys(str(row.get("metric", "")) for row in worst))
        yield Grid(_slices_table(run, f"Where {subject} lost most, by {metrics}", worst))


def _not_finite(run: Run) -> Iterator[Block]:
    for m in run.measurements:
        if m.name == "not_finite" and m.value > 0:
            whole = f" of {m.count:,}" if m.count is not None else ""
            yield Paragraph(
                f"{m.target}: {plain(m.value)}{whole} examples gave outputs that are not finite. They are counted, "
                "not averaged away: no other figure of its quality is given.",
                "bad",
            )


def _flips(run: Run) -> Iterator[Block]:
    counts = _rows(run, "flips_count")
    if counts:
        yield Grid(_counts_table(run, counts))
    totals = {str(row.get("target", "")): _changed(row) for row in counts}
    for name in _names(run, "flips"):
        rows = [row for row in _rows(run, "flips") if str(row.get("target", "")) == name]
        shown = rows[:_MOST_FLIPS]
        total = max(totals.get(name, 0), len(rows))
        title = f"{len(shown)} of the {total} examples whose decision changed in {name}, the surest first"
        # Other people's texts take room and are not always pleasant: shut until asked for, the result's too.
        yield Fold(title, (Grid(_flips_table(name, shown)),))


def _counts_table(run: Run, counts: Sequence[Row]) -> Table:
    titles = {target.name: title_of(target) for target in run.all_targets}
    rows: list[list[Cell]] = [
        [
            titles.get(str(row.get("target")), str(row.get("target", ""))),
            str(row.get("baseline", "")),
            *(_share(row.get(kind), row.get("count")) for kind in ("broken", "mended", "changed")),
            Reading(plain(row["count"])) if isinstance(row.get("count"), int) else "",
        ]
        for row in counts
    ]
    accent = [place for place, row in enumerate(counts) if row.get("target") == run.subject]
    columns = ["target", "compared with", "right before, wrong now", "wrong before, right now", "wrong both times"]
    caption = "Decisions that flipped; wrong both times: another wrong answer than before"
    return table_of(caption, [*columns, "examples"], rows, accent=accent)


def _share(number: Any, count: Any) -> Cell:
    if not isinstance(number, int):
        return ""
    return Reading(plain(number), f"{100 * number / count:.1f} %" if isinstance(count, int) and count else "")


def _changed(row: Row) -> int:
    """How many decisions changed in all."""
    return sum(count for kind in ("broken", "mended", "changed") if isinstance(count := row.get(kind), int))


def _names(run: Run, table: str) -> list[str]:
    """The targets that a table speaks of, the one that the run is about first."""
    names = dict.fromkeys(str(row.get("target", "")) for row in _rows(run, table))
    return sorted(names, key=lambda name: name != run.subject)


def _flipped(row: Row) -> str:
    told = {"broken": "right before and wrong now", "mended": "wrong before and right now"}
    parts = [f"{row[kind]} {words}" for kind, words in told.items() if isinstance(row.get(kind), int)]
    examples = f" of {row['count']:,} examples" if isinstance(row.get("count"), int) else ""
    return f"Decisions of {row.get('target')} against {row.get('baseline')}: {', '.join(parts)}{examples}."


def _flips_table(name: str, rows: Sequence[Row]) -> Table:
    body: list[list[Cell]] = [
        [
            str(row.get("example", "")),
            str(row.get("kind", "")),
            Reading(f"{row['confidence']:.3f}") if isinstance(row.get("confidence"), int | float) else "",
            *(_text(row.get(column)) for column in ("label", "before", "after", "text", "text_pair")),
        ]
        for row in rows
    ]
    columns = ["example", "what happened", "the reference's confidence", "label", "before", "after", "text"]
    return table_of(f"Flips of {name}", [*columns, "second text"], body)


def _text(value: Any) -> str:
    return "" if value is None else " ".join(str(value).split())


def _slices(run: Run) -> Iterator[Block]:
    rows, subject = _rows(run, "slices"), run.subject
    for name in _names(run, "slices"):
        mine = [row for row in rows if str(row.get("target", "")) == name]
        for metric in dict.fromkeys(str(row.get("metric", "")) for row in mine):
            found = [row for row in mine if str(row.get("metric", "")) == metric]
            baselines = ", ".join(dict.fromkeys(str(row.get("baseline", "")) for row in found))
            title = f"{metric} by slice: {name} against {baselines}, the worst first"
            first, rest = found[:_MOST_SLICES], found[_MOST_SLICES:]
            grid = Grid(_slices_table(run, title, first))
            yield grid if name == subject else Fold(title, (Grid(_slices_table(run, title, found)),))
            if rest and name == subject:
                more = f"{len(rest)} more slices, which lost less"
                yield Fold(more, (Grid(_slices_table(run, more, rest)),))


def _slices_table(run: Run, caption: str, rows: Sequence[Row]) -> Table:
    body: list[list[Cell]] = [
        [
            f"{row.get('slice', '')}: {row.get('value', '')}",
            _count(row.get("count")),
            *(_figure(row, which) for which in ("before", "after")),
            _drop(run, row),
            *(read_p_value(row.get(name)) for name in ("p_value", "adjusted_p_value")),
        ]
        for row in rows
    ]
    columns = ["slice", "examples", "before", "after", "lost", "p-value", "adjusted p-value"]
    return table_of(caption, columns, body, accent=[place for place, row in enumerate(rows) if _sure(row)])


def _count(count: Any) -> Cell:
    return Reading(plain(count)) if isinstance(count, int) else ""


def _figure(row: Row, which: str) -> Cell:
    value = row.get(which)
    return Reading(f"{value:.3f}") if isinstance(value, int | float) else ""


def _drop(run: Run, row: Row) -> Cell:
    """What a slice lost, written as every other drop of that metric."""
    if not isinstance(row.get("drop"), int | float):
        return ""
    metric = str(row.get("metric", ""))
    unit = str(row.get("unit") or cast.loss_unit(run, metric))  # older files don't say it
    factor, suffix = drop_scale(unit)
    if not _judged(row) and row.get("low") is None:
        return Reading(f"{plain(row['drop'] * factor)}{suffix}", "too few examples to judge")
    ends = {end: value for end in ("low", "high") if isinstance(value := row.get(end), int | float)}
    names = {"target": str(row.get("target", "")), "baseline": str(row.get("baseline", "")), "name": "quality_drop"}
    drop = Comparison.model_validate({**names, "value": row["drop"], "conditions": {"metric": metric}, **ends})
    reading = read_comparison(drop, unit=unit)
    return Reading(reading.figure, reading.interval)


def _lost(row: Row) -> bool:
    return isinstance(row.get("drop"), int | float) and row["drop"] > 0


def _judged(row: Row) -> bool:
    """Whether a slice lost something and had examples enough to be judged."""
    return _lost(row) and isinstance(row.get("p_value"), int | float)


def _sure(row: Row) -> bool:
    """Whether a slice's loss is beyond chance, all slices considered."""
    p_value = row.get("adjusted_p_value")
    return _lost(row) and isinstance(p_value, int | float) and p_value < 0.05


def _calibration(run: Run) -> Iterator[Block]:
    """How far each target's confidence lies from how often it is right, and what that changed."""
    reference = run.reference
    found: list[Measurement] = [m for m in run.measurements if m.name == _CALIBRATION]
    rows = [
        [
            m.target,
            measured(run, m.target, _CALIBRATION),
            compared(run, m.target, reference, "quality_drop", metric=_CALIBRATION),
        ]
        for m in found
    ]
    if rows:
        columns = ["target", "calibration error", f"rise over {reference}"]
        caption = "Calibration: how far confidence lies from the share of right decisions (0 is best)"
        yield Grid(table_of(caption, columns, rows, accent=[i for i, m in enumerate(found) if m.target == "result"]))


def _rows(run: Run, table: str) -> list[Row]:
    rows = run.tables.get(table)
    return [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []
