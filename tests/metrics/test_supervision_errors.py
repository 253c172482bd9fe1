"""Error rates of supervision: hand values, bounds, bad input."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.metrics.supervision_errors import (
    outcome_error_rate,
    step_error_rates,
    stepwise_error_rate,
)

solutions = st.lists(st.lists(st.booleans(), min_size=1, max_size=6), min_size=1, max_size=8)


def test_one_slip_that_is_then_computed_with():
    """Four steps, the second wrong, the later ones consistent with it: the answer is wrong."""
    assert outcome_error_rate([False]) == 1.0
    assert stepwise_error_rate([[True, False, True, True]]) == 0.25


@given(solutions)
def test_rates_equal_counts(flags):
    expected = [sum(not one for one in row) / len(row) for row in flags]
    np.testing.assert_allclose(step_error_rates(flags), expected)
    assert stepwise_error_rate(flags) == pytest.approx(sum(expected) / len(expected))
    ends = [row[-1] for row in flags]
    assert outcome_error_rate(ends) == pytest.approx(ends.count(False) / len(ends))


def test_solutions_weigh_alike_whatever_their_length():
    assert stepwise_error_rate([[False], [True] * 9]) == 0.5


def test_arrays_tensors_and_numbers_are_taken():
    for flags in (np.array([1, 0]), torch.tensor([True, False]), [1.0, 0.0]):
        assert outcome_error_rate(flags) == 0.5
        assert step_error_rates([flags]).tolist() == [0.5]


@pytest.mark.parametrize("flags", [[], [[True]], True])
def test_shapes(flags):
    with pytest.raises(InputError, match="right: expected one row of at least one value"):
        outcome_error_rate(flags)


def test_bad_values_name_their_solution():
    with pytest.raises(InputError, match=r"right: expected booleans or 0 and 1, got 0\.5"):
        outcome_error_rate([1, 0.5])
    with pytest.raises(InputError, match=r"steps_right\[1\]: expected booleans or 0 and 1, got 2"):
        step_error_rates([[1, 0], [1, 2]])
    with pytest.raises(InputError, match=r"steps_right\[1\]: expected one row of at least one"):
        step_error_rates([[1, 0], []])
    with pytest.raises(InputError, match="steps_right: expected at least one solution, got none"):
        stepwise_error_rate([])
