import itertools
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.metrics.pass_at_k import pass_at_k


def test_known_value():
    assert pass_at_k(4, 1, 2) == 0.5


@pytest.mark.parametrize("n", range(1, 7))
def test_equals_enumeration_of_all_subsets(n):
    for c in range(n + 1):
        right = [True] * c + [False] * (n - c)
        for k in range(1, n + 1):
            subsets = list(itertools.combinations(right, k))
            assert pass_at_k(n, c, k) == pytest.approx(np.mean([any(one) for one in subsets]))


@given(st.data())
def test_equals_the_ratio_of_binomials_at_any_size(data):
    n = data.draw(st.integers(1, 2000))
    c = data.draw(st.integers(0, n))
    k = data.draw(st.integers(1, n))
    exact = 1 - comb(n - c, k) / comb(n, k) if n - c >= k else 1.0
    assert pass_at_k(n, c, k) == pytest.approx(exact, abs=1e-12)


def test_arrays_broadcast():
    n, c = np.array([4, 10, 10]), np.array([1, 0, 3])
    found = pass_at_k(n[:, None], c[:, None], [1, 2])
    assert found.shape == (3, 2)
    assert found[0].tolist() == [0.25, 0.5] and found[1].tolist() == [0, 0]
    assert pass_at_k([], [], 1).shape == (0,)


@pytest.mark.parametrize(
    ("n", "c", "k", "told"),
    [
        (4, 1, 5, "k: expected integers from 1 to n, got 5 with n = 4"),
        ([4, 3], [1, 1], 4, "got 4 with n = 3 at row 1"),
        (4, 1, 0, "k: expected integers from 1 to n, got 0"),
        (4, 5, 1, "c: expected integers from 0 to n, got 5"),
        (4.0, 1, 1, "n: expected integers, got float64"),
    ],
)
def test_bad_input(n, c, k, told):
    with pytest.raises(InputError, match=told):
        pass_at_k(n, c, k)
