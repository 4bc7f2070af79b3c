"""Speed: all targets timed at one shape in interleaved blocks, and how much faster than a baseline each one is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from compress.deploy import Shape
from compress.inputs import timing_inputs
from compress.runtimes.timing import clock_of, time_interleaved
from evaluation import statistics
from evaluation.measurement import Comparison, Measurement
from evaluation.sitting import Conditions, Opened, Progress, ran_on


def time_all(opened: Sequence[Opened], conditions: Conditions, progress: Progress) -> None:
    """Time all targets at every shape."""
    shapes = conditions.deploy.shapes
    for index, shape in enumerate(shapes):
        _time(opened, shape, conditions, _part(progress, index, len(shapes)))


def speed_rows(one: Opened, conditions: Conditions) -> list[Measurement]:
    rows = []
    for shape, rounds in one.times.items():
        for name, percentile in (("latency_p50_ms", 50), ("latency_p95_ms", 95)):
            found = statistics.percentile_interval(rounds, percentile, seed=conditions.seed)
            rows.append(
                Measurement(
                    target=one.name,
                    name=name,
                    value=found.value,
                    unit="ms",
                    low=found.low,
                    high=found.high,
                    count=sum(len(block) for block in rounds),
                    higher_is_better=False,
                    conditions=ran_on(one, conditions) | {"batch": shape.batch, "tokens": shape.tokens},
                )
            )
    return rows


def speed_comparisons(one: Opened, baseline: Opened, conditions: Conditions) -> list[Comparison]:
    """The speed-up at every shape."""
    rows = []
    for shape, rounds in one.times.items():
        found = statistics.ratio_of_medians(baseline.times[shape], rounds, seed=conditions.seed)
        rows.append(
            Comparison(
                target=one.name,
                baseline=baseline.name,
                name="speedup",
                unit="ratio",
                verdict=statistics.verdict(found.low, found.high, no_difference=1.0, higher_is_better=True),
                conditions={"batch": shape.batch, "tokens": shape.tokens, "rounds": conditions.rounds},
                **vars(found),
            )
        )
    return rows


def _part(progress: Progress, index: int, count: int) -> Callable[[float, str], None]:
    """Progress within piece `index` of `count` equal pieces of the timing."""

    def tell(fraction: float, message: str) -> None:
        progress("latency", (index + fraction) / count, message)

    return tell


def _time(
    opened: Sequence[Opened], shape: Shape, conditions: Conditions, progress: Callable[[float, str], None]
) -> None:
    """Time all subjects at one shape, in interleaved blocks."""
    calls = {}
    for one in opened:
        inputs = timing_inputs(one.subject.bundle, conditions.test, shape)
        calls[one.name] = one.session.bind(inputs)
    times = time_interleaved(
        calls,
        seed=conditions.seed,
        rounds=conditions.rounds,
        clock=clock_of(conditions.device),
        progress=lambda part, text: progress(part, f"{shape}, {text}"),
    )
    for one in opened:
        one.times[shape] = times[one.name]
