"""Retrieval metrics against brute force and scikit-learn; ties never help."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from gradatim.core.errors import InputError
from gradatim.metrics.retrieval import ndcg_at, precision_at, recall_at, reciprocal_rank


def ranked(scores, grades):
    """Grades in the order of a ranking whose ties are the worst possible."""
    return [g for _, g in sorted(zip(scores, grades, strict=True), key=lambda p: (-p[0], p[1]))]


def brute_force(scores, grades, k):
    order = ranked(scores, grades)
    first = next((1 / r for r, g in enumerate(order[:k], 1) if g > 0), 0.0)
    hits = sum(g > 0 for g in order[:k])
    gain = sum(g / math.log2(1 + r) for r, g in enumerate(order[:k], 1))
    best = sum(g / math.log2(1 + r) for r, g in enumerate(sorted(grades, reverse=True)[:k], 1))
    total = sum(g > 0 for g in grades)
    return first, hits / k, hits / total if total else 0.0, gain / best if best else 0.0


@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(1, 9), min_size=1, max_size=5),
    st.integers(1, 10),
)
def test_many_queries_in_any_order_equal_one_by_one(seed, sizes, k):
    rng = np.random.default_rng(seed)
    query = np.repeat(np.arange(len(sizes)), sizes)
    scores, grades = rng.integers(0, 5, len(query)) / 4, rng.integers(0, 4, len(query)) // 2
    wanted = np.array(
        [brute_force(scores[query == q], grades[query == q], k) for q in range(len(sizes))]
    )
    mixed = rng.permutation(len(query))
    given_rows = scores[mixed], grades[mixed], query[mixed]
    found = np.stack(
        [
            reciprocal_rank(*given_rows, k=k),
            precision_at(*given_rows, k=k),
            recall_at(*given_rows, k=k),
            ndcg_at(*given_rows, k=k),
        ],
        axis=1,
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("k", [1, 5, None])
def test_ndcg_is_that_of_scikit_learn(k):
    rng = np.random.default_rng(0)
    scores, grades = rng.normal(size=(20, 12)), rng.integers(0, 4, (20, 12))
    query = np.repeat(np.arange(20), 12)
    for exponential, gain in ((False, grades), (True, 2**grades - 1)):
        found = ndcg_at(scores.ravel(), grades.ravel(), query, k=k, exponential=exponential).mean()
        assert found == pytest.approx(ndcg_score(gain, scores, k=k, ignore_ties=True))


def test_one_score_for_all_gains_nothing_from_the_order_of_the_answers():
    scores, query = np.zeros(5), np.zeros(5)
    for grades in ([1, 0, 0, 0, 0], [0, 0, 0, 0, 1]):
        assert reciprocal_rank(scores, grades, query).tolist() == [0.2]
        assert precision_at(scores, grades, query).tolist() == [0.0]
        assert ndcg_at(scores, grades, query).tolist() == [1 / math.log2(6)]


def test_a_perfect_and_a_reversed_ranking():
    grades, query = [3, 1, 0, 0], [5, 5, 5, 5]
    for metric in (reciprocal_rank, precision_at, ndcg_at):
        assert metric([4, 3, 2, 1], grades, query).tolist() == [1.0]
    assert reciprocal_rank([1, 2, 3, 4], grades, query).tolist() == [1 / 3]
    assert reciprocal_rank([1, 2, 3, 4], grades, query, k=2).tolist() == [0.0]


def test_queries_are_by_rising_id_and_may_have_nothing_relevant():
    scores, grades, query = [1, 2, 1, 2], [1, 0, 0, 0], ["b", "b", "a", "a"]
    assert reciprocal_rank(scores, grades, query).tolist() == [0.0, 0.5]
    assert recall_at(scores, grades, query, k=2).tolist() == [0.0, 1.0]
    assert ndcg_at(scores, grades, query).tolist() == [0.0, 1 / math.log2(3)]


def test_recall_counts_what_was_not_retrieved():
    scores, grades, query = [3, 2, 1, 1], [1, 0, 1, 1], [0, 0, 0, 1]
    assert recall_at(scores, grades, query, k=3, total=[4, 1]).tolist() == [0.5, 1.0]
    for total in ([1, 1], [4]):
        with pytest.raises(InputError, match=r"total: expected shape \[2\] and no fewer"):
            recall_at(scores, grades, query, k=3, total=total)


@pytest.mark.parametrize(
    ("scores", "grades", "query", "k", "message"),
    [
        ([], [], [], 1, r"scores: expected shape \[N\]"),
        ([[1]], [1], [1], 1, r"scores: expected shape \[N\]"),
        ([1, 2], [1], [1, 1], 1, "expected equal lengths"),
        ([math.nan, 1], [1, 1], [1, 1], 1, "scores: expected finite numbers"),
        ([1, 1], [1, -1], [1, 1], 1, "relevance: expected grades from 0, got -1"),
        ([1, 1], [1, 1], [1, 1], 0, "k: expected a number"),
    ],
)
@pytest.mark.parametrize("metric", [reciprocal_rank, precision_at, recall_at, ndcg_at])
def test_bad_input(metric, scores, grades, query, k, message):
    with pytest.raises(InputError, match=message):
        metric(scores, grades, query, k=k)
