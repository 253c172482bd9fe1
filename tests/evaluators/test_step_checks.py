"""Two definitions of a wrong step."""

import pytest

from gradatim.core.errors import InputError
from gradatim.evaluators.step_checks import check_steps


def counts_up(before, step):
    return step == (0 if before is None else before) + 1


def test_a_slip_that_is_computed_with_is_one_wrong_step_or_all_from_there_on():
    written, right = [1, 7, 8, 9], [1, 2, 3, 4]
    assert check_steps(written, follows=counts_up) == [True, False, True, True]
    assert check_steps(written, reference=right, definition="global") == [True, False, False, False]


def test_an_error_that_is_undone_is_wrong_twice_locally():
    written = [1, 7, 3, 4]
    assert check_steps(written, follows=counts_up) == [True, False, False, True]
    judged = check_steps(written, reference=[1, 2, 3, 4], definition="global")
    assert judged == [True, False, True, True]


def test_steps_beyond_the_reference_are_wrong_and_missing_ones_are_not_judged():
    assert check_steps([1, 2], reference=[1], definition="global") == [True, False]
    assert check_steps([1], reference=[1, 2], definition="global") == [True]
    assert check_steps([], follows=counts_up) == []


def test_sameness_can_be_told():
    judged = check_steps(["a ", "B"], reference=["a", "b"], definition="global",
                         same=lambda one, other: one.strip().lower() == other)  # fmt: skip
    assert judged == [True, True]


def test_bad_input():
    with pytest.raises(InputError, match="definition: expected one of local, global, got 'both'"):
        check_steps([1], follows=counts_up, definition="both")
    with pytest.raises(InputError, match="follows: expected a function for the local definition"):
        check_steps([1], reference=[1])
    with pytest.raises(InputError, match="reference: expected a right solution for the global"):
        check_steps([1], follows=counts_up, definition="global")
