"""Laws that every metric keeps, and what it does with a resample; what each one counts is in the file of its kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from compress import catalog
from compress.errors import DataError
from compress.metric import Metric, metric_of, metrics_for
from compress.task import Target
from evaluation.quality.quality import drop_of
from evaluation.statistics.shares import unseen

TARGETS: tuple[Target | None, ...] = ("class", "classes", "number", "tags", "span", None)
TAGS = ("O", "B-person", "I-person", "B-place", "I-place")
WORDS = tuple(f"word{number}" for number in range(12))
CONTEXT = " ".join(WORDS)
EXAMPLES = 40

Data = tuple[np.ndarray | None, np.ndarray]
"""Truth and decisions."""


def classes(random: np.random.Generator) -> Data:
    truth = random.integers(0, 3, EXAMPLES)
    return truth, np.where(random.random(EXAMPLES) < 0.7, truth, random.integers(0, 3, EXAMPLES))


def several(random: np.random.Generator) -> Data:
    truth = (random.random((EXAMPLES, 3)) < 0.4).astype(np.int8)
    return truth, np.where(random.random(truth.shape) < 0.8, truth, 1 - truth).astype(np.int8)


def numbers(random: np.random.Generator) -> Data:
    truth = random.normal(size=EXAMPLES)
    return truth, truth + random.normal(size=EXAMPLES)


def tags(random: np.random.Generator) -> Data:
    truth = random.integers(0, len(TAGS), (EXAMPLES, 7))
    decisions = np.where(random.random(truth.shape) < 0.7, truth, random.integers(0, len(TAGS), truth.shape))
    beyond = np.arange(7) >= random.integers(2, 8, (EXAMPLES, 1))
    return np.where(beyond, -100, truth), np.where(beyond, -100, decisions)


def spans(random: np.random.Generator) -> Data:
    truth = np.array([[_span(random), _span(random)] for _ in range(EXAMPLES)])
    same = random.random((EXAMPLES, 1)) < 0.5
    return truth, np.where(same, truth[:, 0], np.array([_span(random) for _ in range(EXAMPLES)]))


def masks(random: np.random.Generator) -> Data:
    decisions = np.stack([np.ones((EXAMPLES, 4)), np.ones((EXAMPLES, 4)), random.exponential(2, (EXAMPLES, 4))], -1)
    decisions[np.arange(4) >= random.integers(1, 5, (EXAMPLES, 1))] = np.nan
    return None, decisions


def _span(random: np.random.Generator) -> tuple[int, int]:
    """Some words of the context, or no answer."""
    first = int(random.integers(-2, len(WORDS)))
    if first < 0:
        return -1, -1
    last = min(first + int(random.integers(0, 4)), len(WORDS) - 1)
    return len(" ".join([*WORDS[:first], ""])), len(" ".join(WORDS[: last + 1]))


DATA: dict[Target | None, Callable[[np.random.Generator], Data]] = {
    "class": classes,
    "classes": several,
    "number": numbers,
    "tags": tags,
    "span": spans,
    None: masks,
}
EVERY = [pytest.param(name, target, id=f"{name}-{target}") for target in TARGETS for name in metrics_for(target)]


def asked(name: str, target: Target | None) -> Any:
    """The metric as it is told about such data."""
    labels = {"class": ("a", "b", "c"), "classes": ("a", "b", "c"), "tags": TAGS}.get(str(target), ())
    return metric_of(name, target, labels=labels, contexts=(CONTEXT,) * EXAMPLES)


def told(metric: Metric, truth: np.ndarray | None, decisions: np.ndarray) -> np.ndarray:
    """The metric's evidence; one that reads predictions is given scores that leave no doubt of the decisions."""
    judged = 50 * np.eye(3)[decisions] if metric.reads == "predictions" else decisions
    return metric.evidence(truth, judged)


@pytest.mark.parametrize(("name", "target"), EVERY)
class TestEveryMetric:
    def test_a_resample_is_an_index_into_the_evidence(self, name: str, target: Target | None) -> None:
        truth, decisions = DATA[target](np.random.default_rng(0))
        metric = asked(name, target)
        drawn = np.random.default_rng(1).integers(0, EXAMPLES, EXAMPLES)
        found = told(metric, truth, decisions)
        again = told(metric, None if truth is None else truth[drawn], decisions[drawn])
        assert found.ndim == 2
        assert np.isfinite(found).all()
        assert metric.value(found[drawn]) == pytest.approx(float(metric.value(again)), abs=1e-12)

    def test_the_examples_of_each_row_are_judged_by_themselves(self, name: str, target: Target | None) -> None:
        metric = asked(name, target)
        known = told(metric, *DATA[target](np.random.default_rng(0)))
        drawn = np.random.default_rng(1).integers(0, EXAMPLES, (2, 3, EXAMPLES))
        found = metric.value(known[drawn])
        assert found.shape == (2, 3)
        alone = [[metric.value(known[row]) for row in block] for block in drawn]
        np.testing.assert_allclose(found, alone, atol=1e-12)
        assert metric.value(known).shape == ()

    def test_the_order_of_examples_does_not_count(self, name: str, target: Target | None) -> None:
        metric = asked(name, target)
        found = told(metric, *DATA[target](np.random.default_rng(0)))
        order = np.random.default_rng(1).permutation(EXAMPLES)
        assert metric.value(found[order]) == pytest.approx(float(metric.value(found)))

    def test_a_model_that_errs_more_is_judged_worse(self, name: str, target: Target | None) -> None:
        truth, decisions = DATA[target](np.random.default_rng(0))
        shuffled = decisions[np.random.default_rng(1).permutation(EXAMPLES)]
        if target is None:
            shuffled = decisions * np.array([1, 1, 1.5])
        metric = asked(name, target)
        good, bad = (float(metric.value(told(metric, truth, side))) for side in (decisions, shuffled))
        assert good > bad if metric.higher_is_better else good < bad

    def test_the_ends_of_decisions_are_the_best_and_the_worst(self, name: str, target: Target | None) -> None:
        metric = asked(name, target)
        known = told(metric, *DATA[target](np.random.default_rng(0)))
        best, worst = metric.ends(known)
        assert best.shape == worst.shape == known.shape
        figures = [float(metric.value(each)) for each in (best, known, worst)]
        assert sorted(figures, reverse=metric.higher_is_better) == figures
        assert figures[0] == pytest.approx(1.0 if metric.higher_is_better or target is None else 0.0)

    def test_decided_alike_throughout_is_a_tie_but_no_certainty(self, name: str, target: Target | None) -> None:
        """No more of the examples than may differ unseen can move the figure out of the interval, whichever they are;
        and twice as many examples are surer."""
        metric, random = asked(name, target), np.random.default_rng(2)
        known = told(metric, *DATA[target](np.random.default_rng(0)))
        found, surer = (
            drop_of(metric, each, each, seed=0, margin=0.05, resamples=40) for each in (known, np.tile(known, (2, 1)))
        )
        assert found.low < surer.low < 0 < surer.high < found.high == -found.low
        assert (found.value, found.p_value, found.verdict) == (0.0, 1.0, "tie")
        for side in (found, surer):
            assert side.margin_p_value is not None
            assert (side.margin_p_value < 0.025) == (side.high < 0.05)
        now, few = float(metric.value(known)), int(unseen(EXAMPLES, confidence=0.95) * EXAMPLES)
        unit = now if metric.relative_drop else 1.0
        for end in metric.ends(known):
            for _ in range(20):
                changed, places = known.astype(float), random.permutation(EXAMPLES)[:few]
                changed[places] = end[places]
                moved = float(metric.value(changed.astype(end.dtype))) - now
                assert abs(moved) / unit <= found.high + 1e-9

    def test_the_truth_itself_is_judged_perfect(self, name: str, target: Target | None) -> None:
        truth, decisions = DATA[target](np.random.default_rng(0))
        if target is None:
            decisions = decisions * np.array([1, 1, 0])  # certain of every token
        if target == "span":
            assert truth is not None
            decisions = np.where(truth[:, 0] >= 0, truth[:, 0], truth[:, 1])  # the first that is no padding
        elif truth is not None:
            decisions = truth
        metric = asked(name, target)
        best = 1.0 if metric.higher_is_better or target is None else 0.0  # no perplexity is below 1
        assert metric.value(told(metric, truth, decisions)) == pytest.approx(best)


def test_every_target_has_a_metric_and_every_metric_a_target() -> None:
    found = {target: metrics_for(target) for target in TARGETS}
    assert all(found.values())
    assert {name for names in found.values() for name in names} == set(catalog.names("metrics"))


def test_a_metric_that_does_not_fit_is_refused_with_those_that_do() -> None:
    with pytest.raises(DataError, match=r"'accuracy' does not fit .*'span'; wanted one of exact_match, span_f1"):
        metric_of("accuracy", "span")
    with pytest.raises(
        DataError, match=r"'perplexty' does not fit a task without labels; .* did you mean 'perplexity'"
    ):
        metric_of("perplexty", None)


def test_a_metric_is_told_what_it_asks_for_and_no_more() -> None:
    known: dict[str, Any] = {"labels": ("a", "b"), "contexts": ("c", "d")}
    assert metric_of("f1", "class", **known).model_dump()["classes"] == 2  # type: ignore[attr-defined]
    assert metric_of("entity_f1", "tags", **known).model_dump() == {"names": ("a", "b")}  # type: ignore[attr-defined]
    assert metric_of("span_f1", "span", **known).model_dump() == {"texts": ("c", "d")}  # type: ignore[attr-defined]
    assert metric_of("matthews", "class", **known).model_dump() == {}  # type: ignore[attr-defined]


def test_a_metric_keeps_the_protocol() -> None:
    wanted = {*Metric.__annotations__, "evidence", "value", "ends"}
    for name in catalog.names("metrics"):
        assert wanted <= set(dir(catalog.load("metrics", name))), name
