import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from gradatim.core.errors import InputError
from gradatim.difficulty.exact_inductive_bias import required_bias, required_bias_curve
from gradatim.difficulty.scaled_noncentral_chi2 import ScaledNoncentralChi2

WIDE = ScaledNoncentralChi2(5.0, 3.0, 2.0)


def by_series(df, nc, x):
    """The distribution function with 60 digits."""
    with mpmath.workdps(60):
        a, rate, half = mpmath.mpf(df) / 2, mpmath.mpf(nc) / 2, mpmath.mpf(x) / 2
        terms = int(nc / 2 + 20 * math.sqrt(nc / 2 + 1) + 60)
        total = mpmath.fsum(
            mpmath.exp(-rate)
            * rate**j
            / mpmath.factorial(j)
            * mpmath.gammainc(a + j, 0, half, regularized=True)
            for j in range(terms)
        )
        return float(mpmath.log(total))


def moments(one):
    third = 8 * one.scale**3 * (one.df + 3 * one.nc)
    return one.mean, one.variance, third


def test_moments_are_recovered():
    assert moments(WIDE) == (16.0, 88.0, 896.0)
    assert ScaledNoncentralChi2.of_moments(16.0, 88.0, 896.0) == WIDE
    mean, variance, third = stats.ncx2.stats(5, 3, scale=2, moments="mvs")
    assert (mean, variance) == pytest.approx((16, 88))
    assert third * variance**1.5 == pytest.approx(896)


@given(st.floats(1, 500), st.floats(0.1, 500), st.floats(1e-6, 1e6))
def test_moments_are_recovered_of_any_distribution(df, nc, scale):
    found = ScaledNoncentralChi2.of_moments(*moments(ScaledNoncentralChi2(df, nc, scale)))
    assert found.scale == pytest.approx(scale, rel=1e-2)
    assert found.mean == pytest.approx(scale * (df + nc), rel=1e-9)
    x = scale * (df + nc) * np.array([0.3, 1.0, 1.5])
    expected = ScaledNoncentralChi2(df, nc, scale).logcdf(x)
    np.testing.assert_allclose(found.logcdf(x), expected, rtol=1e-2, atol=1e-3)


def test_moments_outside_of_the_family_keep_mean_and_variance():
    for third in (-50.0, 0.0, 1.4 * 88**2 / 16, 1e4):
        found = ScaledNoncentralChi2.of_moments(16.0, 88.0, third)
        assert (found.mean, found.variance) == pytest.approx((16.0, 88.0))
    assert ScaledNoncentralChi2.of_moments(16.0, 88.0, 1e4).nc == 0  # too skewed: central
    assert ScaledNoncentralChi2.of_moments(16.0, 88.0, 0.0).df == 1  # not skewed enough
    central = ScaledNoncentralChi2.of_moments(*moments(ScaledNoncentralChi2(7.0, 0.0, 3.0)))
    assert (central.df, central.nc, central.scale) == pytest.approx((7, 0, 3), abs=1e-5)
    spread = ScaledNoncentralChi2.of_moments(1.0, 5.0, 0.0)  # no room for a degree of freedom
    assert spread.nc == 0 and spread.variance == pytest.approx(5.0)


def test_without_noncentrality_it_is_chi_squared():
    one = ScaledNoncentralChi2(7.0, 0.0, 3.0)
    x = np.array([1e-9, 0.1, 5.0, 21.0, 60.0])
    np.testing.assert_allclose(one.logcdf(x), stats.chi2.logcdf(x / 3, 7), rtol=1e-10)
    two = ScaledNoncentralChi2(2.0, 0.0, 3.0)
    np.testing.assert_allclose(two.logcdf(x), np.log(-np.expm1(-x / 6)), rtol=1e-12)


@given(st.floats(0.5, 60), st.floats(0, 80), st.floats(0.3, 3))
def test_the_centre_is_scipys(df, nc, relative):
    one = ScaledNoncentralChi2(df, nc, 2.0)
    x = relative * one.mean
    expected = np.log(stats.ncx2.cdf(x / 2, df, nc) if nc else stats.chi2.cdf(x / 2, df))
    assert one.logcdf(x) == pytest.approx(expected, rel=1e-7, abs=1e-9)


@pytest.mark.parametrize(
    ("df", "nc", "x"),
    [(5, 3, 1e-3), (50, 300, 3), (1, 500, 10), (2000, 10, 300), (0.7, 4, 1e-5), (400, 800, 1150),
     (60, 1500, 1e-6), (3, 0, 1e-200)],
)  # fmt: skip
def test_the_tail_with_sixty_digits(df, nc, x):
    found = float(ScaledNoncentralChi2(df, nc, 1.0).logcdf(x))
    assert found == pytest.approx(by_series(df, nc, x), rel=1e-9)


def test_the_tail_of_many_dimensions_and_no_probability_below_zero():
    many = ScaledNoncentralChi2(1e4, 1e6, 1.0)
    found = many.logcdf([1e2, 1e5, 9e5, 1.01e6, 2e6])
    assert (np.diff(found) > 0).all() and np.isfinite(found).all() and found[0] < -5e5
    assert found[-1] == pytest.approx(0.0, abs=1e-8)
    assert np.isneginf(WIDE.logcdf([0.0, -1.0])).all()


def test_sankaran_is_good_near_the_centre_and_saturates_far_away():
    for one in (WIDE, ScaledNoncentralChi2(50.0, 300.0, 1.0), ScaledNoncentralChi2(200, 10, 5.0)):
        x = one.mean * np.array([0.5, 0.8, 1.0, 1.3])
        np.testing.assert_allclose(one.sankaran_logcdf(x), one.logcdf(x), rtol=0.03, atol=2e-3)
    far = ScaledNoncentralChi2(2000.0, 10.0, 1.0)
    assert -far.logcdf(20.0) > 1.3 * -far.sankaran_logcdf(20.0) > 1000


def test_maximum_likelihood_climbs_from_the_moments():
    sample = stats.ncx2.rvs(5, 3, scale=2, size=400, random_state=np.random.default_rng(0))

    def likelihood(one):
        return stats.ncx2.logpdf(sample, one.df, max(one.nc, 1e-9), scale=one.scale).sum()

    moment, likely = (ScaledNoncentralChi2.fit(sample, how) for how in ("moments", "mle"))
    assert likelihood(likely) >= likelihood(moment)
    assert likely.mean == pytest.approx(sample.mean(), rel=0.05)


def test_bias_in_closed_form():
    losses = np.random.default_rng(0).exponential(2.0, 200_000)
    for error in (0.02, 0.3, 2.0):
        found = required_bias(losses, error, n_bootstrap=0)
        assert found.nats == pytest.approx(-math.log(-math.expm1(-error / 2)), abs=0.1)
        assert found.bits == pytest.approx(found.nats / math.log(2))


def test_fit_and_frequency_agree_where_many_losses_reach_the_error():
    losses = stats.ncx2.rvs(12, 8, size=10_000, random_state=np.random.default_rng(1))
    error = float(np.quantile(losses, 0.02))
    found = required_bias(losses, error)
    assert found.below == 200 and found.empirical == pytest.approx(math.log(50))
    assert abs(found.nats - found.empirical) < 0.2
    assert found.low < -stats.ncx2.logcdf(error, 12, 8) < found.high
    assert math.isnan(required_bias(losses, losses.min(), n_bootstrap=0).empirical)


def test_the_interval_covers_the_truth_and_narrows_with_samples():
    inside, widths = 0, []
    for seed in range(40):
        losses = np.random.default_rng(seed).chisquare(6, 400)
        found = required_bias(losses, 0.8, n_bootstrap=60, seed=seed)
        inside += found.low <= -stats.chi2.logcdf(0.8, 6) <= found.high
        widths.append(found.high - found.low)
    assert inside >= 32
    more = required_bias(np.random.default_rng(0).chisquare(6, 20_000), 0.8, n_bootstrap=100)
    assert more.high - more.low < 0.4 * np.mean(widths)
    assert required_bias(losses, 0.8, seed=1) == required_bias(losses, 0.8, seed=1)


@given(st.integers(0, 100))
def test_bias_falls_with_the_error_and_does_not_change_with_the_unit(seed):
    losses = np.random.default_rng(seed).gamma(4.0, size=300)
    errors = np.geomspace(1e-4, 50, 12)
    curve = required_bias_curve(losses, errors)
    assert (np.diff(curve) <= 0).all() and curve[-1] == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(required_bias_curve(1e5 * losses, 1e5 * errors), curve, atol=1e-6)
    one = required_bias(losses, errors[3], n_bootstrap=0)
    assert one.nats == pytest.approx(curve[3])


def test_the_authors_tail_is_a_choice():
    losses = np.random.default_rng(0).chisquare(40, 5000)
    exact, approximate = (
        required_bias(losses, 10.0, tail=tail, n_bootstrap=0) for tail in ("exact", "sankaran")
    )
    assert exact.nats == pytest.approx(approximate.nats, rel=0.1)
    assert exact.nats != approximate.nats
    z = special.ndtri(math.exp(-approximate.nats))
    assert approximate.nats == pytest.approx(z * z / 2 + math.log(-z * 2.507), rel=0.01)


@pytest.mark.parametrize(
    ("losses", "options", "told"),
    [
        ([1.0], {}, r"losses: expected at least two numbers, \[S\], got shape \[1\]"),
        ([1.0, 1.0], {}, "losses: expected numbers that differ, got 1.0 throughout"),
        ([1.0, 0.0], {}, "losses: expected positive numbers, got 0.0 at row 1"),
        ([1.0, math.nan], {}, "losses: expected finite numbers, got nan at row 1"),
        ([1.0, 2.0], {"error": 0.0}, "error: expected a number in"),
        ([1.0, 2.0], {"tail": "z"}, "tail: expected one of exact, sankaran"),
        ([1.0, 2.0], {"fit": "best"}, "method: expected one of moments, mle"),
    ],
)
def test_bad_input(losses, options, told):
    with pytest.raises(InputError, match=told):
        required_bias(losses, **{"error": 0.5, **options})


def test_bad_parameters():
    with pytest.raises(InputError, match="df: expected a number in"):
        ScaledNoncentralChi2(0.0, 1.0, 1.0)
    with pytest.raises(InputError, match="errors: expected a number in"):
        required_bias_curve([1.0, 2.0], [0.1, -1.0])
    with pytest.raises(InputError, match="variance: expected a number in"):
        ScaledNoncentralChi2.of_moments(1.0, 0.0, 0.0)
