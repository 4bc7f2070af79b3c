"""How a figure is written: unit, interval, count, and no more digits than the interval supports.

Every other module of `reports` writes its figures through this one, so that page, Markdown and model card agree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from evaluation.measurement import Comparison, Gate, Measurement
from reports.anchor import anchor_of

_SIGNIFICANT_FIGURES = 3
_BARE_UNITS = ("ratio", "correlation", "perplexity", "count")  # the metric's name says what the number is
_SCALED_DROPS = {"ratio": " points", "relative": " %"}
# Gates of stages and benches, whose names do not say which side of the limit is right; each stands for a beginning.
_AT_MOST = (
    *("parity", "nameless", "opens_afresh", "latency"),
    *("beats_", "whole_prune_seconds", "accuracy_lost", "encoder_left", "peak_memory"),
    *("logit_error", "quality_drop", "megabytes"),
)
_AT_LEAST = ("quantized_operators", "quantized_agreement", "best_by_choice", "speedup_", "axes_cut", "agreement")
_POWERS = ((1e12, 4), (1e9, 3), (1e6, 2), (1e3, 1))


@dataclass(frozen=True)
class Reading:
    """A figure with what qualifies it: its interval, and the number of examples or calls that it rests on.

    `counted` is what the count is of where that is neither examples nor calls: `rounds`. `remark` is what else has to
    stand beside it, as the noise floor beside a ratio; `at` names the record that it is, whose row tells its
    conditions.
    """

    figure: str
    interval: str = ""
    count: int | None = None
    remark: str = ""
    at: str = field(default="", compare=False)
    counted: str = ""

    @property
    def basis(self) -> str:
        """What the figure rests on: `n = 1,050` or `16 rounds`; empty where nothing was counted."""
        if self.count is None:
            return ""
        return f"{self.count:,} {self.counted}" if self.counted else f"n = {self.count:,}"

    @property
    def spread(self) -> str:
        """What stands behind the figure: `(0.840 to 0.881, n = 1,050)`."""
        notes = ", ".join(note for note in (self.interval, self.basis, self.remark) if note)
        return f"({notes})" if notes else ""

    def __str__(self) -> str:
        return f"{self.figure} {self.spread}".strip()


def read_measurement(measurement: Measurement) -> Reading:
    """A measurement as `4.65 ms (4.60 to 4.71, n = 160)`, `0.861 (...)`, `22.7 M` or `90.9 MB`."""
    factor, suffix = _scale(measurement)
    return _reading(
        measurement.value / factor,
        None if measurement.low is None else measurement.low / factor,
        None if measurement.high is None else measurement.high / factor,
        suffix=suffix,
        count=measurement.count,
        most_decimals={"ratio": 3, "correlation": 3, "count": 0}.get(measurement.unit),
        at=anchor_of(measurement),
    )


def read_comparison(comparison: Comparison, *, unit: str = "ratio") -> Reading:
    """A comparison as `9.8x (9.5 to 10.1, 16 rounds, noise 1.2 %)`, `0.8 points (-0.4 to 2.1, n = 1,050)` or `0.986`.

    `unit` is the unit of a quality drop whose record states none.
    """
    values, count, at = (comparison.value, comparison.low, comparison.high), comparison.count, anchor_of(comparison)
    if comparison.name in ("speedup", "compression_ratio"):
        # All targets are timed in turn, round by round: the rounds are what a ratio of times is drawn from.
        counted = "rounds" if comparison.name == "speedup" else ""
        return _reading(*values, suffix="x", count=count, counted=counted, remark=noise_words(comparison), at=at)
    if comparison.name in ("agreement", "logit_error"):
        return _reading(*values, count=count, most_decimals=3, at=at)
    factor, suffix = drop_scale(comparison.unit or unit)
    value, low, high = (None if v is None else v * factor for v in values)
    assert value is not None
    most = 2 if suffix == " points" else 3 if "correlation" in (comparison.unit, unit) else None
    return _reading(value, low, high, suffix=suffix, count=count, most_decimals=most, at=at)


def noise_words(comparison: Comparison) -> str:
    """How far a ratio of one target to itself lay from 1 at that shape, and why this ratio is a tie, if it is one.

    >>> noise_words(Comparison(target="a", baseline="b", name="speedup", value=1.01, noise=0.021, verdict="tie"))
    'tie: within noise, 2.1 %'
    """
    if comparison.noise is None:
        return ""
    floor = f"{100 * comparison.noise:.2g} %"
    if comparison.verdict != "tie":
        return f"noise {floor}"
    why = tie_reason(comparison)
    return f"tie: {why}, {floor}" if why.endswith("noise") else f"tie: {why}, noise {floor}"


def tie_reason(comparison: Comparison) -> str:
    """Why a speed-up with a noise floor is a tie, in words that hold for its own figures.

    >>> pair = {"target": "a", "baseline": "b", "name": "speedup", "verdict": "tie"}
    >>> tie_reason(Comparison(**pair, value=1.5, low=0.9, high=2.2, noise=0.005))
    'interval includes 1'
    >>> tie_reason(Comparison(**pair, value=1.05, low=1.02, high=1.08, noise=0.03))
    'interval not clear of noise'
    """
    if comparison.noise is not None and abs(comparison.value - 1) <= comparison.noise:
        return "within noise"
    return "interval includes 1" if includes(comparison, 1.0) else "interval not clear of noise"


def includes(comparison: Comparison, value: float) -> bool:
    """Whether a comparison has an interval with the value in it, ends included."""
    return comparison.low is not None and comparison.high is not None and comparison.low <= value <= comparison.high


def read_p_value(p_value: float | None) -> str:
    """A p-value as `0.031` or `< 0.001`; nothing where there is none."""
    if p_value is None:
        return ""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}" if p_value < 0.1 else f"{p_value:.2f}"


def read_gate(gate: Gate, *, unit: str = "") -> tuple[str, str]:
    """A gate's value and its limit in the same unit: `0.8 points` and `at most 3 points`.

    `unit` is the one that the quality drop it judges is in; without one the figures stand as they came.
    """
    factor, suffix = 1.0, ""
    if gate.name.startswith(("min_speedup", "min_compression")):
        suffix = "x"
    elif gate.name.startswith("max_quality_drop") and unit:
        factor, suffix = drop_scale(unit)
    at_most, at_least = gate.name.startswith(("max_", *_AT_MOST)), gate.name.startswith(("min_", *_AT_LEAST))
    bound = "at most " if at_most else "at least " if at_least else ""
    value = _no_value(gate) if gate.value is None else f"{plain(gate.value * factor)}{suffix}"
    return value, f"{bound}{plain(gate.limit * factor)}{suffix}"


def drop_scale(unit: str) -> tuple[float, str]:
    """What a quality drop is multiplied by for a reader, and the unit written behind it.

    >>> drop_scale("ratio"), drop_scale("relative"), drop_scale("correlation")
    ((100.0, ' points'), (100.0, ' %'), (1.0, ''))
    """
    if unit in _SCALED_DROPS:
        return 100.0, _SCALED_DROPS[unit]
    return 1.0, "" if unit in ("", *_BARE_UNITS) else f" {unit}"


def plain(value: float) -> str:
    """A number with nothing known about it: three significant figures, whole numbers in full.

    >>> plain(1050), plain(0.0312345), plain(7e-7), plain(0.0)
    ('1,050', '0.0312', '7e-07', '0')
    """
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def duration(seconds: float) -> str:
    """A time that a reader can grasp.

    >>> duration(8.25), duration(616.9), duration(7384)
    ('8.25 s', '10 min 17 s', '2 h 3 min')
    """
    if seconds < 60:
        return f"{plain(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def size(count: float) -> str:
    """A number of bytes as `2.45 GB`."""
    factor, suffix = _prefixed(count, (" B", " kB", " MB", " GB", " TB"))
    return f"{plain(count / factor)}{suffix}"


def per_cent(ratio: float) -> str:
    """A change as `-54 %` or `+3 %`.

    >>> per_cent(0.46), per_cent(1.0)
    ('-54 %', '+0 %')
    """
    return f"{round((ratio - 1) * 100):+d} %"


def _reading(
    value: float,
    low: float | None,
    high: float | None,
    *,
    suffix: str = "",
    count: int | None = None,
    most_decimals: int | None = None,
    counted: str = "",
    remark: str = "",
    at: str = "",
) -> Reading:
    ends = [end for end in (low, high) if end is not None]
    decimals = _decimals(value, ends, most_decimals)
    interval = "" if low is None or high is None else f"{_fixed(low, decimals)} to {_fixed(high, decimals)}"
    return Reading(f"{_fixed(value, decimals)}{suffix}", interval, count, remark, at, counted)


def _decimals(value: float, ends: list[float], most: int | None) -> int:
    """Decimals such that half the interval shows one figure, or two where the first is small.

    Rounding the half-width to one figure when it is 1.x or 2.x could change it by a quarter, hence the second.
    """
    largest = max(abs(number) for number in (value, *ends))
    by_size = most if most is not None else _SIGNIFICANT_FIGURES - 1 - (_magnitude(largest) if largest else 0)
    half_width = (ends[1] - ends[0]) / 2 if len(ends) == 2 else 0.0
    if half_width <= 0:
        return max(by_size, 0)
    magnitude = _magnitude(half_width)
    by_spread = -magnitude + (1 if half_width / 10.0**magnitude < 2.5 else 0)
    nearest = min(map(abs, ends)) if ends[0] * ends[1] > 0 else 0.0
    if nearest:  # an interval that leaves out zero is not written as if it began there
        by_spread = max(by_spread, -_magnitude(nearest))
    return min(by_size, by_spread)


def _magnitude(number: float) -> int:
    return math.floor(math.log10(number))


def _fixed(value: float, decimals: int) -> str:
    text = f"{round(value, decimals):,.{max(decimals, 0)}f}"
    return text.removeprefix("-") if not text.strip("-0.,") else text  # no minus before a zero


def _scale(measurement: Measurement) -> tuple[float, str]:
    if measurement.unit in _BARE_UNITS:
        return 1.0, ""
    if measurement.unit in ("bytes", "byte", "B"):
        return _prefixed(measurement.value, (" B", " kB", " MB", " GB", " TB"))
    if measurement.unit == "parameters":
        return _prefixed(measurement.value, ("", " k", " M", " B", " T"))
    if measurement.unit == "FLOPs":
        return _prefixed(measurement.value, (" FLOP", " kFLOP", " MFLOP", " GFLOP", " TFLOP"))
    return 1.0, f" {measurement.unit}" if measurement.unit else ""


def _prefixed(value: float, suffixes: tuple[str, ...]) -> tuple[float, str]:
    return next(((power, suffixes[step]) for power, step in _POWERS if abs(value) >= power), (1.0, suffixes[0]))


def _no_value(gate: Gate) -> str:
    """What stands for a value that there is not; where the gate was judged by something else, its detail says what."""
    return "not measured" if "not measured" in gate.detail else "none"
