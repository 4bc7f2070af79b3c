"""One report over many runs: how long it takes and how much memory, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np

from bench.measuring.part import TARGET, Part, tell
from compress.data import Split
from compress.metric import evidence_of, metric_of, metrics_for
from compress.task import task_of
from evaluation.measurement import Comparison, Gate, Measurement, Run, read_run, write_run
from evaluation.quality.predictions import FOLDER, write_predictions

RUNS = 50
EXAMPLES = 1060
SECONDS = 10.0
BYTES = 1e9
PASSES = 3
FORM = Path("reports/published/reviews-trio")
"""A run of the demo's size: what the made-up runs measure besides quality is what it measured."""
TASK = "text-classification"
_REPORT = """
import sys
from compress.cli import app
from evaluation.speed.peak import host_bytes
app(["report", *sys.argv[1:]], standalone_mode=False)
print(host_bytes())
"""
LABELS = ("negative", "positive")


def found(*, small: bool, seed: int) -> Part:
    """The median time and the largest memory of `compress report` over runs that differ in their predictions."""
    runs, examples, passes = (3, 100, 1) if small else (RUNS, EXAMPLES, PASSES)
    form = read_run(FORM)
    with TemporaryDirectory(prefix="measuring-") as folder:
        split = _split(examples, seed)
        homes = [_made(form, split, Path(folder, f"run-{number:02}"), seed + number) for number in range(runs)]
        taken = [_report(homes, Path(folder, "report")) for _ in range(passes)]
    seconds, most = median(each[0] for each in taken), max(each[1] for each in taken)
    tell(f"a report over {runs} runs: {seconds:.1f} s, {most / 1e6:.0f} MB")
    return _judged(runs, seconds, most, passes)


def _split(examples: int, seed: int) -> Split:
    random = np.random.default_rng(seed)
    texts = tuple(f"text {number} " + "word " * int(random.integers(3, 40)) for number in range(examples))
    return Split("test", texts, None, random.integers(0, 2, examples), LABELS)


def _made(form: Run, split: Split, home: Path, seed: int) -> Path:
    """A run whose figures of quality are those of made-up predictions, and whose others are the form's."""
    random = np.random.default_rng(seed)
    assert split.labels is not None
    predictions = {}
    for target in form.targets:
        wrong = random.random(len(split)) < random.uniform(0.10, 0.15)
        decided = np.where(wrong, 1 - split.labels, split.labels)
        predictions[target.name] = np.stack([-1.0 * decided, 1.0 * decided], axis=1) * random.uniform(1, 3)
    metrics = {row.name for row in form.measurements} & set(metrics_for("class"))
    values = {
        (name, metric): _value(metric, split, scores) for name, scores in predictions.items() for metric in metrics
    }
    higher_is_better = {row.name: row.higher_is_better for row in form.measurements}
    run = form.model_copy(
        update={
            "name": home.name,
            "recipe": form.recipe | {"name": home.name},
            "measurements": [_measured(row, values, split) for row in form.measurements],
            "comparisons": [_compared(row, values, higher_is_better) for row in form.comparisons],
        }
    )
    write_predictions(predictions, split, home / FOLDER, task=TASK)
    write_run(run, home)
    return home


def _value(metric: str, split: Split, scores: np.ndarray) -> float:
    judge = metric_of(metric, "class", labels=LABELS)
    return float(judge.value(evidence_of(judge, task_of(TASK), split.labels, scores)))


def _measured(row: Measurement, values: Mapping[tuple[str, str], float], split: Split) -> Measurement:
    conditions = row.conditions | ({"data": split.digest} if "data" in row.conditions else {})
    value = values.get((row.target, row.name))
    changed = {} if value is None else {"value": value, "low": None, "high": None, "count": len(split)}
    return row.model_copy(update={"conditions": conditions, **changed})


def _compared(
    row: Comparison, values: Mapping[tuple[str, str], float], higher_is_better: Mapping[str, bool]
) -> Comparison:
    before, after = (values.get((name, str(row.conditions.get("metric")))) for name in (row.baseline, row.target))
    if row.name != "quality_drop" or before is None or after is None:
        return row
    lost = before - after if higher_is_better[str(row.conditions["metric"])] else after - before
    return row.model_copy(update={"value": lost, "low": None, "high": None})


def _report(homes: list[Path], output: Path) -> tuple[float, int]:
    """Seconds and bytes of the process that makes the report, which says itself what it held at the most: what the
    system tells of a child is never less than what its parent held."""
    words = [sys.executable, "-c", _REPORT, *map(str, homes), "-o", str(output)]
    start = perf_counter()
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    return perf_counter() - start, int(done.stdout.split()[-1])


def _judged(runs: int, seconds: float, most: int, passes: int) -> Part:
    conditions = {"runs": runs}
    measurements = [
        Measurement(
            target=TARGET,
            name=name,
            value=value,
            unit=unit,
            count=passes,
            higher_is_better=False,
            conditions=conditions,
        )
        for name, value, unit in (("report_seconds", seconds, "s"), ("report_peak_memory", most, "bytes"))
    ]
    gates = [
        Gate(name=name, limit=limit, value=value, passed=value <= limit, target=TARGET, detail=detail)
        for name, limit, value, detail in (
            ("report_seconds", SECONDS, seconds, f"`compress report` over {runs} runs, the median of {passes}"),
            ("report_peak_memory", BYTES, most, f"bytes, the same, the largest of {passes}"),
        )
    ]
    return Part(gates, measurements)
