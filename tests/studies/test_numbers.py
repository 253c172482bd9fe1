import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.studies import numbers
from gradatim.studies.numbers import MINUS

FINITE = st.floats(-1e6, 1e6)


@given(st.floats(1e-5, 1e3))
def test_decimals_show_one_or_two_digits_of_the_uncertainty(width):
    decimals = numbers.decimals_for([width])
    digits = round(width * 10**decimals)
    if 0 < decimals < numbers.MOST_DECIMALS:
        assert 3 <= digits <= 36


@given(FINITE, st.integers(0, 6))
def test_fixed_reads_back(value, decimals):
    text = numbers.fixed(value, decimals)
    assert "-" not in text
    assert float(text.replace(MINUS, "-")) == pytest.approx(value, abs=0.5001 * 10**-decimals)


@given(st.floats(0.001, 10), st.floats(-9, 9), st.floats(-1, 1))
def test_an_interval_shows_on_which_side_of_the_threshold_it_ends(width, middle, threshold):
    low, high = middle - width, middle + width
    text = numbers.interval_text(middle, low, high, threshold=threshold)
    ends = text.replace(MINUS, "-").partition("[")[2].rstrip("]").split(", ")
    for end, told in zip((low, high), ends, strict=True):
        if abs(end - threshold) > 2e-6:
            shown = float(told) - round(threshold, 6)
            assert math.copysign(1, shown) == math.copysign(1, end - threshold) or shown == 0


def test_an_end_just_short_of_the_threshold_does_not_look_as_if_on_it():
    text = numbers.interval_text(-0.004, -0.0079, -0.0001)
    assert text == f"{MINUS}0.0040 [{MINUS}0.0079, {MINUS}0.0001]"
    assert numbers.interval_text(0.0, 0.0, 0.0) == "0.000 [0.000, 0.000]"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_json_gets_no_number_that_it_cannot_hold(value):
    assert numbers.finite_or_none(value) is None
