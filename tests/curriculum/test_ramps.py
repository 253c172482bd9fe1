import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.curriculum.ramps import cosine_ramp, linear_ramp, sigmoid_ramp

every_ramp = pytest.mark.parametrize("ramp", [linear_ramp, cosine_ramp, sigmoid_ramp])
progress = st.floats(0, 1)


@every_ramp
@given(first=progress, second=progress)
def test_ramps_rise_and_stay_between_their_ends(ramp, first, second):
    low, high = sorted((first, second))
    assert 0 <= ramp(low) <= ramp(high) <= 1


@every_ramp
@given(t=progress, start=st.floats(-9, 9), end=st.floats(-9, 9))
def test_ends_scale_the_ramp(ramp, t, start, end):
    assert ramp(t, start, end) == pytest.approx(start + (end - start) * ramp(t), abs=1e-9)


@every_ramp
def test_values_outside_training_are_those_at_its_ends(ramp):
    assert ramp(-0.5) == ramp(0)
    assert ramp(1.5) == ramp(1) == 1
    assert ramp(3.0, start=5.0, end=2.0) == pytest.approx(2.0)


def test_values_of_the_formulas():
    assert linear_ramp(0) == cosine_ramp(0) == 0
    assert sigmoid_ramp(0) == math.exp(-5)
    assert cosine_ramp(1 / 3) == pytest.approx(0.25)
    assert sigmoid_ramp(0.25) == pytest.approx(math.exp(-5 * 0.5625))


@every_ramp
def test_not_a_number_is_an_error(ramp):
    with pytest.raises(InputError, match="progress: expected a number"):
        ramp(math.nan)
