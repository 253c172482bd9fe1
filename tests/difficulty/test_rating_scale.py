import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gradatim.core.errors import InputError
from gradatim.difficulty.rating_scale import normalise_ratings, quantile_rank


@given(st.integers(0, 1000), st.floats(0.01, 100), st.floats(-1e4, 1e4))
def test_the_scale_and_that_units_do_not_matter(seed, unit, origin):
    ratings = np.random.default_rng(seed).standard_t(3, size=500)
    found = normalise_ratings(ratings).rating
    assert np.median(found) == pytest.approx(1500)
    low, high = np.quantile(found, [0.01, 0.99])
    assert high - low == pytest.approx(2000)
    other = normalise_ratings(origin + unit * ratings).rating
    np.testing.assert_allclose(other, found, atol=1e-6 * (1 + abs(origin) / unit))


def test_deviations_are_stretched_by_the_same_factor():
    ratings = np.random.default_rng(0).normal(1500, 100, size=50)
    found = normalise_ratings(ratings, np.full(50, 20.0), low=0, high=1, q=(0.1, 0.9))
    factor = (found.rating[0] - found.rating[1]) / (ratings[0] - ratings[1])
    np.testing.assert_allclose(found.deviation, 20 * factor)
    assert np.median(found.rating) == pytest.approx(0.5)


@given(arrays(np.int64, st.integers(1, 30), elements=st.integers(-5, 5)))
def test_ranks_by_brute_force(scores):
    expected = [((scores < s).sum() + 0.5 * (scores == s).sum()) / len(scores) for s in scores]
    found = quantile_rank(scores)
    np.testing.assert_allclose(found, expected)
    assert found.mean() == pytest.approx(0.5)


def test_errors():
    for call, told in (
        (lambda: normalise_ratings([]), "ratings: expected at least one number"),
        (lambda: normalise_ratings([1.0, 1.0, 1.0]), "ratings: expected different quantiles"),
        (lambda: normalise_ratings([1.0, np.nan]), "ratings: expected finite numbers, got nan"),
        (lambda: normalise_ratings([1.0, 2.0], low=3, high=3), "high"),
        (lambda: normalise_ratings([1.0, 2.0], q=(0.9, 0.1)), "q"),
        (lambda: normalise_ratings([1.0, 2.0], [1.0]), "equal lengths"),
        (lambda: quantile_rank([[1.0]]), "scores: expected at least one number in one dimension"),
    ):
        with pytest.raises(InputError, match=told):
            call()
