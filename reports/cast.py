"""Who is who in a run: reference, steps, result, variants; which shapes and metrics were measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from evaluation.measurement import Comparison, Measurement, Run, Target


class Shape(NamedTuple):
    """A batch that was timed: examples x tokens."""

    batch: int
    tokens: int

    def __str__(self) -> str:
        return f"{self.batch} x {self.tokens}"

    @property
    def as_typed(self) -> str:
        """The shape as a recipe has it: `1x128`."""
        return f"{self.batch}x{self.tokens}"

    @property
    def conditions(self) -> dict[str, int]:
        return {"batch": self.batch, "tokens": self.tokens}


def path_of(run: Run) -> list[Target]:
    """The targets in reading order without the other baselines: reference, then each step, then the result."""
    targets = run.all_targets
    reference = run.reference
    first = [target for target in targets if target.name == reference]
    return first + [target for target in targets if target.kind != "baseline" and target.name != reference]


def variants_of(run: Run) -> list[Target]:
    """The variants of a sweep; none in a run of one recipe."""
    return [target for target in run.targets if target.kind == "variant"]


def short_name(variant: str) -> str:
    """A variant's values alone, where the settings that vary are told elsewhere.

    >>> short_name("layers=3,encoder_parameters=0.7")
    '3, 0.7'
    """
    parts = [part.partition("=") for part in variant.split(",")]
    return ", ".join(value for _, _, value in parts) if all(equals for _, equals, _ in parts) else variant


def baselines_of(run: Run) -> list[str]:
    """Every baseline that something was compared with, in the order of the targets.

    Steps and variants are none, though each is compared with the one before it too.
    """
    order = {target.name: place for place, target in enumerate(run.all_targets)}
    others = {target.name for target in run.targets if target.kind != "baseline"}
    names = _distinct(c.baseline for c in run.comparisons if c.baseline not in others)
    return sorted(names, key=lambda name: order.get(name, len(order)))


def role_of(run: Run, target: Target) -> str:
    """What a target is in a chart of the run: baseline, step, or the result that the run is about."""
    if target.kind == "baseline":
        return "baseline"
    return "result" if target.name == run.subject else "step"


def shapes_of(run: Run) -> list[Shape]:
    """The shapes that were timed, the smallest first."""
    found = {shape_of(m) for m in run.measurements if m.name.startswith("latency_")}
    found |= {shape_of(c) for c in run.comparisons if c.name == "speedup"}
    return sorted((shape for shape in found if shape), key=lambda shape: (shape.batch * shape.tokens, shape.batch))


def shape_of(record: Measurement | Comparison) -> Shape | None:
    """The shape that a record's conditions state, if they do; real texts have no one shape."""
    if of_texts(record):
        return None
    batch, tokens = record.conditions.get("batch"), record.conditions.get("tokens")
    return Shape(batch, tokens) if isinstance(batch, int) and isinstance(tokens, int) else None


def of_texts(record: Measurement | Comparison) -> bool:
    """Whether it was measured on the split's own texts in their own lengths, not on a fixed shape."""
    return record.conditions.get("inputs") == "texts"


def at_a_time(batch: object) -> str:
    """How many real texts were read together, in words.

    >>> at_a_time(1), at_a_time(32)
    ('one at a time', '32 at a time')
    """
    return "one at a time" if batch == 1 else f"{batch} at a time"


def headline_shape(run: Run) -> Shape | None:
    """The shape that the recipe's speed-up gate names, else the middle one of those that were timed."""
    shapes = shapes_of(run)
    promised = gate_settings(run, "min_speedup").get("shape")
    named = [shape for shape in shapes if shape.as_typed == promised]
    return next(iter(named or shapes[len(shapes) // 2 :]), None)


def metrics_of(run: Run) -> list[str]:
    """The metrics of quality that were measured, the one that the recipe's quality gate names first."""
    lost = {c.conditions.get("metric") for c in run.comparisons if c.name == "quality_drop"}
    names = _distinct(m.name for m in run.measurements if is_quality(m) or m.name in lost)
    promised = gate_settings(run, "max_quality_drop").get("metric")
    return sorted(names, key=lambda name: name != promised)


def is_quality(measurement: Measurement) -> bool:
    """Whether this is a figure of quality: one that says which split it was judged on. All others are costs.

    A count of examples whose outputs are not finite is none, nor is a time that was taken on a split's texts.
    """
    return "split" in measurement.conditions and measurement.unit != "examples" and not of_texts(measurement)


def rises(run: Run, metric: str) -> bool:
    """Whether more of a metric is worse, as of perplexity: what was lost in quality is then told as a rise."""
    return next((not m.higher_is_better for m in run.measurements if m.name == metric), False)


def loss_name(run: Run, metric: str) -> str:
    """What a quality drop is called: `accuracy lost`, `rise in perplexity`."""
    return f"rise in {metric}" if rises(run, metric) else f"{metric} lost"


def loss_unit(run: Run, metric: str) -> str:
    """The unit that losses of a metric are in: its own, or `relative`; nothing where it was never measured."""
    stated = (c.unit for c in run.comparisons if c.unit and c.conditions.get("metric") == metric)
    unit = next(stated, "") or unit_of(run, metric)
    # Older files state no unit with a drop; perplexity's was relative then as well.
    return "relative" if unit == "perplexity" else unit


def unit_of(run: Run, name: str) -> str:
    """The unit that the measurements called `name` are in; nothing where there are none."""
    return next((m.unit for m in run.measurements if m.name == name), "")


def gate_settings(run: Run, name: str) -> dict[str, Any]:
    """What the recipe says of a gate; empty where it says nothing."""
    gates = run.recipe.get("gates")
    settings = gates.get(name) if isinstance(gates, dict) else None
    return settings if isinstance(settings, dict) else {}


def limit_of(run: Run, comparison: Comparison) -> float | None:
    """The limit that one of the recipe's gates sets to this very comparison; None where no gate judges it."""
    match comparison.name:
        case "compression_ratio":
            settings = gate_settings(run, "min_compression")
            judged, limit = settings.get("baseline") == comparison.baseline, settings.get("ratio")
        case "speedup":
            settings, shape = gate_settings(run, "min_speedup"), shape_of(comparison)
            named = (comparison.baseline, shape.as_typed if shape else "")
            judged, limit = (settings.get("baseline"), settings.get("shape")) == named, settings.get("ratio")
        case "quality_drop":
            settings = gate_settings(run, "max_quality_drop")
            # Quality is judged against the reference alone.
            lost = (comparison.baseline, comparison.conditions.get("metric"))
            judged, limit = lost == (run.reference, settings.get("metric")), settings.get("drop")
        case "agreement" | "logit_error":
            return None
    return float(limit) if judged and isinstance(limit, int | float) else None


def labels_of(runs: Sequence[Run]) -> list[str]:
    """The runs' names, made different where two are the same: `name`, `name (2)`."""
    seen: dict[str, int] = {}
    labels = []
    for run in runs:
        seen[run.name] = seen.get(run.name, 0) + 1
        labels.append(run.name if seen[run.name] == 1 else f"{run.name} ({seen[run.name]})")
    return labels


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
