"""The steps of a gradual cut: each takes less than the one before, and the last ends at the target."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.pruning.schedule import fractions

finals = st.floats(0.01, 0.99)


@given(final=finals, steps=st.integers(1, 30))
def test_every_step_cuts_and_the_last_ends_at_the_target_to_the_bit(final: float, steps: int):
    left = fractions(final, steps)
    assert len(left) == steps
    assert left[-1] == final
    assert all(before > after for before, after in pairwise([1.0, *left]))


@given(final=finals, steps=st.integers(2, 30))
def test_each_step_takes_less_than_the_one_before(final: float, steps: int):
    taken = [before - after for before, after in pairwise([1.0, *fractions(final, steps)])]
    assert all(before > after for before, after in pairwise(taken))


def test_one_step_takes_all_at_once():
    assert fractions(0.33, 1) == [0.33]


@given(final=finals, steps=st.integers(1, 10))
def test_twice_as_many_steps_pass_through_the_same_fractions(final: float, steps: int):
    assert fractions(final, 2 * steps)[1::2] == pytest.approx(fractions(final, steps))


def test_sparsity_follows_the_cubic_of_the_paper():
    """Zhu & Gupta's own case: from 0 to 87.5 % sparsity; after half the time, 7/8 of it is reached."""
    half, end = fractions(0.125, 2)
    assert 1 - half == pytest.approx(0.875 * 7 / 8)
    assert end == 0.125
