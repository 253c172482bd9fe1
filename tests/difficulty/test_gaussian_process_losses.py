import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import linalg

from gradatim.core.errors import InputError
from gradatim.difficulty.gaussian_process_bias import gaussian_process_bias
from gradatim.difficulty.gaussian_process_losses import (
    GaussianProcessLosses,
    gaussian_process_losses,
    laplace_kernel,
    median_distance,
    rbf_kernel,
    squared_distances,
)
from gradatim.difficulty.scaled_noncentral_chi2 import ScaledNoncentralChi2


def task(train=20, test=12, outputs=3, seed=0, columns=2):
    random = np.random.default_rng(seed)
    X = random.uniform(-1, 1, (train + test, columns))
    Y = np.sin(X @ random.normal(size=(columns, outputs)))
    return X[:train], Y[:train], X[train:], Y[train:]


def posterior(X, Y, X_test, kernel, jitter=1e-6):
    """Mean and covariance by plain inversion."""
    inverse = linalg.inv(kernel(X, X) + jitter * np.eye(len(X)))
    across = kernel(X_test, X)
    return across @ inverse @ Y, kernel(X_test, X_test) - across @ inverse @ across.T


def test_mean_variance_and_third_moment_of_the_loss():
    X, Y, X_test, Y_test = task()
    kernel = rbf_kernel(0.4)
    found = gaussian_process_losses(X, Y, X_test, Y_test, kernel=kernel)
    mean, S = posterior(X, Y, X_test, kernel)
    rest, N, C = mean - Y_test, 12, 3
    assert found.mean == pytest.approx((rest**2).mean() + np.trace(S) / N, rel=1e-6)
    quadratic = sum(r @ S @ r for r in rest.T)
    expected = 2 * np.trace(S @ S) * C / (N * C) ** 2 + 4 * quadratic / (N * C) ** 2
    assert found.variance == pytest.approx(expected, rel=1e-6)
    cubic = sum(r @ S @ S @ r for r in rest.T)
    third = (8 * np.trace(S @ S @ S) * C + 24 * cubic) / (N * C) ** 3
    assert found.third_moment == pytest.approx(third, rel=1e-6)


def test_samples_are_those_of_functions_drawn_one_by_one():
    X, Y, X_test, Y_test = task()
    kernel = rbf_kernel(0.4)
    found = gaussian_process_losses(X, Y, X_test, Y_test, kernel=kernel)
    sample = found.sample(40_000, seed=1)
    assert sample.mean() == pytest.approx(found.mean, rel=0.02)
    assert sample.var() == pytest.approx(found.variance, rel=0.05)
    mean, S = posterior(X, Y, X_test, kernel)
    root = linalg.cholesky(S + 1e-10 * np.eye(12), lower=True)
    z = np.random.default_rng(0).normal(size=(40_000, 12, 3))
    drawn = ((mean + root @ z - Y_test) ** 2).mean(axis=(1, 2))
    np.testing.assert_allclose(
        np.quantile(sample, [0.02, 0.3, 0.9]), np.quantile(drawn, [0.02, 0.3, 0.9]), rtol=0.03
    )
    np.testing.assert_array_equal(sample, found.sample(40_000, seed=1))
    for share in (0.01, 0.2, 0.7):
        assert found.logcdf(float(np.quantile(sample, share))) == pytest.approx(
            math.log(share), abs=0.1
        )


def test_functions_pass_through_the_training_data():
    X, Y, *_ = task()
    found = gaussian_process_losses(X, Y, X, Y, kernel=rbf_kernel(0.3), jitter=1e-10)
    assert found.mean < 1e-6 and found.logcdf(1e-3) == pytest.approx(0.0, abs=1e-9)


def test_without_training_data_functions_are_those_of_the_prior():
    _, _, X_test, Y_test = task()
    found = gaussian_process_losses([], [], X_test, Y_test, kernel=rbf_kernel(0.5, 2.0))
    assert found.mean == pytest.approx(4.0 + (Y_test**2).mean())


def test_more_training_data_need_fewer_bits():
    X, Y, X_test, Y_test = task(train=60)
    nats = [
        -gaussian_process_losses(X[:n], Y[:n], X_test, Y_test, kernel=rbf_kernel(0.7)).logcdf(0.01)
        for n in (0, 5, 15, 60)
    ]
    assert nats[0] > nats[1] > nats[2] > nats[3] >= 0


@given(st.integers(1, 60), st.integers(1, 10), st.floats(0, 30), st.floats(0.02, 2.0))
def test_equal_weights_are_a_noncentral_chi_squared(directions, outputs, shift, relative):
    found = GaussianProcessLosses(np.ones(directions), np.full(directions, shift), outputs, 0.0)
    exact = ScaledNoncentralChi2(directions * outputs, shift * directions, 1.0)
    error = relative * exact.mean
    assert found.mean == pytest.approx(exact.mean)
    expected = float(exact.logcdf(error))
    assert found.logcdf(error) == pytest.approx(expected, rel=2e-3, abs=0.12)


def test_the_tail_far_away_and_beyond_what_can_be_reached():
    many = GaussianProcessLosses(np.ones(400), np.full(400, 5.0), 10, 0.0)
    exact = ScaledNoncentralChi2(4000, 2000, 1.0)
    assert many.logcdf(30.0) == pytest.approx(float(exact.logcdf(30.0)), rel=1e-4)
    assert many.logcdf(30.0) < -5000
    off = GaussianProcessLosses(np.array([1.0, 1e-9]), np.array([0.0, 4.0]), 1, 0.5)
    assert math.isinf(off.logcdf(0.5)) and off.logcdf(0.6) < 0
    assert GaussianProcessLosses(np.zeros(0), np.zeros(0), 1, 0.5).logcdf(0.6) == 0.0


def test_the_tail_is_smooth_through_the_mean():
    one = GaussianProcessLosses(np.array([1, 0.5, 0.1, 0.01]), np.array([1.0, 0, 3, 2]), 2, 0.1)
    spread = math.sqrt(one.variance)
    around = one.mean + spread * np.array([-3e-3, -1.1e-3, -9e-4, 0, 9e-4, 1.1e-3, 3e-3])
    values = np.exp([one.logcdf(float(error)) for error in around])
    assert (np.diff(values) > 0).all()
    slopes = np.diff(values) / np.diff(around)
    np.testing.assert_allclose(slopes, slopes.mean(), rtol=0.1)
    errors = np.geomspace(0.11, 100, 50)
    assert (np.diff([one.logcdf(float(error)) for error in errors]) >= 0).all()


def test_kernels_and_distances():
    a, b = np.random.default_rng(0).normal(size=(2, 5, 3)) + 1e6
    direct = ((a[:, None] - b) ** 2).sum(-1)
    np.testing.assert_allclose(squared_distances(a, b), direct, rtol=1e-6)
    np.testing.assert_allclose(rbf_kernel(0.7, 2)(a, b), 4 * np.exp(-direct / 0.98), rtol=1e-6)
    np.testing.assert_allclose(
        laplace_kernel(0.7, 2)(a, b), 4 * np.exp(-np.sqrt(direct) / 0.7), rtol=1e-6
    )
    points = np.random.default_rng(1).normal(size=(3000, 2))
    assert median_distance(points, most=200) == pytest.approx(median_distance(points), rel=0.1)
    with pytest.raises(InputError, match="at least two different points, got one"):
        median_distance(np.ones((5, 2)))
    with pytest.raises(InputError, match="length_scale: expected a number in"):
        rbf_kernel(0.0)


def test_bias_of_a_data_set():
    random = np.random.default_rng(0)
    X = random.normal(size=(120, 2))
    errors = [0.4, 0.1, 0.01]
    easy = gaussian_process_bias(X, X[:, 0] > 0, errors, n_test=40, splits=3)
    hard = gaussian_process_bias(X, np.sin(6 * X[:, 0]) > 0, errors, n_test=40, splits=3)
    assert easy.bits.shape == (3, 3) and (np.diff(easy.bits, axis=0) >= 0).all()
    assert (easy.bits[2] < hard.bits[2]).all() and easy.typical < hard.typical
    assert (easy.n_train, easy.n_test) == (80, 40)
    np.testing.assert_allclose(easy.losses, [0.4, 0.1, 0.01])  # 2 e / C with two classes
    mean, low, high = easy.interval(2)
    assert low < mean < high and f"{mean:,.0f} bits" in easy.sentence(2)
    assert (
        easy.bits.tolist()
        == gaussian_process_bias(X, X[:, 0] > 0, errors, n_test=40, splits=3).bits.tolist()
    )


def test_labels_without_any_rule_are_noticed():
    X = np.random.default_rng(0).normal(size=(90, 1))
    noise = np.random.default_rng(1).integers(0, 2, 90)
    found = gaussian_process_bias(X, noise, [0.01], n_test=30, splits=2)
    assert "classes overlap or labels are wrong" in found.notes()[0]
    assert found.typical > found.guessing


def test_bad_input():
    X, Y, X_test, Y_test = task()
    kernel = rbf_kernel(1.0)
    with pytest.raises(InputError, match=r"Y: expected shape \[20, C\], got \[19, 3\]"):
        gaussian_process_losses(X, Y[:-1], X_test, Y_test, kernel=kernel)
    with pytest.raises(InputError, match="X_test: expected 2 columns as in training, got 1"):
        gaussian_process_losses(X, Y, X_test[:, :1], Y_test, kernel=kernel)
    with pytest.raises(InputError, match="Y_test: expected 3 columns as in training, got 1"):
        gaussian_process_losses(X, Y, X_test, Y_test[:, 0], kernel=kernel)
    with pytest.raises(InputError, match="jitter: expected enough for the kernel"):
        gaussian_process_losses(
            np.ones((9, 2)), np.ones(9), X_test, Y_test[:, 0], kernel=kernel, jitter=0.0
        )
    with pytest.raises(InputError, match="X: expected at least 4 rows to split, got 3"):
        gaussian_process_bias(np.arange(3.0)[:, None], [0, 1, 0], [0.1])
    with pytest.raises(InputError, match="errors: expected a number in"):
        gaussian_process_bias(X, np.arange(20) % 2, [1.0])
