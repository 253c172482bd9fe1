import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from gradatim.core.errors import InputError
from gradatim.difficulty.description_length import mdl_difficulty, usable_sizes

X = np.arange(40.0)[:, None]
y = np.arange(40) % 4


def constant(X, labels, queries):
    return np.full((len(queries), 4), 0.25)


def perfect(X, labels, queries):
    return np.eye(4)[queries[:, 0].astype(int) % 4]


def test_ends_of_the_scale():
    np.testing.assert_allclose(mdl_difficulty(constant, X, y, X, y), 0.75)
    np.testing.assert_allclose(mdl_difficulty(perfect, X, y, X, y), 0.0)
    np.testing.assert_allclose(mdl_difficulty(constant, X, y, X, y, code="bits"), 2.0)


def test_a_further_size_leaves_a_constant_score_alone():
    few = mdl_difficulty(constant, X, y, X, y, sizes=(5,))
    np.testing.assert_allclose(mdl_difficulty(constant, X, y, X, y, sizes=(5, 20)), few)


def test_is_the_mean_over_sizes_and_resamples():
    seen = []

    def spy(X, labels, queries):
        seen.append((X[:, 0].astype(int), labels))
        return np.full((len(queries), 4), len(labels) / 100)

    score = mdl_difficulty(spy, X, y, X[:3], y[:3], sizes=(5, 20), n_bootstrap=2)
    np.testing.assert_allclose(score, 1 - (0.05 + 0.2) / 2)
    assert [len(rows) for rows, _ in seen] == [5, 20, 5, 20]
    for rows, labels in seen:
        assert len(set(rows)) == len(rows) and (labels == y[rows]).all()
    assert list(seen[0][0]) == list(seen[1][0][:5]) and list(seen[0][0]) != list(seen[2][0])


def test_what_is_far_from_the_border_is_easier():
    random = np.random.default_rng(0)
    X = random.normal(size=(400, 2))
    y = (X[:, 0] > 0).astype(int)

    def probe(X, labels, queries):
        if len(set(labels)) < 2:
            return np.full((len(queries), 2), 0.5)
        return LogisticRegression().fit(X, labels).predict_proba(queries)

    score = mdl_difficulty(probe, X[200:], y[200:], X[:200], y[:200], sizes=(20, 80))
    assert np.corrcoef(score, -abs(X[:200, 0]))[0, 1] > 0.8


def test_nan_is_passed_over():
    def half(X, labels, queries):
        p = constant(X, labels, queries)
        return p if len(labels) > 5 else p * np.nan

    assert mdl_difficulty(half, X, y, X[:1], y[:1], sizes=(5, 20)).tolist() == [0.75]
    assert np.isnan(mdl_difficulty(half, X, y, X[:1], y[:1], sizes=(5,))).all()


@given(st.lists(st.integers(1, 1000), min_size=1), st.integers(1, 500))
def test_sizes_are_cut_to_what_there_is(sizes, available):
    found = usable_sizes(sizes, available)
    assert found == sorted(set(found)) and max(found) == min(max(sizes), available)


def test_errors():
    with pytest.raises(InputError, match="y: expected classes from 0 to 3, got 0 to 4"):
        mdl_difficulty(constant, X, y, X, np.arange(40) % 5)
    with pytest.raises(InputError, match=r"fit_predict: expected .* \[40, C\], got \[3, 4\]"):
        mdl_difficulty(lambda *_: np.ones((3, 4)), X, y, X, y)
    with pytest.raises(InputError, match="X_reference: expected at least one"):
        mdl_difficulty(constant, X[:0], y[:0], X, y)
    with pytest.raises(InputError, match="sizes: expected at least one"):
        mdl_difficulty(constant, X, y, X, y, sizes=())
    with pytest.raises(InputError, match="equal lengths"):
        mdl_difficulty(constant, X, y[:3], X, y)
