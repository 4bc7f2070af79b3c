"""What `compress inspect` finds out from data: what heads look at and are worth, quality, and heads against quality."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress import catalog
from compress.bundle import Bundle, Form
from compress.data import Split, text_places
from compress.deploy import Deploy
from compress.errors import CompressError, DataError
from compress.head_importance import Importance, importance
from compress.metric import Metric, metric_of
from compress.progress import Tell
from compress.pruning.head_counts import Cut, equal_cuts, made
from compress.roles import LONGEST, head_roles
from compress.runtime import Runtime
from compress.stage import Context, Criterion
from evaluation.measurement import Measurement, Skipped
from evaluation.quality.held_out import evidence_on, quality_row
from evaluation.quality.quality import drop_of

if TYPE_CHECKING:
    import torch

FRACTIONS = (1.0, 0.75, 0.5, 0.25)
"""Of the heads, that the trade-off keeps; and the fewest that can be."""
FEWEST_ROWS = 4


@dataclass(frozen=True)
class Asked:
    """What is to be found out, and how.

    Attributes:
        rows: all there are.
        labelled: whether they have labels, or the task needs none.
        examples: that are read for roles and scores, at most.
        criterion: its name.
        keep: the fraction of the encoder's parameters in the trade-off; None where that is not asked for.
    """

    rows: Split
    labelled: bool
    examples: int
    criterion: str
    keep: float | None
    deploy: Deploy
    device: str
    seed: int


@dataclass
class Found:
    """What has been found out: figures of the whole model, tables, how each of these came about, what was left out."""

    measurements: list[Measurement]
    tables: dict[str, Any]
    conditions: dict[str, dict[str, Any]]
    skipped: list[Skipped]

    @classmethod
    def nothing(cls) -> Found:
        return cls([], {}, {}, [])

    def skip(self, what: str, reason: str) -> None:
        self.skipped.append(Skipped(target=what, reason=reason))


def criterion_called(name: str) -> Criterion:
    """The criterion with its usual settings.

    Raises:
        DataError: there is none of that name.
    """
    known = catalog.names("criteria")
    if name not in known:
        hint = catalog.closest(name, known)
        raise DataError(f"--criterion {name}: wanted one of {', '.join(known)}{hint}")
    criterion: Criterion = catalog.load("criteria", name)()
    return criterion


def find_heads(target: str, bundle: Bundle, runtime: Runtime, asked: Asked, found: Found, tell: Tell) -> None:
    """Add to `found` what the rows tell of the model: roles; with labels also scores, quality and the trade-off.

    Raises:
        DataError: too few labelled rows to score by some and judge by others.
    """
    if bundle.form is Form.TORCH:
        _roles(bundle, asked, found, tell)
    else:
        found.skip("head roles", _GRAPH)
    if not asked.labelled:
        for what in ("head importance", "quality"):
            found.skip(what, "--data has no labels; name their column: --columns text=COLUMN,label=COLUMN")
        return
    scored, judged = shared_out(asked.rows, asked.examples, by_context=bundle.task.target == "span")
    judge = _Judge(target, bundle, runtime, asked, judged)
    if bundle.form is Form.ONNX:
        found.skip("head importance", _GRAPH)
        found.measurements += judge.whole()
        return
    with tempfile.TemporaryDirectory() as folder:
        context = Context(scored, scored, scored, asked.deploy, _torch_device(asked), asked.seed, Path(folder))
        tell("head importance", 0.0, f"{asked.criterion} on {len(scored)} examples")
        worth = importance(bundle, criterion_called(asked.criterion), context)
        tell("head importance", 1.0, "done")
        found.tables["head_scores"] = worth.head_rows()
        found.conditions["head_scores"] = {
            "criterion": asked.criterion,
            "examples": len(scored),
            "data": scored.digest,
            "rank_correlation_of_halves": worth.agreement,
        }
        tell("quality", 0.0, f"on {len(judged)} other examples")
        found.measurements += judge.whole()
        tell("quality", 1.0, "done")
        if asked.keep is not None:
            _trade_off(bundle, worth, asked.keep, judge, context, found, tell)


def shared_out(rows: Split, examples: int, *, by_context: bool) -> tuple[Split, Split]:
    """The rows to score by, and the others, to judge by; never the same text in both.

    At most half of all rows are scored by: those whose texts hash lowest.

    Args:
        by_context: the second texts, which several questions may be about, decide.

    Raises:
        DataError: too few rows.
    """
    if len(rows) < FEWEST_ROWS:
        raise DataError(
            f"--data: {len(rows)} labelled rows, wanted {FEWEST_ROWS} or more: some to score heads by, others to "
            "judge by; or leave labels out (--columns text=COLUMN) to see head roles alone"
        )
    first, second = (rows.pairs or (), None) if by_context else (rows.texts, rows.pairs)
    places = text_places(first, second, salt="inspect")
    last = np.sort(places)[min(examples, len(rows) // 2) - 1]
    scored, judged = rows.rows(np.flatnonzero(places <= last)), rows.rows(np.flatnonzero(places > last))
    if len(judged) < 2:
        raise DataError(f"--data: {len(rows)} rows, but so few different texts that none are left to judge by")
    return replace(scored, name="scored"), replace(judged, name="judged")


_GRAPH = "an ONNX file does not let its heads be looked at; name the model's folder, with safetensors"


def _torch_device(asked: Asked) -> torch.device:
    import torch

    return torch.device(asked.device)


def _roles(bundle: Bundle, asked: Asked, found: Found, tell: Tell) -> None:
    if bundle.task.modality != "text":
        found.skip("head roles", f"the task {bundle.task.name} reads pictures: heads have no tokens of text to look at")
        return
    texts = asked.rows.take(asked.examples)
    tell("head roles", 0.0, f"of {len(texts)} texts")
    try:
        roles = head_roles(bundle, texts, _torch_device(asked), counted=asked.rows)
    except CompressError as fault:  # all else can be told without
        found.skip("head roles", str(fault))
        return
    tell("head roles", 1.0, "done")
    found.tables["head_roles"] = roles.rows
    found.conditions["head_roles"] = {
        "texts": roles.texts,
        "tokens": roles.tokens,
        "data": texts.digest,
        "uniform_attention_would_have": roles.uniform,
        "rarity_counted_in_texts": len(asked.rows),
        "texts_left_out_as_too_long": roles.too_long,
        "longest_tokens": LONGEST,
        "attention": "eager",
    }


class _Judge:
    """Says how good a model is on the rows that are judged by."""

    def __init__(self, target: str, bundle: Bundle, runtime: Runtime, asked: Asked, judged: Split) -> None:
        self.asked = asked
        self.judged = judged
        self._target = target
        self._bundle = bundle
        self._runtime = runtime
        contexts, task = judged.pairs or (), bundle.task
        named = {name: metric_of(name, task.target, labels=bundle.labels, contexts=contexts) for name in task.metrics}
        self.metrics: dict[str, Metric] = named
        self.before: dict[str, np.ndarray] = {}

    @property
    def first(self) -> tuple[str, Metric]:
        """The task's first metric, which the trade-off is judged by."""
        return next(iter(self.metrics.items()))

    def whole(self) -> list[Measurement]:
        """The uncut model's figures by all of the task's metrics."""
        self.before = self._evidence(self._bundle, self.metrics)
        return [self._row(name, metric, self.before[name]) for name, metric in self.metrics.items()]

    def cut(self, smaller: Bundle) -> dict[str, Any]:
        """A cut model's figure by the first metric, and what was lost of it, pair by pair."""
        name, metric = self.first
        after = self._evidence(smaller, {name: metric})[name]
        figure = self._row(name, metric, after)
        lost = drop_of(metric, self.before[name], after, seed=self.asked.seed)
        quality = {key: getattr(figure, key) for key in ("value", "low", "high", "unit", "count", "higher_is_better")}
        dropped = {"quality_drop": lost.value, "quality_drop_low": lost.low, "quality_drop_high": lost.high}
        unit = "relative" if metric.relative_drop else metric.unit
        return {"metric": name, **quality, **dropped, "quality_drop_unit": unit, "p_value": lost.p_value}

    def _evidence(self, bundle: Bundle, metrics: dict[str, Metric]) -> dict[str, np.ndarray]:
        opened = self._runtime.open(bundle, device=self.asked.device, threads=self.asked.deploy.thread_count)
        with closing(opened) as session:
            return evidence_on(bundle, session, self.judged, metrics)

    def _row(self, name: str, metric: Metric, evidence: np.ndarray) -> Measurement:
        conditions = {"split": "judged", "data": self.judged.digest, "seed": self.asked.seed}
        return quality_row(self._target, name, metric, evidence, seed=self.asked.seed, conditions=conditions)


def _trade_off(
    bundle: Bundle, worth: Importance, keep: float, judge: _Judge, context: Context, found: Found, tell: Tell
) -> None:
    """One row a number of heads, all with the same number of encoder parameters."""
    cuts = equal_cuts(bundle.anatomy, worth.scores, keep=keep, fractions=FRACTIONS)
    rows = []
    for place, cut in enumerate(cuts):
        told = partial(_told_of, tell, place, len(cuts), f"{cut.heads} heads")
        told(0.0, "cut")
        smaller = made(bundle, worth.scores, cut, replace(context, progress=told))
        rows.append({**_of_cut(cut, bundle), **judge.cut(smaller)})
    tell("trade-off", 1.0, "done")
    found.tables["head_counts"] = rows
    found.conditions["head_counts"] = {
        "encoder_parameters_target": keep,
        "criterion": judge.asked.criterion,
        "repair": "least_squares",
        "training": "none",
        "scored_and_repaired_on_examples": len(context.calibration),
        "scored_data": context.calibration.digest,
        "judged_on_examples": len(judge.judged),
        "judged_data": judge.judged.digest,
        "texts_in_both": 0,
        "seed": judge.asked.seed,
    }


def _told_of(tell: Callable[..., None], place: int, cuts: int, what: str, fraction: float, message: str) -> None:
    tell("trade-off", (place + fraction) / cuts, f"{what}: {message}")


def _of_cut(cut: Cut, bundle: Bundle) -> dict[str, Any]:
    """How large the cut model is, and what each layer keeps."""
    groups: Mapping[str, int] = {group.name: group.units for group in cut.anatomy.groups}
    return {
        "heads": cut.heads,
        "ffn_channels": cut.channels,
        "parameters": cut.anatomy.parameters,
        "encoder_parameters": cut.anatomy.encoder_parameters,
        "encoder_parameters_fraction": cut.anatomy.encoder_parameters / bundle.anatomy.encoder_parameters,
        "units": dict(groups),
    }
