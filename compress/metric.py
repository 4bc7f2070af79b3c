"""What judges a model's decisions: `Metric`. One file of `evaluation/metrics/` holds one metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from compress import catalog
from compress.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, Shaped

    from compress.task import Target, Task

Reads = Literal["decisions", "predictions"]
"""Which a metric judges: what the task decides, or the predictions themselves, which say how sure it is."""


class Metric(Protocol):
    """A figure of quality, in two steps: what there is to know of each example, and the figure of any examples.

    So a resample of the examples is an index into the evidence.
    """

    unit: ClassVar[str]
    higher_is_better: ClassVar[bool]
    relative_drop: ClassVar[bool]
    """Whether what is lost is said as a fraction of the baseline's value, not in the metric's unit."""
    targets: ClassVar[tuple[Target | None, ...]]
    """The tasks' targets that it can judge."""
    reads: ClassVar[Reads]
    overstates: ClassVar[bool]
    """Whether a sample's own noise makes the figure larger, so that a resample's lies beyond the sample's as much as
    the sample's beyond the true one."""

    def evidence(
        self, truth: Shaped[np.ndarray, "example ..."] | None, judged: Shaped[np.ndarray, "example ..."], /
    ) -> Shaped[np.ndarray, "example column"]:
        """All that the metric needs to know of each example.

        One column of 0 and 1 says whether the example is right.

        Args:
            truth: the split's labels; None for a task without.
            judged: what the task's `decide` gives, or its predictions, as `reads` says.
        """

    def value(self, evidence: Shaped[np.ndarray, "*rows example column"]) -> Float[np.ndarray, "*rows"]:
        """The metric of the examples of each row."""

    def ends(
        self, evidence: Shaped[np.ndarray, "example column"]
    ) -> tuple[Shaped[np.ndarray, "example column"], Shaped[np.ndarray, "example column"]]:
        """The evidence, were every example decided as well as can be; and as badly.

        Where two models never differ on a sample, this tells what examples on which they do could change.
        """


def metrics_for(target: Target | None) -> tuple[str, ...]:
    """The names of the metrics that can judge tasks with such labels, sorted.

    >>> metrics_for("span")
    ('exact_match', 'span_f1')
    """
    return tuple(name for name in catalog.names("metrics") if target in catalog.load("metrics", name).targets)


def metric_of(name: str, target: Target | None, *, labels: Sequence[str] = (), contexts: Sequence[str] = ()) -> Metric:
    """The metric called `name`, told what it asks for.

    Args:
        name: one of `metrics_for(target)`.
        target: what the task's labels are.
        labels: the names of the model's labels.
        contexts: the text of each example that answers are cut out of.

    Raises:
        DataError: there is no such metric, or it does not judge such labels; the message names those that do.
    """
    fitting = metrics_for(target)
    if name not in fitting:
        hint = catalog.closest(name, fitting)
        raise DataError(f"metric {name!r} does not fit {_called(target)}; wanted one of {', '.join(fitting)}{hint}")
    chosen = catalog.load("metrics", name)
    known = {"target": target, "classes": len(labels), "names": tuple(labels), "texts": tuple(contexts)}
    metric: Metric = chosen(**{field: value for field, value in known.items() if field in chosen.model_fields})
    return metric


def evidence_of(
    metric: Metric,
    task: Task,
    truth: Shaped[np.ndarray, "example ..."] | None,
    predictions: Float[np.ndarray, "example ..."],
) -> Shaped[np.ndarray, "example column"]:
    """What a metric needs to know of each example that `task` made predictions for."""
    return metric.evidence(truth, predictions if metric.reads == "predictions" else task.decide(predictions))


def _called(target: Target | None) -> str:
    return "a task without labels" if target is None else f"a task whose labels are of the kind {target!r}"
