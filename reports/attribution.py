"""What each stage gained and lost on its own, against the step before it, and what the literature claims beside it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from evaluation.measurement import Comparison, Run, Target
from reports import cast
from reports.claims import SEEN_WORDS, Claim, claims_about, claims_for
from reports.number import Reading, drop_scale, plain, read_p_value
from reports.outline import Block, Fold, Grid, Paragraph
from reports.table import Cell, Table, compared, table_of, title_of

_CLAIMED = ("kind", "what", "times smaller", "times faster", "quality lost", "of what, and how", "source", "known by")


def attribution_blocks(run: Run) -> Iterator[Block]:
    """One row a stage: size, speed and quality against the step before it, with intervals."""
    pairs = _compared_pairs(run)
    if not pairs:
        return
    yield Paragraph(
        "Each step against the one before it, on the same examples and in the same sitting: what it gained and lost on "
        "its own, in this order. In another order the shares would differ."
    )
    yield Grid(_table(run, pairs))


def literature_blocks(run: Run) -> Iterator[Block]:
    """For each kind of stage that the run has, what was measured here above what others claim."""
    tables = [table for before, after in _pairs(run) if (table := _beside(run, before, after))]
    whole = _whole(run)
    tables += [whole] if whole else []
    if not tables:
        return
    note = Paragraph(
        "Others' figures are of other models, data and hardware, and of other baselines. They say what such a step is "
        "reputed to do. Their times and ratios of times were taken on other machines and are not comparable with "
        f"those measured here; nor is a loss of quality on another task. How a claim is known: {_known()}.",
        "note",
    )
    yield Fold("Measured here beside what the literature claims", (note, *map(Grid, tables)))


def _pairs(run: Run) -> list[tuple[Target, Target]]:
    """Each step with the one before it; none in a sweep, whose variants do not follow each other."""
    return [] if cast.variants_of(run) else list(pairwise(cast.path_of(run)))


def _compared_pairs(run: Run) -> list[tuple[Target, Target]]:
    """The pairs where a run compared them all; older runs compared each step with the reference alone."""
    pairs = _pairs(run)
    known = {(comparison.target, comparison.baseline) for comparison in run.comparisons}
    return pairs if pairs and all((after.name, before.name) in known for before, after in pairs) else []


def _table(run: Run, pairs: list[tuple[Target, Target]]) -> Table:
    shapes, metrics = cast.shapes_of(run), cast.metrics_of(run)
    columns = ["step", "compared with", "times smaller", *(f"times faster at {shape}" for shape in shapes)]
    columns += [name for metric in metrics[:1] for name in (cast.loss_name(run, metric), "p-value")]
    columns += [*(cast.loss_name(run, metric) for metric in metrics[1:]), "same decisions"]
    rows = [_row(run, before, after) for before, after in pairs]
    return table_of("What each step did on its own", columns, rows, accent=[len(rows) - 1])


def _row(run: Run, before: Target, after: Target) -> list[Cell]:
    one, other = after.name, before.name
    row: list[Cell] = [title_of(after), title_of(before), compared(run, one, other, "compression_ratio")]
    row += [compared(run, one, other, "speedup", **shape.conditions) for shape in cast.shapes_of(run)]
    for place, metric in enumerate(cast.metrics_of(run)):
        row.append(compared(run, one, other, "quality_drop", metric=metric))
        if place == 0:
            row.append(_p_value(run.compared(one, other, "quality_drop", metric=metric)))
    return [*row, compared(run, one, other, "agreement")]


def _p_value(drop: Comparison | None) -> Cell:
    """The p-value that the verdict rests on: the adjusted one where there is one."""
    if drop is None:
        return ""
    return read_p_value(drop.p_value if drop.adjusted_p_value is None else drop.adjusted_p_value)


def _beside(run: Run, before: Target, after: Target) -> Table | None:
    """A stage's own figures above the claims about such stages."""
    stage = after.stage or after.name
    claims = claims_for(stage.partition("-")[2] or stage)  # `04-quantize`, or the kind alone
    if not claims or not any((c.target, c.baseline) == (after.name, before.name) for c in run.comparisons):
        return None
    return _claims_table(f"{title_of(after)}, against {title_of(before)}", _measured(run, before, after), claims)


def _whole(run: Run) -> Table | None:
    """The result against the reference, above the claims about several methods together."""
    path = cast.path_of(run)
    claims = claims_about("all")
    if cast.variants_of(run) or len(path) < 3 or path[-1].kind != "result" or not claims:
        return None
    return _claims_table("All steps together", _measured(run, path[0], path[-1]), claims)


def _measured(run: Run, before: Target, after: Target) -> list[Cell]:
    one, other, shape = after.name, before.name, cast.headline_shape(run)
    metric = next(iter(cast.metrics_of(run)), "")
    smaller = compared(run, one, other, "compression_ratio")
    faster = compared(run, one, other, "speedup", **shape.conditions) if shape else ""
    at = "; ".join(part for part in (metric, f"latency at {shape}" if shape else "") if part)
    lost = compared(run, one, other, "quality_drop", metric=metric)
    return ["measured", "here", smaller, faster, lost, at, run.name, "measuring"]


def _claims_table(caption: str, measured: list[Cell], claims: tuple[Claim, ...]) -> Table:
    rows = [measured, *(_claim_row(claim) for claim in claims)]
    return table_of(f"Measured beside claimed: {caption}", _CLAIMED, rows, accent=[0])


def _claim_row(claim: Claim) -> list[Cell]:
    row: list[Cell] = ["claimed", claim.title, _times(claim.size_ratio), _times(claim.speedup), _lost(claim)]
    conditions = "; ".join(part for part in (claim.metric or "", claim.conditions, claim.note) if part)
    return [*row, conditions, claim.source, claim.seen]


def _known() -> str:
    """What the words of the last column mean."""
    return "; ".join(f"{seen}, {words}" for seen, words in SEEN_WORDS.items())


def _times(ends: tuple[float, float] | None) -> Cell:
    return "" if ends is None else Reading(f"{_range(*ends)}x")


def _lost(claim: Claim) -> Cell:
    if claim.drop is None:
        return ""
    factor, suffix = drop_scale("relative") if claim.drop_unit == "relative" else (1.0, drop_scale("ratio")[1])
    return Reading(f"{_range(*(end * factor for end in claim.drop))}{suffix}")


def _range(low: float, high: float) -> str:
    return plain(low) if low == high else f"{plain(low)} to {plain(high)}"
