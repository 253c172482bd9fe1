"""Pacing against the formulas, their limits, and the promise to rise and stay within bounds."""

import math

import hypothesis.strategies as st
import pytest
from hypothesis import given

from gradatim.core.errors import InputError
from gradatim.curriculum.pacing import (
    SHAPES,
    Pacing,
    competence_pacing,
    geometric_pacing,
    linear_pacing,
    root_pacing,
    step_pacing,
)

shapes = pytest.mark.parametrize("shape", SHAPES)
shares = st.floats(0.001, 1)
moments = st.floats(0, 1)


@shapes
@given(first=moments, second=moments, start=shares, end=moments, power=st.floats(0.05, 60))
def test_rises_within_its_bounds(shape, first, second, start, end, power):
    pacing = Pacing(shape, start, end, power)
    low, high = sorted((first, second))
    assert start <= pacing(low) <= pacing(high) <= 1
    assert pacing(end) == pacing(1) == 1


@shapes
@given(start=st.floats(0.001, 0.999), end=st.floats(0.01, 1))
def test_begins_at_start_and_values_outside_training_are_those_at_its_ends(shape, start, end):
    pacing = Pacing(shape, start, end)
    assert pacing(0) == pytest.approx(start, rel=1e-12) and pacing(-3) == pacing(0)
    assert pacing(2.5) == 1


@given(t=moments, start=shares, end=st.floats(0.05, 1), power=st.floats(0.2, 20))
def test_root_solves_its_own_equation(t, start, end, power):
    # c^p moves in a straight line from start^p to 1
    share = min(1, t / end)
    straight = share + (1 - share) * start**power
    assert root_pacing(t, start, end, power) ** power == pytest.approx(straight, rel=1e-9)


def test_the_power_of_the_root_is_used():
    values = [root_pacing(0.3, 0.1, power=power) for power in (1, 2, 3, 5, 10)]
    assert values == sorted(values) and len(set(values)) == 5
    assert values[1] == pytest.approx(math.sqrt(0.3 * (1 - 0.01) + 0.01))
    assert values[2] == pytest.approx((0.3 * (1 - 0.001) + 0.001) ** (1 / 3))


@given(t=moments, start=shares, end=st.floats(0.05, 1))
def test_power_one_is_linear_and_two_is_competence(t, start, end):
    assert root_pacing(t, start, end, 1.0) == pytest.approx(linear_pacing(t, start, end))
    assert root_pacing(t, start, end, 2.0) == competence_pacing(t, start, end)


@given(t=moments, start=shares)
def test_geometric_grows_by_a_constant_factor(t, start):
    half = geometric_pacing(t / 2, start)
    assert half**2 == pytest.approx(start * geometric_pacing(t, start))


@given(t=moments, start=st.floats(0, 1))
def test_many_steps_are_a_line(t, start):
    assert step_pacing(t, start, steps=10**6) == pytest.approx(linear_pacing(t, start), abs=2e-6)


def test_steps_have_equal_height_and_no_stair_is_missed():
    for steps in range(1, 50):
        values = [step_pacing(j / steps * 0.7, 0.0, 0.7, steps) for j in range(steps + 1)]
        assert values == pytest.approx([j / steps for j in range(steps + 1)])
    assert step_pacing(0.999, 0.3, steps=1) == 0.3


def test_one_data_point_after_another_at_a_constant_rate():
    # what root pacing is for: the rate of new data falls as 1 / c, so that time a datum is equal
    eps = 1e-6
    for t in (0.1, 0.5, 0.9):
        rate = (competence_pacing(t + eps, 0.1) - competence_pacing(t - eps, 0.1)) / (2 * eps)
        assert rate * competence_pacing(t, 0.1) == pytest.approx((1 - 0.01) / 2, rel=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [(lambda: Pacing("cubic"), "shape: expected one of linear"),
     (lambda: Pacing("linear", start=1.5), "start: expected"),
     (lambda: Pacing("root", power=0), "power: expected"),
     (lambda: Pacing("geometric", start=0), "start: expected"),
     (lambda: Pacing("step", steps=0), "steps: expected"),
     (lambda: Pacing("linear", end=-0.1), "end: expected"),
     (lambda: linear_pacing(math.nan), "progress: expected")],
)  # fmt: skip
def test_wrong_settings(call, message):
    with pytest.raises(InputError, match=message):
        call()
