"""Quality against what it costs, as charts: latency, size and memory, with the Pareto front."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from evaluation.measurement import Measurement, Run, Target
from reports import cast
from reports.front import Cost, Place, main_costs_of, non_dominated, places
from reports.marks import mark_of
from reports.number import read_measurement
from reports.outline import Chart, Switch
from reports.table import Table, table_of

if TYPE_CHECKING:
    from reports.charts.tradeoff import Point

_MOST_NAMES = 16  # beside points; of more, those on the front alone are named
_MOST_WAYS = 6  # runs whose steps are drawn; of more, results and baselines alone


class _Spot(NamedTuple):
    """A target of one of the runs, with both figures."""

    run: int
    target: Target
    role: str
    name: str
    quality: Measurement
    cost: Measurement


def tradeoff_block(runs: Sequence[Run], prefix: str) -> Switch | Chart | None:
    """Quality against each cost, of every target of every run; None where no target has quality and a cost.

    Shape and metric are the first run's. Of several runs, results and baselines are named and steps are not.
    """
    metrics = cast.metrics_of(runs[0]) if runs else []
    if not metrics:
        return None
    found = [(cost, _spots(runs, metrics[0], cost)) for cost in main_costs_of(runs[0])]
    charts = tuple(_chart(runs, metrics[0], cost, spots, prefix) for cost, spots in found if spots)
    if len(charts) < 2:
        return charts[0] if charts else None
    return Switch(f"{metrics[0]} against", charts)


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
    alt = f"{metric} against {cost.title}. {'; '.join(figures)}"

    def draw() -> dict[str, Any]:
        from reports.charts.tradeoff import Point, tradeoff

        points = [
            Point(
                place.target.name,
                cast.short_name(place.target.name),
                label,
                _front_role(place),
                mark_of(place.cost).scaled(cost.scale[0]),
                mark_of(place.quality),
            )
            for label, place in zip(labels, found, strict=True)
        ]
        x_title, y_title = _titles(cost, metric, found[0].quality)
        return tradeoff(points, x_title=x_title, y_title=y_title, front=front)

    settings = ", ".join(part.partition("=")[0] for part in next(iter(cast.variants_of(run))).name.split(","))
    named = f" Variants are named by their {settings}" + (", on the front alone." if crowded else ".")
    caption = f"{metric} against {cost.title}: the stairs are the Pareto front, whiskers are 95 % intervals.{named}"
    return Chart(name, caption, alt, draw)


def _spots(runs: Sequence[Run], metric: str, cost: Cost) -> list[_Spot]:
    labels, several = cast.labels_of(runs), len(runs) > 1
    return [
        _Spot(place, target, role, f"{labels[place]}: {target.name}" if several else target.name, quality, paid)
        for place, run in enumerate(runs)
        for target, role in _drawn(run, ways=len(runs) <= _MOST_WAYS)
        if (paid := run.measured(target.name, cost.measurement, **cost.conditions))
        and (quality := run.measured(target.name, metric))
    ]


def _drawn(run: Run, *, ways: bool) -> Iterator[tuple[Target, str]]:
    """The targets on the way from reference to result, then the other baselines, with their roles."""
    path = cast.path_of(run)
    others = [target for target in run.all_targets if target.kind == "baseline" and target not in path]
    for target in [*path, *others]:
        role = cast.role_of(run, target)
        if ways or role != "step":
            yield target, role


def _chart(runs: Sequence[Run], metric: str, cost: Cost, spots: list[_Spot], prefix: str) -> Chart:
    several = len(runs) > 1
    front = _front(spots)
    figures = [
        f"{spot.name} {read_measurement(spot.cost).figure}, {read_measurement(spot.quality).figure}" for spot in spots
    ]
    alt = f"{metric} against {cost.title}. {'; '.join(figures)}. "
    alt += f"On the Pareto front: {', '.join(spots[index].name for index in front)}"

    def draw() -> dict[str, Any]:
        from reports.charts.tradeoff import tradeoff

        x_title, y_title = _titles(cost, metric, spots[0].quality)
        return tradeoff(
            _points(runs, cost, spots, set(front)),
            x_title=x_title,
            y_title=y_title,
            front=front,
            paths=list(_paths(spots)),
            several_runs=several,
        )

    caption = f"{metric} against {cost.title}. The stairs are the Pareto front: what no other target beats in both. "
    caption += "Whiskers are 95 % intervals; dotted lines join the steps."
    table = _table(metric, cost, spots, set(front)) if several else None
    kind = cost.measurement.removesuffix("_p50_ms").removesuffix("_bytes").replace("_", "-")
    name = f"{prefix}tradeoff" if kind == "latency" else f"{prefix}tradeoff-{'size' if kind == 'bytes' else kind}"
    return Chart(name, caption, alt, draw, table=table, label=cost.title)


def _points(runs: Sequence[Run], cost: Cost, spots: list[_Spot], front: set[int]) -> list[Point]:
    from reports.charts.tradeoff import Point

    labels, several = cast.labels_of(runs), len(runs) > 1
    named = [_label(runs, labels, spot) for spot in spots]
    crowded = sum(map(bool, named)) > _MOST_NAMES
    return [
        Point(
            spot.name,
            spot.target.name if not several else "baselines" if spot.role == "baseline" else labels[spot.run],
            label if not crowded or place in front else "",
            spot.role,
            mark_of(spot.cost).scaled(cost.scale[0]),
            mark_of(spot.quality),
            spot.run,
        )
        for place, (spot, label) in enumerate(zip(spots, named, strict=True))
    ]


def _label(runs: Sequence[Run], labels: list[str], spot: _Spot) -> str:
    """One run: every target's name. Several: the results by their runs, each baseline once, steps without a name."""
    if len(runs) == 1:
        return spot.target.name
    if spot.role == "result":
        return labels[spot.run]
    before = {target.name for run in runs[: spot.run] for target in run.all_targets}
    return spot.target.name if spot.role == "baseline" and spot.target.name not in before else ""


def _front(spots: list[_Spot]) -> list[int]:
    """The indices of the spots that no other one beats, the cheapest first."""
    gains = [spot.quality.value if spot.quality.higher_is_better else -spot.quality.value for spot in spots]
    front = non_dominated([(gain, -spot.cost.value) for gain, spot in zip(gains, spots, strict=True)])
    return sorted(front, key=lambda index: spots[index].cost.value)


def _paths(spots: list[_Spot]) -> Iterator[list[int]]:
    """Each run's way from its reference, which comes first, to its result."""
    for run in sorted({spot.run for spot in spots}):
        own = [index for index, spot in enumerate(spots) if spot.run == run]
        way = [index for index in own if index == own[0] or spots[index].role != "baseline"]
        if len(way) > 1:
            yield way


def _table(metric: str, cost: Cost, spots: list[_Spot], front: set[int]) -> Table:
    rows = [
        [spot.name, read_measurement(spot.quality), read_measurement(spot.cost), "yes" if place in front else "no"]
        for place, spot in enumerate(spots)
    ]
    return table_of(f"{metric} against {cost.title}", ["target", metric, cost.title, "on the front"], rows)


def _titles(cost: Cost, metric: str, quality: Measurement) -> tuple[str, str]:
    better = "up" if quality.higher_is_better else "down"
    return f"{cost.title}, {cost.scale[1]} (left is better)", f"{metric} ({better} is better)"


def _front_role(place: Place) -> str:
    if place.target.kind == "baseline":
        return "baseline"
    return "result" if place.on_front else "step"
