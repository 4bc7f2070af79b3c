"""Laws of the learning-rate schedules."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from compress.training.schedules import Schedule

KINDS = ("inverse_sqrt", "linear", "cosine", "constant")
runs = st.tuples(st.sampled_from(KINDS), st.floats(0, 0.99), st.integers(1, 300))


def _factors(kind: str, warmup: float, steps: int) -> list[float]:
    schedule = Schedule(kind=kind, warmup=warmup)
    return [schedule.factor(step, steps) for step in range(steps)]


@given(runs)
def test_every_step_moves_and_none_above_the_peak(run: tuple[str, float, int]):
    assert all(0 < factor <= 1 + 1e-12 for factor in _factors(*run))


@given(runs)
def test_the_rate_rises_and_then_falls(run: tuple[str, float, int]):
    factors = _factors(*run)
    peak = factors.index(max(factors))
    assert all(a < b for a, b in pairwise(factors[: peak + 1]))
    assert all(a >= b - 1e-12 for a, b in pairwise(factors[peak:]))


@given(runs)
def test_the_peak_is_reached(run: tuple[str, float, int]):
    assert math.isclose(max(_factors(*run)), 1.0)


def test_the_warm_up_is_linear_and_as_long_as_asked():
    factors = _factors("constant", 0.25, 40)
    assert factors[:10] == pytest.approx([step / 10 for step in range(1, 11)])
    assert set(factors[10:]) == {1.0}


def test_without_warm_up_the_first_step_has_the_full_rate():
    assert [_factors(kind, 0.0, 50)[0] for kind in KINDS] == [1.0] * 4


def test_inverse_sqrt_halves_when_the_steps_are_four_times_the_warm_up():
    assert Schedule(kind="inverse_sqrt", warmup=0.1).factor(39, 100) == pytest.approx(0.5)


def test_cosine_is_half_way_down_half_way_along():
    assert Schedule(kind="cosine", warmup=0.0).factor(50, 100) == pytest.approx(0.5)
    assert Schedule(kind="linear", warmup=0.0).factor(75, 100) == pytest.approx(0.25)


@pytest.mark.parametrize("settings", [{"warmup": 1.0}, {"warmup": -0.1}, {"kind": "steps"}, {"warm_up": 0.1}])
def test_senseless_settings_are_refused(settings: dict):
    with pytest.raises(ValidationError):
        Schedule(**settings)
