"""Which charts a run has and what is in them: from runs to the plain values that `reports.chart` draws.

The drawing library is loaded only when a chart is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from evaluation.measurement import Comparison, Measurement, Run, Target
from reports import cast
from reports.front import Cost, Place, places
from reports.headline import name_of, reading_of
from reports.number import drop_scale, plain, read_measurement
from reports.outline import Block, Chart, Fold, Grid
from reports.record import cell_of
from reports.table import table_of

if TYPE_CHECKING:
    from reports.chart import Curve, Mark, Row

AnatomyRow = tuple[str, str, list[dict[str, Any]]]

_MOST_CURVE_ROWS = 12
_MOST_NAMES = 16
_REFERENCE = "reference"


def headline_chart(run: Run, prefix: str) -> Chart | None:
    """How much smaller, how much faster and what it cost, with intervals and the gates' limits; None without any."""
    subject, reference = cast.subject_of(run), cast.reference_of(run)
    found = [c for c in run.comparisons if (c.target, c.baseline) == (subject, reference)]
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

    def draw() -> str:
        from reports import chart

        scales = [chart.Scale("Ratio (right is better)", _rows(run, ratios), log=True)]
        scales += [chart.Scale(_loss_title(run, unit, group), _rows(run, group)) for unit, group in drops.items()]
        return chart.headline(name, alt, [scale for scale in scales if scale.rows])

    marks = " Upright marks are the gates' limits." if any(cast.limit_of(run, c) is not None for c in shown) else ""
    counted = " Sizes are counted and have none." if any(c.name == "compression_ratio" for c in shown) else ""
    caption = f"{subject} against {reference}. Lines are 95 % intervals.{counted}{marks}"
    return Chart(name, caption, alt, draw, narrow=True)


def steps_chart(run: Run, prefix: str) -> Chart | None:
    """Size, latency and quality of each step; None where there is nothing to draw."""
    path = cast.path_of(run)
    shape, metrics = cast.headline_shape(run), cast.metrics_of(run)
    wanted: list[tuple[str, str, dict[str, int], bool]] = [("size", "bytes", {}, True)]
    if shape:
        wanted.append((f"p50 at {shape}", "latency_p50_ms", shape.conditions, True))
    wanted += [(metric, metric, {}, False) for metric in metrics[:1]]
    found = [(title, bars, [run.measured(t.name, name, **at) for t in path]) for title, name, at, bars in wanted]
    panels = [(title, bars, marks) for title, bars, marks in found if any(marks)]
    if not panels:
        return None
    name = f"{prefix}steps"
    alt = f"What each step did to {', '.join(title for title, _, _ in panels)}: {', '.join(t.name for t in path)}"

    def draw() -> str:
        from reports import chart

        drawn = [chart.Panel(title, tuple(map(_mark, marks)), bars) for title, bars, marks in panels]
        return chart.steps(name, alt, [target.name for target in path], [_role(run, t) for t in path], drawn)

    return Chart(name, "What each step did. Lines are 95 % intervals; the dashed line is the reference.", alt, draw)


def tradeoff_chart(runs: Sequence[Run], prefix: str) -> Chart | None:
    """Quality against latency of every target of every run; None where no target has both.

    Shape and metric are the first run's. Of several runs, results and baselines are named and steps are small dots.
    """
    shape = cast.headline_shape(runs[0]) if runs else None
    metrics = cast.metrics_of(runs[0]) if runs else []
    if shape is None or not metrics:
        return None
    metric, labels = metrics[0], cast.labels_of(runs)
    found = [
        (place, target, latency, quality)
        for place, run in enumerate(runs)
        for target in [*cast.path_of(run), *_other_baselines(run)]
        if (latency := run.measured(target.name, "latency_p50_ms", **shape.conditions))
        and (quality := run.measured(target.name, metric))
    ]
    if not found:
        return None
    name, several = f"{prefix}tradeoff", len(runs) > 1
    told = [f"{labels[place]}: {target.name}" if several else target.name for place, target, _, _ in found]
    figures = [
        f"{label} {read_measurement(x).figure}, {read_measurement(y).figure}"
        for label, (_, _, x, y) in zip(told, found, strict=True)
    ]
    alt = f"{metric} against median latency at {shape}. {'; '.join(figures)}"
    better = "up" if found[0][3].higher_is_better else "down"

    def draw() -> str:
        from reports import chart

        points = [
            chart.Point(
                _point_label(runs, labels, place, target), _role(runs[place], target), _sure(x), _sure(y), place
            )
            for place, target, x, y in found
        ]
        x_title = f"median latency at {shape}, ms (left is faster)"
        return chart.tradeoff(
            name, alt, points, x_title=x_title, y_title=f"{metric} ({better} is better)", several_runs=several
        )

    small = " Small dots are the steps, and baselines that an earlier run has too." if several else ""
    return Chart(
        name,
        f"{metric} against latency at {shape}. Whiskers are 95 % intervals; thin lines join the steps.{small}",
        alt,
        draw,
    )


def front_chart(run: Run, metric: str, cost: Cost, name: str) -> Chart:
    """Quality against one cost, with the Pareto front as stairs; variants are named by their values."""
    found = places(run, metric, cost)
    front = [index for index, place in enumerate(found) if place.on_front]
    crowded = len(found) > _MOST_NAMES
    labels = [
        cast.short_name(place.target.name) if not crowded or place.on_front or place.target.kind == "baseline" else ""
        for place in found
    ]
    figures = [
        f"{place.target.name} {read_measurement(place.cost).figure}, {read_measurement(place.quality).figure}"
        f"{', on the front' if place.on_front else ''}"
        for place in found
    ]
    unit, factor = ("MB", 1e6) if cost.measurement == "bytes" else ("ms", 1.0)
    alt = f"{metric} against {cost.title}. {'; '.join(figures)}"

    def draw() -> str:
        from reports import chart

        points = [
            chart.Point(label, _front_role(place), _scaled(_sure(place.cost), factor), _sure(place.quality))
            for label, place in zip(labels, found, strict=True)
        ]
        better = "up" if found[0].quality.higher_is_better else "down"
        x_title, y_title = f"{cost.title}, {unit} (left is better)", f"{metric} ({better} is better)"
        return chart.tradeoff(name, alt, points, x_title=x_title, y_title=y_title, front=front)

    settings = ", ".join(part.partition("=")[0] for part in next(iter(cast.variants_of(run))).name.split(","))
    named = f" Variants are named by their {settings}" + (", on the front alone." if crowded else ".")
    caption = f"{metric} against {cost.title}: the stairs are the Pareto front, whiskers are 95 % intervals.{named}"
    return Chart(name, caption, alt, draw)


def anatomy_rows(run: Run) -> list[AnatomyRow]:
    """The anatomy of each target as it was recorded, leaving out those that did not change it: name, role, rows."""
    recorded = run.tables.get("anatomy")
    rows = [row for row in recorded if _is_group(row)] if isinstance(recorded, list) else []
    # Rows name the model before compression `reference`, and the result by the stage that made it.
    roles = {_REFERENCE: "baseline"}
    for target in cast.path_of(run):
        roles |= dict.fromkeys((target.name, target.stage or target.name), _role(run, target))
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

    def draw() -> str:
        from reports import chart

        return chart.anatomy(name, alt, rows)

    return Chart(name, "Units that each layer holds, after every step that changed them.", alt, draw)


def training_charts(run: Run, prefix: str) -> Iterator[Block]:
    """The series that each stage recorded: one chart per stage, and its values at some of the steps."""
    series = [(name, value) for name, value in run.series.items() if _is_series(value)]
    for stage, group in groupby(series, key=lambda each: _stage(each[0])):  # recorded stage by stage, in order
        members = list(group)
        name = f"{prefix}training-{_file_name(stage)}"
        titles = ", ".join(_curve_title(each) for each, _ in members)
        yield _curves_chart(name, f"Recorded in {stage}: {titles}", members)
        yield Fold(f"Values recorded in {stage}", tuple(Grid(_curve_table(each, value)) for each, value in members))


def _front_role(place: Place) -> str:
    if place.target.kind == "baseline":
        return "baseline"
    return "result" if place.on_front else "step"


def _scaled(mark: Mark, factor: float) -> Mark:
    low, high = (None if end is None else end / factor for end in (mark.low, mark.high))
    return replace(mark, value=mark.value / factor, low=low, high=high)


def _rows(run: Run, comparisons: Sequence[Comparison]) -> tuple[Row, ...]:
    from reports.chart import Mark, Row

    rows = []
    for c in comparisons:
        factor = _drop_scale(run, c)[0]
        limit, suffix = cast.limit_of(run, c), _drop_scale(run, c)[1]
        value, low, high, mark = (None if end is None else end * factor for end in (c.value, c.low, c.high, limit))
        assert value is not None
        wanted = "" if mark is None else f"gate: {plain(mark)}{suffix}"
        rows.append(Row(name_of(run, c), Mark(value, low, high, reading_of(run, c).figure), mark, wanted))
    return tuple(rows)


def _loss_title(run: Run, unit: str, comparisons: Sequence[Comparison]) -> str:
    metrics = list(dict.fromkeys(str(c.conditions.get("metric", "quality")) for c in comparisons))
    if all(cast.rises(run, metric) for metric in metrics):
        return f"Rise in{unit} (left is better)" if unit else "Rise (left is better)"
    return f"{unit.strip().capitalize() or 'Quality'} lost (left is better)"


def _headline_words(run: Run, comparison: Comparison) -> str:
    limit = cast.limit_of(run, comparison)
    factor, suffix = _drop_scale(run, comparison)
    bound = "at most" if comparison.name == "quality_drop" else "at least"
    gate = "" if limit is None else f", gate: {bound} {plain(limit * factor)}{suffix}"
    return f"{name_of(run, comparison)}: {reading_of(run, comparison)}{gate}"


def _drop_scale(run: Run, comparison: Comparison) -> tuple[float, str]:
    """What a comparison's figures are multiplied by for a reader, and the unit behind them."""
    if comparison.name != "quality_drop":
        return 1.0, "x"
    metric = str(comparison.conditions.get("metric", ""))
    return drop_scale(metric, cast.unit_of(run, metric))


def _curves_chart(name: str, alt: str, members: list[tuple[str, dict[str, Any]]]) -> Chart:
    def draw() -> str:
        from reports import chart

        return chart.curves(name, alt, [_curve(each, value) for each, value in members])

    return Chart(name, f"{alt}.", alt, draw)


def _curve(name: str, value: dict[str, Any]) -> Curve:
    from reports.chart import Curve

    x, y = tuple(map(float, value["x"])), tuple(map(float, value["y"]))
    return Curve(_curve_title(name), x, y, str(value.get("x_unit", "")), str(value.get("y_unit", "")))


def _curve_table(name: str, value: dict[str, Any]) -> Any:
    """The series at evenly spread points, the first and the last among them."""
    last = len(value["x"]) - 1
    count = min(last + 1, _MOST_CURVE_ROWS)
    places = [round(last * place / (count - 1)) for place in range(count)] if count > 1 else [0]
    rows = [(str(cell_of(value["x"][place])), cell_of(value["y"][place])) for place in places]
    return table_of(name, [str(value.get("x_unit", "x")), str(value.get("y_unit", "y"))], rows)


def _is_series(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    x, y = value.get("x"), value.get("y")
    if not isinstance(x, list) or not isinstance(y, list) or not x or len(x) != len(y):
        return False
    return all(isinstance(number, int | float) for number in (*x, *y))


def _is_group(row: Any) -> bool:
    return isinstance(row, dict) and {"target", "axis", "units"} <= row.keys() and isinstance(row["units"], int)


def _widths(groups: list[dict[str, Any]]) -> set[tuple[Any, ...]]:
    return {(row["axis"], row.get("layer"), row["units"]) for row in groups}


def _other_baselines(run: Run) -> list[Target]:
    reference = cast.reference_of(run)
    return [target for target in cast.targets_of(run) if target.kind == "baseline" and target.name != reference]


def _role(run: Run, target: Target) -> str:
    if target.kind == "baseline":
        return "baseline"
    return "result" if target.name == cast.subject_of(run) else "step"


def _point_label(runs: Sequence[Run], labels: list[str], place: int, target: Target) -> str:
    """One run: every target's name. Several: the results by their runs, each baseline once, steps without a name."""
    if len(runs) == 1:
        return target.name
    role = _role(runs[place], target)
    named_before = any(target.name == other.name for run in runs[:place] for other in cast.targets_of(run))
    return labels[place] if role == "result" else target.name if role == "baseline" and not named_before else ""


def _mark(measurement: Measurement | None) -> Mark | None:
    return _sure(measurement) if measurement else None


def _sure(measurement: Measurement) -> Mark:
    from reports.chart import Mark

    return Mark(measurement.value, measurement.low, measurement.high, read_measurement(measurement).figure)


def _stage(name: str) -> str:
    return name.partition(".")[0]


def _curve_title(name: str) -> str:
    """What a series is of; a sweep puts the variant behind it in brackets, told here by its values."""
    title, bracket, variant = (name.partition(".")[2] or name).partition(" (")
    return f"{title} ({cast.short_name(variant.removesuffix(')'))})" if bracket else title


def _file_name(name: str) -> str:
    return (
        "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name.lower()).strip("-") or "run"
    )
