import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from gradatim.learners.linear_probe import LinearProbe

X, y = load_iris(return_X_y=True)


@parametrize_with_checks([LinearProbe(strengths=(0.1,)), LinearProbe(strengths=(0.01, 1.0))])
def test_is_a_scikit_learn_estimator(estimator, check):
    check(estimator)


def test_with_one_strength_it_is_logistic_regression_on_standardized_features():
    probe = LinearProbe((0.3,)).fit(X, y)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=200)).fit(X, y)
    np.testing.assert_allclose(probe.predict_proba(X), model.predict_proba(X))
    assert probe.strength_ == 0.3


def test_the_strength_has_the_best_likelihood_in_cross_validation():
    probe = LinearProbe((1e-4, 1e-2, 1.0)).fit(X, y)
    scores = [
        cross_val_score(LinearProbe((one,)), X, y, cv=3, scoring="neg_log_loss").mean()
        for one in (1e-4, 1e-2, 1.0)
    ]
    assert probe.strength_ == (1e-4, 1e-2, 1.0)[int(np.argmax(scores))]


def test_groups_keep_copies_from_choosing_too_weak_a_penalty():
    random = np.random.default_rng(0)
    noise, labels = random.normal(size=(40, 60)), np.arange(40) % 2
    copied, group = np.repeat(noise, 4, axis=0), np.repeat(np.arange(40), 4)
    leaking = LinearProbe().fit(copied, np.repeat(labels, 4)).strength_
    kept = LinearProbe().fit(copied, np.repeat(labels, 4), groups=group).strength_
    assert kept < leaking


def test_sparse_features_are_taken_as_they_are():
    probe = LinearProbe((1.0,)).fit(sparse.csr_matrix(X), y)
    model = LogisticRegression(C=1.0, max_iter=200).fit(X, y)
    np.testing.assert_allclose(
        probe.predict_proba(sparse.csr_matrix(X)), model.predict_proba(X), atol=1e-3
    )


def test_classes_with_one_row_and_one_class():
    labels = np.r_[np.zeros(20, int), np.ones(19, int), 2]
    assert LinearProbe().fit(X[:40], labels).predict_proba(X[:1]).shape == (1, 3)
    with pytest.raises(ValueError, match="one class"):
        LinearProbe().fit(X, np.zeros(len(X)))
