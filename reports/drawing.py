"""The charts of a run's headline, of its way there step by step, and of its latencies: from records to plain values.

The drawing library is loaded only when a chart is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from evaluation.measurement import Comparison, Measurement, Run, Target, Verdict
from reports import cast
from reports.headline import name_of, reading_of
from reports.marks import mark_of, mark_of_comparison
from reports.number import drop_scale, per_cent, plain, read_comparison, read_measurement
from reports.outline import Chart
from reports.table import Cell, Table, table_of

if TYPE_CHECKING:
    from reports.charts.headline import Row
    from reports.charts.waterfall import Kind, Panel, Step


class _Figure(NamedTuple):
    """A figure that is followed from step to step, the comparison that tells what a step did to it, and its unit."""

    title: str
    name: str
    comparison: str
    conditions: dict[str, Any]
    compared: dict[str, Any]
    divisor: float = 1.0
    from_zero: bool = True


def headline_chart(run: Run, prefix: str) -> Chart | None:
    """How much smaller, how much faster and what it cost, with intervals and the gates' limits; None without any."""
    subject, reference = run.subject, run.reference
    found = [c for c in run.comparisons if (c.target, c.baseline) == (subject, reference)]
    found = [c for c in found if c.conditions.get("tokenization") != "apart"]  # as in the headline's tiles
    # No logarithm for a ratio that is not above zero: nothing of a run that is right is left out.
    ratios = [c for name in ("compression_ratio", "speedup") for c in found if c.name == name and c.value > 0]
    drops: dict[str, list[Comparison]] = {}
    for c in found:
        if c.name == "quality_drop":
            drops.setdefault(_drop_scale(run, c)[1], []).append(c)
    shown = [*ratios, *(c for group in drops.values() for c in group)]
    if not shown:
        return None
    name = f"{prefix}headline"
    alt = f"{subject} against {reference}. {'; '.join(_headline_words(run, c) for c in shown)}"

    def draw() -> dict[str, Any]:
        from reports.charts.headline import Scale, headline

        scales = [Scale("Ratio (right is better)", _rows(run, ratios), log=True)]
        scales += [Scale(_loss_title(run, unit, group), _rows(run, group)) for unit, group in drops.items()]
        return headline([scale for scale in scales if scale.rows])

    marks = " Upright marks are the gates' limits." if any(cast.limit_of(run, c) is not None for c in shown) else ""
    counted = " Sizes are counted and have none." if any(c.name == "compression_ratio" for c in shown) else ""
    caption = f"{subject} against {reference}. Lines are 95 % intervals.{counted}{marks}"
    return Chart(name, caption, alt, draw, narrow=True, table=_headline_table(run, shown))


def waterfall_chart(run: Run, prefix: str) -> Chart | None:
    """Size, latency and quality from the reference over each step to the result; None where nothing is to be drawn."""
    path = cast.path_of(run)
    found = [(figure, _measured(run, path, figure)) for figure in _figures(run)]
    kept = [(figure, steps) for figure, steps in found if len(steps) > 1]
    if not kept:
        return None
    alt = f"What each step did, from {path[0].name} to {path[-1].name}. " + ". ".join(
        f"{figure.title}: {', '.join(f'{_step_name(t)} {read_measurement(m).figure}' for t, m in steps)}"
        for figure, steps in kept
    )

    def draw() -> dict[str, Any]:
        from reports.charts.waterfall import waterfall

        return waterfall([_panel(run, figure, steps) for figure, steps in kept])

    caption = "What each step took away or added, in order. Lines are 95 % intervals: of a step's change where it was "
    caption += "compared with the step before it, else of the figure after it."
    return Chart(f"{prefix}steps", caption, alt, draw)


def latency_chart(run: Run, prefix: str) -> Chart | None:
    """The median latency of every target at every shape; None where nothing was timed."""
    panels = [(shape, _timed(run, shape)) for shape in cast.shapes_of(run)]
    panels = [(shape, timed) for shape, timed in panels if timed]
    if not panels:
        return None
    alt = "Median latency. " + ". ".join(
        f"At {shape}: {', '.join(f'{target.name} {read_measurement(median).figure}' for target, median, _ in timed)}"
        for shape, timed in panels
    )

    def draw() -> dict[str, Any]:
        from reports.charts.latency import Timed, latency

        return latency(
            [
                (
                    str(shape),
                    [
                        Timed(target.name, cast.role_of(run, target), mark_of(median), slow.value if slow else None)
                        for target, median, slow in timed
                    ],
                )
                for shape, timed in panels
            ]
        )

    caption = "Median latency at each shape (batch x tokens), shorter is faster; every shape has an axis of its own. "
    caption += "Lines are 95 % intervals, upright marks the 95th percentile."
    return Chart(f"{prefix}latency", caption, alt, draw)


def _rows(run: Run, comparisons: Sequence[Comparison]) -> tuple[Row, ...]:
    from reports.charts.headline import Row

    rows = []
    for c in comparisons:
        limit, factor = cast.limit_of(run, c), _drop_scale(run, c)[0]
        mark = mark_of_comparison(c, unit=cast.loss_unit(run, str(c.conditions.get("metric", ""))))
        rows.append(Row(name_of(run, c), mark, None if limit is None else limit * factor, _gate_words(run, c)))
    return tuple(rows)


def _loss_title(run: Run, unit: str, comparisons: Sequence[Comparison]) -> str:
    metrics = list(dict.fromkeys(str(c.conditions.get("metric", "quality")) for c in comparisons))
    if all(cast.rises(run, metric) for metric in metrics):
        return f"Rise in{unit} (left is better)" if unit else "Rise (left is better)"
    return f"{unit.strip().capitalize() or 'Quality'} lost (left is better)"


def _headline_words(run: Run, comparison: Comparison) -> str:
    gate = _gate_words(run, comparison)
    return f"{name_of(run, comparison)}: {reading_of(run, comparison)}{f', {gate}' if gate else ''}"


def _headline_table(run: Run, shown: Sequence[Comparison]) -> Table:
    rows: list[list[Cell]] = [
        [name_of(run, c), reading_of(run, c), _gate_words(run, c).removeprefix("gate: ")] for c in shown
    ]
    return table_of("The headline's figures", ["what", "figure", "gate"], rows)


def _gate_words(run: Run, comparison: Comparison) -> str:
    """The limit that a gate sets: `gate: at least 6x`; empty where none does."""
    limit = cast.limit_of(run, comparison)
    factor, suffix = _drop_scale(run, comparison)
    bound = "at most" if comparison.name == "quality_drop" else "at least"
    return "" if limit is None else f"gate: {bound} {plain(limit * factor)}{suffix}"


def _drop_scale(run: Run, comparison: Comparison) -> tuple[float, str]:
    """What a comparison's figures are multiplied by for a reader, and the unit behind them."""
    if comparison.name != "quality_drop":
        return 1.0, "x"
    metric = str(comparison.conditions.get("metric", ""))
    return drop_scale(cast.loss_unit(run, metric))


def _figures(run: Run) -> Iterator[_Figure]:
    yield _Figure("size, MB", "bytes", "compression_ratio", {}, {}, divisor=1e6)
    shape = cast.headline_shape(run)
    if shape:
        yield _Figure(f"p50 at {shape}, ms", "latency_p50_ms", "speedup", shape.conditions, shape.conditions)
    for metric in cast.metrics_of(run)[:1]:
        yield _Figure(metric, metric, "quality_drop", {}, {"metric": metric}, from_zero=False)


def _measured(run: Run, path: Sequence[Target], figure: _Figure) -> list[tuple[Target, Measurement]]:
    """The targets that the figure was measured of, in the order of the work."""
    found = [(target, run.measured(target.name, figure.name, **figure.conditions)) for target in path]
    return [(target, measurement) for target, measurement in found if measurement]


def _panel(run: Run, figure: _Figure, steps: Sequence[tuple[Target, Measurement]]) -> Panel:
    from reports.charts.waterfall import Panel, Step

    (first, start), *changes = steps
    lines = [Step(first.name, "reference", mark_of(start).scaled(figure.divisor))]
    before = start
    for target, after in changes:
        lines.append(_change(run, figure, target, before, after))
        before = after
    if changes and changes[-1][0].name == run.subject:
        lines.append(Step("result", "result", mark_of(before).scaled(figure.divisor)))
    return Panel(figure.title, tuple(lines), figure.from_zero)


def _change(run: Run, figure: _Figure, target: Target, before: Measurement, after: Measurement) -> Step:
    """What one step did to the figure, by its comparison with the step before it where that was made."""
    from reports.charts.waterfall import Step

    found = run.compared(target.name, before.target, figure.comparison, **figure.compared)
    mark, told = mark_of(after), _change_words(run, figure, before, after)
    more = told
    if found:
        more = f"{told}: {name_of(run, found)} {read_comparison(found, unit=cast.loss_unit(run, figure.name))}"
        low, high = _ends(figure, found, before)
        mark = replace(mark, low=low, high=high)
    kind = _kind(found.verdict if found else None, before, after)
    return Step(
        _step_name(target), kind, mark.scaled(figure.divisor), before.value / figure.divisor, text=told, change=more
    )


def _ends(figure: _Figure, change: Comparison, before: Measurement) -> tuple[float | None, float | None]:
    """Where the figure may lie after the step, as far as its change is known: the whisker's ends."""
    if change.low is None or change.high is None:
        return None, None
    if figure.comparison != "quality_drop":
        return (before.value / change.high, before.value / change.low) if change.low > 0 else (None, None)
    scale = before.value if change.unit == "relative" else 1.0
    sign = -1.0 if before.higher_is_better else 1.0
    low, high = sorted(before.value + sign * scale * end for end in (change.low, change.high))
    return low, high


def _kind(verdict: Verdict | None, before: Measurement, after: Measurement) -> Kind:
    if verdict == "tie" or after.value == before.value:
        return "no change shown"
    if verdict is not None:
        return verdict
    return "better" if (after.value > before.value) is after.higher_is_better else "worse"


def _change_words(run: Run, figure: _Figure, before: Measurement, after: Measurement) -> str:
    """`-23 %`, or for quality `-0.5 points`."""
    if figure.from_zero:
        return per_cent(after.value / before.value) if before.value else ""
    factor, suffix = drop_scale(cast.loss_unit(run, figure.name))
    relative = suffix == " %" and before.value
    change = (after.value - before.value) / (before.value if relative else 1.0) * factor
    return f"{change:+.{1 if suffix else 3}f}{suffix}"


def _step_name(target: Target) -> str:
    """The stage that made a target, as its change is the stage's doing: `04-quantize`, not `result`."""
    return target.stage if target.kind == "result" and target.stage else target.name


def _timed(run: Run, shape: cast.Shape) -> list[tuple[Target, Measurement, Measurement | None]]:
    """The targets that were timed at a shape: median, and the 95th percentile where it was measured."""
    at = shape.conditions
    return [
        (target, median, run.measured(target.name, "latency_p95_ms", **at))
        for target in run.all_targets
        if (median := run.measured(target.name, "latency_p50_ms", **at))
    ]
