import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from gradatim.studies.labels import spread, trim

PLACES = st.lists(st.floats(0, 100), min_size=1, max_size=7)


@given(PLACES, st.floats(0.5, 12))
def test_labels_do_not_touch_keep_their_order_and_stay_inside(places, gap):
    moved = spread(places, gap, 0.0, 100.0)
    ordered = [moved[i] for i in sorted(range(len(places)), key=lambda i: places[i])]
    assert all(b - a >= gap - 1e-9 for a, b in itertools.pairwise(ordered))
    assert ordered[0] >= -1e-9 and ordered[-1] <= 100 + 1e-9


@given(st.lists(st.floats(30, 70), min_size=2, max_size=5), st.floats(1, 9))
def test_labels_move_as_little_as_can_be(places, gap):
    places = sorted(places)
    moved = np.array(spread(places, gap, 0.0, 100.0))
    constraints = [
        {"type": "ineq", "fun": lambda x, i=i: x[i + 1] - x[i] - gap}
        for i in range(len(places) - 1)
    ]
    start = np.linspace(20, 80, len(places))
    best = minimize(lambda x: ((x - places) ** 2).sum(), start, constraints=constraints)
    assert ((moved - places) ** 2).sum() <= best.fun + 1e-4


def test_labels_apart_stay_where_they_are():
    assert spread([5.0, 50.0, 20.0], 10, 0, 100) == [5.0, 50.0, 20.0]


@pytest.mark.parametrize("length", [1, 5, 28, 29, 60])
def test_trim(length):
    text = trim("x" * length)
    assert len(text) <= 28 and (text == "x" * length) == (length <= 28)
