"""Temperature schedules against their formulas."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.curriculum.temperature import SHAPES, TemperatureSchedule

temperatures = st.floats(1e-3, 10)
shapes = st.sampled_from(SHAPES)


@given(
    shape=shapes,
    start=temperatures,
    end=temperatures,
    first=st.floats(0, 1),
    second=st.floats(0, 1),
)
def test_moves_one_way_between_its_ends(shape, start, end, first, second):
    schedule = TemperatureSchedule(start, end, shape)
    early, late = (schedule(t) for t in sorted((first, second)))
    low, high = sorted((start, end))
    assert low <= early <= high
    assert low <= late <= high
    assert (late - early) * (end - start) >= -1e-12


@given(shape=shapes, start=temperatures, end=temperatures)
def test_begins_at_start_and_ends_at_end(shape, start, end):
    schedule = TemperatureSchedule(start, end, shape)
    assert schedule(0) == schedule(-1) == pytest.approx(start, rel=1e-12)
    assert schedule(1) == schedule(7) == pytest.approx(end, rel=1e-12)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("linear", 1.0 - 0.75 * 0.99),
        ("cosine", 1.0 - 0.99 * (1 + math.sqrt(0.5)) / 2),
        ("exp", 0.01**0.75),
    ],
)
def test_values_of_the_formulas(shape, expected):
    assert TemperatureSchedule(1.0, 0.01, shape)(0.75) == pytest.approx(expected, rel=1e-12)


def test_bad_settings_are_told():
    with pytest.raises(InputError, match=r"start: expected a number in \(0"):
        TemperatureSchedule(0.0, 1.0)
    with pytest.raises(InputError, match=r"end: expected a number in \(0"):
        TemperatureSchedule(1.0, math.inf)
    with pytest.raises(InputError, match="shape: expected one of linear, cosine, exp"):
        TemperatureSchedule(1.0, 0.1, "step")
    with pytest.raises(InputError, match="progress"):
        TemperatureSchedule(1.0, 0.1, "exp")(math.nan)
