"""What measuring said: `Measurement`, `Comparison`, `Gate`, the `Run` that `run.json` holds, and `Across` several runs.

This file knows nothing of torch or of models, so that reports can be made anywhere. Readers ignore keys that they do
not know; a format newer than ours is refused rather than half understood.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from compress.errors import DataError

FORMAT = 1
FILE_NAME = "run.json"
NOT_FINITE = "not_finite"
"""The measurement that counts examples whose outputs are not finite; such a target has no other figure of quality."""

Verdict = Literal["better", "worse", "tie"]


class Record(BaseModel):
    """A frozen row of `run.json`."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Measurement(Record):
    """One figure of one target. `low` and `high` bound its 95 % interval; both are None for what is counted, not
    sampled (`parameters`, `bytes`, `flops`)."""

    target: str
    name: str
    value: float
    unit: str
    low: float | None = None
    high: float | None = None
    count: int | None = None
    higher_is_better: bool
    conditions: dict[str, Any] = Field(default_factory=dict)


class Comparison(Record):
    """One target against one baseline, from samples taken side by side.

    `unit` is `ratio` for speed-up, compression ratio, agreement and logit error; a quality drop has its metric's, or
    `relative` where it is a fraction of the baseline's value. It is empty in files of older versions.
    """

    target: str
    baseline: str
    name: Literal["speedup", "compression_ratio", "quality_drop", "agreement", "logit_error"]
    value: float
    unit: str = ""
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    adjusted_p_value: float | None = None
    """Of a quality drop: by Holm's method, over all comparisons by the same metric; those of a run's steps apart."""
    margin: float | None = None
    """The drop that a gate of the recipe allows, which `margin_p_value` was computed for."""
    margin_p_value: float | None = None
    """One-sided: how likely such data were if the true drop were `margin` or more."""
    noise: float | None = None
    """Of a speed-up: how far ratios of targets to themselves lay from 1 in the same sitting, at the same shape, on the
    runtimes of its two sides."""
    count: int | None = None
    verdict: Verdict | None = None
    conditions: dict[str, Any] = Field(default_factory=dict)


class Gate(Record):
    """A promise and whether it was kept. `target` is what was judged, `detail` what a reader needs to act on it.

    `value` is None where there is none, and then the gate has failed: nothing was measured that could show it, or an
    output was not finite; `detail` says which.
    """

    name: str
    limit: float
    value: float | None
    passed: bool
    target: str = "result"
    detail: str = ""
    p_value: float | None = None
    """One-sided p-value of "no worse than by the limit", where the worse end of an interval was judged."""


class Target(Record):
    """Something that was measured: a baseline, a stage's outcome, the result, or one variant's result of a sweep."""

    name: str
    kind: Literal["baseline", "stage", "result", "variant"]
    title: str
    runtime: str
    form: Literal["torch", "onnx"]
    stage: str | None = None
    file: str = ""
    """The weight file's place in `model/`, as `onnx/model_int8.onnx`; empty for baselines."""


class Skipped(Record):
    """A baseline that could not be measured here, and why."""

    target: str
    reason: str


class Run(Record):
    """Everything a run leaves behind in words and figures."""

    format: int = FORMAT
    name: str
    key: str = ""
    """Digest of everything that was measured and how; while it stays the same, so do the figures."""
    recipe: dict[str, Any] = Field(default_factory=dict)
    environment: dict[str, Any] = Field(default_factory=dict)
    lineage: list[dict[str, Any]] = Field(default_factory=list)
    targets: list[Target] = Field(default_factory=list)
    skipped: list[Skipped] = Field(default_factory=list)
    measurements: list[Measurement] = Field(default_factory=list)
    comparisons: list[Comparison] = Field(default_factory=list)
    gates: list[Gate] = Field(default_factory=list)
    series: dict[str, Any] = Field(default_factory=dict)
    tables: dict[str, Any] = Field(default_factory=dict)

    @property
    def all_targets(self) -> list[Target]:
        """The targets in their order; those that only measurements name come last, taken for baselines."""
        known = {target.name for target in self.targets}
        found = list(self.targets)
        for name in dict.fromkeys(m.target for m in self.measurements if m.target not in known):
            kind: Literal["result", "baseline"] = "result" if name == "result" else "baseline"
            found.append(Target(name=name, kind=kind, title=name, runtime="", form="torch"))
        return found

    @property
    def subject(self) -> str | None:
        """What the run is about: its result, else the last target that was compared, else the last one measured.

        None where nothing was measured, and of a sweep: it is about all of its variants.
        """
        if any(target.kind == "variant" for target in self.targets):
            return None
        targets, compared = self.all_targets, {comparison.target for comparison in self.comparisons}
        results = [target.name for target in targets if target.kind == "result"]
        candidates = results or [t.name for t in targets if t.name in compared] or [t.name for t in targets]
        return candidates[-1] if candidates else None

    @property
    def reference(self) -> str | None:
        """The baseline that all else is compared with: the first one listed."""
        compared = {comparison.baseline for comparison in self.comparisons}
        baselines = [target.name for target in self.all_targets if target.kind == "baseline"]
        return next((name for name in baselines if name in compared), baselines[0] if baselines else None)

    def measured(self, target: str, name: str, **conditions: Any) -> Measurement | None:
        """The first measurement of `target` called `name` whose conditions contain the given ones."""
        return next(
            (m for m in self.measurements if (m.target, m.name) == (target, name) and _holds(m, conditions)), None
        )

    def compared(self, target: str, baseline: str, name: str, **conditions: Any) -> Comparison | None:
        """The first comparison of `target` with `baseline` called `name` whose conditions contain the given ones."""
        wanted = (target, baseline, name)
        return next(
            (c for c in self.comparisons if (c.target, c.baseline, c.name) == wanted and _holds(c, conditions)), None
        )


class Obstacle(Record):
    """Why two runs can't be compared by something."""

    first: str
    second: str
    what: Literal["quality", "speed"]
    reason: str


class SeedGroup(Record):
    """Runs of one recipe that differ by seed alone, taken together. The intervals say how another seed, on other
    examples, would come out; `conditions.seeds` is how many seeds there are, and `count` how many examples."""

    runs: list[str]
    seeds: list[int]
    measurements: list[Measurement] = Field(default_factory=list)
    comparisons: list[Comparison] = Field(default_factory=list)


class Across(Record):
    """Several runs compared pair by pair. Runs go by their labels: `target` of a comparison is the later run's,
    `baseline` the earlier one's."""

    runs: list[str]
    subjects: dict[str, str] = Field(default_factory=dict)
    """The target of each run that stands for it."""
    comparisons: list[Comparison] = Field(default_factory=list)
    obstacles: list[Obstacle] = Field(default_factory=list)
    seeds: list[SeedGroup] = Field(default_factory=list)
    doubts: dict[str, list[str]] = Field(default_factory=dict)
    """Where a run's file contradicts itself or its predictions; nothing of such a run is compared."""


def _holds(record: Measurement | Comparison, conditions: dict[str, Any]) -> bool:
    return all(record.conditions.get(key) == value for key, value in conditions.items())


def read_run(path: Path) -> Run:
    """The run that a `run.json`, or a folder with one, holds.

    Raises:
        DataError: there is no such file, it is not JSON, it is of a future format, or a field is missing or wrong.
    """
    file = path / FILE_NAME if path.is_dir() else path
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(
            f"{file}: no such file; wanted a run folder, or the run.json that `compress run` writes"
        ) from None
    except (OSError, ValueError, RecursionError) as fault:
        raise DataError(
            f"{file}: not a readable run.json ({fault}); was the run interrupted, or the file cut?"
        ) from None
    if not isinstance(document, dict):
        raise DataError(f"{file}: holds a {type(document).__name__}, wanted a JSON object")
    found = document.get("format")
    if not isinstance(found, int) or found > FORMAT:
        raise DataError(f"{file}: format {found!r}, this version reads up to {FORMAT}; a newer `compress` wrote it?")
    try:
        return Run.model_validate(document)
    except ValidationError as fault:
        first = fault.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{file}: {place}: {first['msg']} ({fault.error_count()} faults in all)") from None


def write_run(run: Run, folder: Path) -> Path:
    """Write `run.json` into `folder` in one step: a reader sees the old file or the new one, never half of one."""
    file = folder / FILE_NAME
    draft = file.with_suffix(".json.draft")
    draft.write_text(json.dumps(run.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(draft, file)
    return file
