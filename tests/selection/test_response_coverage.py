import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.selection.response_coverage import coverage, easy_lean, lorenz_curve

ROWS = st.lists(
    st.tuples(st.integers(0, 9), st.sampled_from([0.0, 0.1, 0.5, 1.0])), min_size=1, max_size=40
)


@given(ROWS)
def test_levels_are_bins(rows):
    counts, level = map(np.array, zip(*rows, strict=True))
    bins = coverage(counts, level, trials=counts * 2)
    assert [one.low for one in bins] == sorted(set(level))
    for one in bins:
        own = counts[level == one.low]
        assert one.low == one.high and one.questions == len(own)
        assert one.covered == (own > 0).mean() and one.responses == own.sum()
        assert one.trials == 2 * one.responses
    assert coverage(counts, level)[0].trials is None


@given(st.lists(st.floats(0, 1), min_size=3, max_size=60), st.integers(1, 6))
def test_many_difficulties_share_bins(level, most):
    bins = coverage(np.ones(len(level)), level, bins=most)
    assert len(bins) <= most and sum(one.questions for one in bins) == len(level)
    assert all(a.high < b.low for a, b in itertools.pairwise(bins))


def test_lorenz_curves():
    x, share = lorenz_curve([4, 3, 2, 1], [0.1, 0.2, 0.3, 0.4])
    assert x.tolist() == [0, 0.25, 0.5, 0.75, 1] and share.tolist() == [0, 0.4, 0.7, 0.9, 1]
    tied = lorenz_curve([3, 1, 0], [0.1, 0.1, 0.9])[1]
    assert tied == pytest.approx([0, 0.5, 1, 1])
    assert easy_lean([0, 0, 5], [1, 2, 3]) == pytest.approx(-2 / 3)


@given(ROWS)
def test_the_curve_does_not_depend_on_the_order_of_rows(rows):
    counts, level = map(np.array, zip(*rows, strict=True))
    if not counts.sum():
        with pytest.raises(InputError, match="counts: expected at least one response"):
            lorenz_curve(counts, level)
        return
    share = lorenz_curve(counts, level)[1]
    assert (np.diff(share) >= -1e-12).all() and share[-1] == pytest.approx(1.0)
    turned = lorenz_curve(counts[::-1], level[::-1])[1]
    assert turned == pytest.approx(share)
    assert easy_lean(counts, level) == pytest.approx(-easy_lean(counts, -level), abs=1e-12)


@pytest.mark.parametrize(
    ("counts", "difficulty", "told"),
    [
        ([1, 2], [1.0], "counts has 2, difficulty has 1"),
        ([], [], r"counts: expected shape \[N\]"),
        ([1, -1], [1.0, 2.0], "counts: expected numbers of at least 0, got -1 at row 1"),
        ([1, 1], [1.0, np.nan], "difficulty: expected finite numbers"),
    ],
)
def test_bad_input(counts, difficulty, told):
    with pytest.raises(InputError, match=told):
        coverage(counts, difficulty)
