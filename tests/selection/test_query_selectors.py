import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from gradatim.core.errors import InputError
from gradatim.selection.k_center import k_center
from gradatim.selection.query_selectors import (
    KCenterSelector,
    QueryPool,
    RobustSelector,
    TopKSelector,
    UniformSelector,
    wrong_labels,
)
from gradatim.selection.robust_queries import inclusion_probabilities, robust_query_distribution

SELECTORS = (UniformSelector(), TopKSelector(), KCenterSelector(), RobustSelector())


def pool(count=40, seed=0):
    random = np.random.default_rng(seed)
    return QueryPool(random.random(count), 8, random.normal(size=(count, 3)))


@pytest.mark.parametrize("selector", SELECTORS, ids=lambda one: type(one).__name__)
@given(budget=st.integers(1, 40), seed=st.integers(0, 50))
@settings(deadline=None, max_examples=30)
def test_every_rule_gives_different_points_and_repeats_itself(selector, budget, seed):
    chosen, again = (
        selector(pool(), budget, np.random.default_rng(seed)).tolist() for _ in range(2)
    )
    assert chosen == again and len(set(chosen)) == budget
    assert set(chosen) <= set(range(40))


@pytest.mark.parametrize("selector", SELECTORS, ids=lambda one: type(one).__name__)
def test_no_rule_asks_for_more_than_there_is(selector):
    with pytest.raises(InputError, match=r"budget: expected a number in \[1, 40\], got 41"):
        selector(pool(), 41, np.random.default_rng(0))


def test_top_k_takes_the_largest_gains_and_breaks_ties_at_random():
    one = pool()
    rows = TopKSelector()(one, 5, np.random.default_rng(0))
    assert one.gains[rows].tolist() == sorted(one.gains, reverse=True)[:5]
    tied = QueryPool(np.ones(10))
    first = {int(TopKSelector()(tied, 1, np.random.default_rng(s))[0]) for s in range(60)}
    assert len(first) > 5


def test_robust_draws_follow_the_closed_form():
    one = pool()
    found = robust_query_distribution(one.gains, 8, min_support=6)
    expected = inclusion_probabilities(found.probabilities, 6)
    counts = np.zeros(40)
    random = np.random.default_rng(1)
    for _ in range(4_000):
        counts[RobustSelector()(one, 6, random)] += 1
    assert counts / 4_000 == pytest.approx(expected, abs=0.03)


def test_a_share_of_wrong_labels_is_that_of_the_pool():
    one = pool()
    for rule, same in ((RobustSelector(0.2), RobustSelector(8)), (RobustSelector(), None)):
        rows = rule(one, 6, np.random.default_rng(3)).tolist()
        other = (same or RobustSelector(8))(one, 6, np.random.default_rng(3)).tolist()
        assert rows == other
    with pytest.raises(InputError, match="num_wrong: expected how many"):
        RobustSelector()(QueryPool(np.ones(3)), 1, np.random.default_rng(0))
    with pytest.raises(InputError, match=r"num_wrong: expected a number in \[0, 1\)"):
        RobustSelector(1.0)
    with pytest.raises(InputError, match="num_wrong"):
        RobustSelector(-1)


def test_wrong_labels():
    assert [wrong_labels(a, 10) for a in (1.0, 0.8, 0.0)] == [0, 2, 9]
    with pytest.raises(InputError, match="teacher_accuracy"):
        wrong_labels(1.2, 10)


def radius(points, rows, covered=None):
    centres = points[list(rows)]
    centres = centres if covered is None else np.concatenate([covered, centres])
    return cdist(points, centres).min(axis=1).max()


@given(st.integers(2, 8), st.integers(1, 4), st.integers(0, 200))
@settings(deadline=None, max_examples=40)
def test_k_center_is_within_twice_the_best(count, budget, seed):
    budget = min(budget, count)
    points = np.random.default_rng(seed).normal(size=(count, 2))
    rows, _ = k_center(points, budget)
    best = min(radius(points, some) for some in itertools.combinations(range(count), budget))
    assert radius(points, rows) <= 2 * best + 1e-9


def test_each_choice_is_the_farthest_from_those_before():
    random = np.random.default_rng(0)
    points, covered = random.normal(size=(80, 4)), random.normal(size=(5, 4))
    rows, distances = k_center(points, 12, covered=covered)
    for place, row in enumerate(rows):
        away = cdist(points, np.concatenate([covered, points[rows[:place]]])).min(axis=1)
        assert away[row] == pytest.approx(away.max()) and distances[place] == pytest.approx(
            away.max()
        )
    assert (np.diff(distances) <= 1e-12).all()


def test_k_center_with_copies_and_half_precision():
    rows, distances = k_center(np.zeros((5, 2), dtype=np.float16), 5)
    assert sorted(rows.tolist()) == list(range(5)) and np.nan_to_num(distances).max() == 0.0
    assert k_center([[0], [4], [10]], 1)[0].tolist() == [1]


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: k_center([1.0, 2.0], 1), r"features: expected shape \[n, D\]"),
        (lambda: k_center([[1.0], [np.nan]], 1), "features: expected finite .* at row 1"),
        (lambda: k_center([[1.0]], 1, covered=[[1.0, 2.0]]), "covered: expected 1 features"),
        (lambda: k_center([[1.0]], 2), "budget"),
        (lambda: KCenterSelector()(QueryPool(np.ones(2)), 1, np.random.default_rng(0)), "features"),
    ],
)
def test_bad_input(call, told):
    with pytest.raises(InputError, match=told):
        call()
