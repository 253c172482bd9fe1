"""The transductive classifier: conventions, semi-supervised labels, and what it equals."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, make_blobs
from sklearn.preprocessing import normalize
from sklearn.utils.estimator_checks import estimator_checks_generator

from gradatim.core.errors import InputError
from gradatim.learners.transductive_clustering import TransductiveClustering
from gradatim.targets.laplacian_assignment import knn_affinity, laplacian_prototype_energy
from gradatim.targets.prototype_clustering import squared_distances

KINDS = [
    TransductiveClustering(),
    TransductiveClustering(lam=0),
    TransductiveClustering("kmodes"),
    TransductiveClustering("kmodes", lam=0, shift=True, fix_support=False),
]
CHECKS = [
    pytest.param(estimator, check, id=f"{number}-{check.func.__name__}")
    for number, kind in enumerate(KINDS)
    for estimator, check in estimator_checks_generator(kind)
]


@pytest.mark.parametrize(("estimator", "check"), CHECKS)
@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_conventions(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return normalize(X - X.mean(axis=0)), y


def few(y, shots, seed=0):
    """Labels of some rows of each class, -1 elsewhere."""
    order = np.random.default_rng(seed).permutation(len(y))
    kept = np.concatenate([order[y[order] == k][:shots] for k in np.unique(y)])
    given = np.full_like(y, -1)
    given[kept] = y[kept]
    return given


@pytest.mark.parametrize("method", ["kmeans", "kmodes"])
def test_few_labels_go_further_with_unlabelled_rows(digits, method):
    X, y = digits
    gains = []
    for seed in range(5):
        given = few(y, 2, seed)
        alone = TransductiveClustering(method).fit(X[given >= 0], given[given >= 0])
        found = TransductiveClustering(method).fit_predict(X, given)
        free = given < 0
        gains.append((found[free] == y[free]).mean() - alone.score(X[free], y[free]))
    assert np.mean(gains) > 0.05


def test_without_laplacian_and_free_it_is_kmeans_of_scikit_learn(digits):
    X, y = digits
    given = few(y, 3)
    means = np.stack([X[given == k].mean(axis=0) for k in range(10)])
    peer = KMeans(10, init=means, n_init=1, algorithm="lloyd", tol=0, max_iter=300).fit(X)
    ours = TransductiveClustering(lam=0, fix_support=False, tol=0, max_iter=300).fit(X, given)
    assert (ours.transduction_ == peer.labels_).all()
    assert np.allclose(ours.prototypes_, peer.cluster_centers_, atol=1e-12)
    assert ours.energy_ == pytest.approx(peer.inertia_, rel=1e-9)
    assert (ours.predict(X) == peer.predict(X)).all()


@pytest.mark.parametrize("kind", KINDS[:3], ids=["laplacian", "kmeans", "kmodes"])
def test_labelled_rows_keep_their_classes(digits, kind):
    X, y = digits
    given = few(y, 2)
    given[given >= 0] = np.roll(given[given >= 0], 7)  # false labels, which clusters contradict
    found = kind.fit_predict(X, given)
    assert (found[given >= 0] == given[given >= 0]).all()
    chosen = kind.assignments_[given >= 0].argmax(axis=1)
    assert (chosen == given[given >= 0]).all()
    assert np.allclose(kind.assignments_.sum(axis=1), 1)


def test_energy_is_that_of_the_assignments(digits):
    X, y = digits
    model = TransductiveClustering(lam=0.5).fit(X, few(y, 2))
    costs = squared_distances(torch.from_numpy(X), torch.from_numpy(model.prototypes_))
    affinity = knn_affinity(torch.from_numpy(X), 2)
    energy = laplacian_prototype_energy(torch.from_numpy(model.assignments_), costs, affinity, 0.5)
    assert model.energy_ == pytest.approx(float(energy))


@pytest.mark.parametrize("names", [["no", "yes", "who"], [3, 5, 9], [-1, 0, 1]])
def test_support_and_query_with_labels_of_any_kind(names):
    X, y = make_blobs(90, centers=3, cluster_std=0.5, random_state=1)
    named = np.array(names)[y]
    support = np.concatenate([np.flatnonzero(y == k)[:2] for k in range(3)])
    query = np.setdiff1d(np.arange(90), support)
    frame = pd.DataFrame(X, columns=["a", "b"])
    model = TransductiveClustering(lam=0.1)
    found = model.fit_support(frame.iloc[support], named[support], frame.iloc[query])
    assert (found == named[query]).all()
    assert model.classes_.tolist() == sorted(names)
    assert model.feature_names_in_.tolist() == ["a", "b"]
    assert (model.predict(frame) == named).all()


def test_shift_brings_moved_queries_back():
    X, y = make_blobs(60, centers=[[0, 0], [4, 0]], cluster_std=0.3, random_state=0)
    support = np.concatenate([np.flatnonzero(y == k)[:10] for k in range(2)])
    query = np.setdiff1d(np.arange(60), support)
    away = X[query] + np.array([4.0, 0.0])
    model = TransductiveClustering(lam=0, shift=True)
    assert (model.fit_support(X[support], y[support], away) == y[query]).all()
    assert np.allclose(model.shift_, [-4, 0], atol=0.5)
    assert (model.predict(away) == y[query]).all()


def test_minus_one_and_one_other_number_are_classes():
    X, y = make_blobs(20, centers=2, random_state=0)
    model = TransductiveClustering().fit(X, np.array([-1, 1])[y])
    assert model.classes_.tolist() == [-1, 1]
    assert (model.transduction_ == np.array([-1, 1])[y]).all()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"method": "median"}, "method: expected one of kmeans, kmodes"),
        ({"lam": -0.1}, "lam"),
        ({"knn": 1}, "knn"),
        ({"max_iter": 0}, "max_iter"),
        ({"tol": -1.0}, "tol"),
    ],
)
def test_arguments_outside_their_range(options, named):
    X, y = make_blobs(20, centers=2, random_state=0)
    with pytest.raises(ValueError, match=named):
        TransductiveClustering(**options).fit(X, y)


def test_bad_tables():
    X, y = make_blobs(20, centers=2, random_state=0)
    with pytest.raises(InputError, match="at least two classes, got one class"):
        TransductiveClustering().fit(X, np.zeros(20, dtype=int))
    X[3, 1] = np.nan
    with pytest.raises(ValueError, match="Input X contains NaN"):
        TransductiveClustering().fit(X, y)
