"""Layer by layer: the charts of a run's anatomy before and after each cut, and of what its heads were worth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from evaluation.measurement import Run
from reports import cast
from reports.number import Reading
from reports.outline import Chart
from reports.table import Cell, Table, table_of

AnatomyRow = tuple[str, str, list[dict[str, Any]]]

_REFERENCE = "reference"
_SCORES = ".head_scores"  # behind the name of the stage that recorded them


def anatomy_rows(run: Run) -> list[AnatomyRow]:
    """The anatomy of each target as it was recorded, leaving out those that did not change it: name, role, rows."""
    recorded = run.tables.get("anatomy")
    rows = [row for row in recorded if _is_group(row)] if isinstance(recorded, list) else []
    # Rows name the model before compression `reference`, and the result by the stage that made it.
    roles = {_REFERENCE: "baseline"}
    for target in cast.path_of(run):
        roles |= dict.fromkeys((target.name, target.stage or target.name), cast.role_of(run, target))
    found: list[AnatomyRow] = []
    for name in dict.fromkeys(row["target"] for row in rows):
        groups = [row for row in rows if row["target"] == name]
        if not found or cast.variants_of(run) or _widths(found[-1][2]) != _widths(groups):
            found.append((name, roles.get(name, "step"), groups))
    return found


def anatomy_chart(run: Run, prefix: str) -> Chart | None:
    """Heads, FFN channels and whatever else has a count per layer, before and after each cut."""
    rows = []
    for target, role, groups in anatomy_rows(run):
        axes: dict[str, dict[int, int]] = {}
        for row in groups:
            if isinstance(row.get("layer"), int):
                axes.setdefault(str(row["axis"]), {})[row["layer"]] = row["units"]
        if axes:
            rows.append((target, role, axes))
    if not rows:
        return None
    name = f"{prefix}anatomy"
    alt = "Units per layer. " + "; ".join(
        f"{target} {axis}: {', '.join(map(str, units.values()))}"
        for target, _, axes in rows
        for axis, units in axes.items()
    )

    def draw() -> dict[str, Any]:
        from reports.charts.anatomy import anatomy

        return anatomy(rows)

    return Chart(name, "Units that each layer holds, after every step that changed them.", alt, draw)


def importance_charts(run: Run, prefix: str) -> Iterator[Chart]:
    """What each head was worth to each stage that scored them."""
    for record, value in run.tables.items():
        heads = [row for row in value if _is_head(row)] if isinstance(value, list) and record.endswith(_SCORES) else []
        if heads:
            yield _importance_chart(record.removesuffix(_SCORES), heads, prefix)


def _importance_chart(stage: str, heads: list[dict[str, Any]], prefix: str) -> Chart:
    cut = [row for row in heads if not row["kept"]]
    told = f"{len(cut)} of {len(heads)} heads were cut (x)."
    caption = f"What each head was worth to the criterion of {stage}, scored before the cut. {told}"
    alt = f"Scores of the heads in {stage}. {told} Cut, as layer.head: "
    alt += ", ".join(f"{row['layer']}.{row['head']}" for row in cut) or "none"

    def draw() -> dict[str, Any]:
        from reports.charts.importance import Head, importance

        return importance([Head(row["layer"], row["head"], float(row["score"]), row["kept"]) for row in heads])

    return Chart(f"{prefix}importance-{file_name(stage)}", caption, alt, draw, table=_scores_table(stage, heads))


def _scores_table(stage: str, heads: Sequence[dict[str, Any]]) -> Table:
    """Layers below one another, heads side by side."""
    scored = {(row["layer"], row["head"]): row for row in heads}
    layers, columns = (sorted({place[axis] for place in scored}) for axis in (0, 1))
    rows = [[f"layer {layer}", *(_score(scored.get((layer, head))) for head in columns)] for layer in layers]
    return table_of(f"Scores of the heads in {stage}", ["layer", *(f"head {head}" for head in columns)], rows)


def _score(row: dict[str, Any] | None) -> Cell:
    return Reading(f"{row['score']:.3g}", "" if row["kept"] else "cut") if row else ""


def _is_head(row: Any) -> bool:
    if not isinstance(row, dict) or not {"layer", "head", "score", "kept"} <= row.keys():
        return False
    return isinstance(row["layer"], int) and isinstance(row["head"], int) and isinstance(row["score"], int | float)


def file_name(name: str) -> str:
    """A name as the stem of a file.

    >>> file_name("01-distill (layers=3)")
    '01-distill--layers-3'
    """
    letters = (letter if letter.isascii() and letter.isalnum() else "-" for letter in name.lower())
    return "".join(letters).strip("-") or "run"


def _is_group(row: Any) -> bool:
    return isinstance(row, dict) and {"target", "axis", "units"} <= row.keys() and isinstance(row["units"], int)


def _widths(groups: list[dict[str, Any]]) -> set[tuple[Any, ...]]:
    return {(row["axis"], row.get("layer"), row["units"]) for row in groups}
