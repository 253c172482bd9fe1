import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from gradatim.core.errors import InputError
from gradatim.evaluators.option_probe import OptionProbe


def drawn(rows=200, options=2, seed=0):
    random = np.random.default_rng(seed)
    X = random.normal(size=(rows, options, 3))
    noisy = X @ [2.0, -1.0, 0.0] + random.gumbel(size=(rows, options))
    return X, noisy.argmax(axis=1)


def test_two_options_are_logistic_regression_on_differences():
    X, y = drawn()
    probe = OptionProbe(strength=0.7, most_steps=1000).fit(X, y)
    scale = X.reshape(-1, 3).std(axis=0)
    difference = (X[:, 1] - X[:, 0]) / scale
    model = LogisticRegression(C=0.7, fit_intercept=False, tol=1e-8).fit(difference, y)
    np.testing.assert_allclose(probe.weights, model.coef_[0], rtol=1e-3)
    np.testing.assert_allclose(probe.predict_proba(X), model.predict_proba(difference), atol=1e-3)


def test_the_order_of_options_does_not_matter():
    X, y = drawn(options=4)
    probe = OptionProbe().fit(X, y)
    turned = OptionProbe().fit(X[:, ::-1], 3 - y)
    np.testing.assert_allclose(probe.weights, turned.weights, atol=1e-4)


def test_options_that_are_not_there_change_nothing():
    X, y = drawn(options=3)
    padded = np.concatenate([X, np.full((200, 2, 3), 99.0)], axis=1)
    sizes = np.full(200, 3)
    probe = OptionProbe().fit(padded, y, sizes)
    plain = OptionProbe().fit(X, y)
    np.testing.assert_allclose(probe.weights, plain.weights, atol=1e-6)
    p = probe.predict_proba(padded, sizes)
    assert (p[:, 3:] == 0).all()
    np.testing.assert_allclose(p.sum(axis=1), 1)
    np.testing.assert_allclose(p[:, :3], plain.predict_proba(X), atol=1e-6)


def test_the_gradient_is_zero_at_the_solution():
    X, y = drawn(options=3)
    probe = OptionProbe(strength=0.1, most_steps=1000).fit(X, y)
    z = (X - X.reshape(-1, 3).mean(axis=0)) / X.reshape(-1, 3).std(axis=0)
    p = probe.predict_proba(X)
    gradient = ((p - np.eye(3)[y])[..., None] * z).sum(axis=(0, 1)) + probe.weights / 0.1
    np.testing.assert_allclose(gradient, 0, atol=0.02)


def test_errors():
    X, y = drawn()
    with pytest.raises(InputError, match="labels: expected the number of an option, got 2 in row"):
        OptionProbe().fit(X, y + 1)
    with pytest.raises(InputError, match=r"features: expected shape \[N, A, D\]"):
        OptionProbe().fit(X[0], y)
    with pytest.raises(InputError, match="sizes: expected 1 to 2 options, got 3 in row 0"):
        OptionProbe().fit(X, y, np.full(200, 3))
    with pytest.raises(InputError, match="expected one that was fitted"):
        OptionProbe().predict_proba(X)
    with pytest.raises(InputError, match="strength: expected"):
        OptionProbe(strength=0)
