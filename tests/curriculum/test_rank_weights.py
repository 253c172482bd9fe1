"""Weights over ranks: probabilities by the formulas, and draws that follow them exactly."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from scipy import stats
from scipy.special import softmax

from gradatim.core.errors import InputError
from gradatim.core.seeds import numpy_generator
from gradatim.curriculum.rank_weights import (
    RankBins,
    RankSlope,
    band_mixture,
    bin_softmax,
    easiest,
    level_edges,
    rank_gaussian,
    rank_softmax,
)

ALL = [
    RankBins([0, 0.3, 0.31, 0.9], [1, 0, 5]),
    RankBins([0.0, 0.001, 1.0], [0.5, 0.5]),
    RankBins([0.2, 0.2, 0.7], [3.0, 1.0]),
    RankSlope(3.0),
    RankSlope(-40.0),
    RankSlope(1e-9),
    RankSlope(0.0),
    easiest(0.37),
    rank_softmax(0.2),
    bin_softmax(0.3, 7),
    band_mixture(0.25),
    rank_gaussian(0.8, 0.1, bins=16),
]
every = pytest.mark.parametrize("weights", ALL, ids=lambda w: str(w)[:40])


@every
@pytest.mark.parametrize("n", [1, 2, 17, 100])
def test_draws_follow_the_probabilities(weights, n):
    if n == 1 and isinstance(weights, RankBins) and weights.edges[0] > 0:
        return  # no rank in its bins
    expected = weights.probabilities(n)
    assert expected.shape == (n,) and expected.min() >= 0 and expected.sum() == pytest.approx(1)
    drawn = weights.ranks(numpy_generator(5, "ranks", n), 40_000, n)
    counts = np.bincount(drawn, minlength=n)
    assert len(counts) == n and (counts[expected == 0] == 0).all()
    wide = expected * 40_000 > 5
    rare = (counts[~wide].sum(), expected[~wide].sum() * 40_000)
    f_obs, f_exp = np.append(counts[wide], rare[0]), np.append(expected[wide] * 40_000, rare[1])
    if wide.sum() > 1:
        kept = f_exp > 1e-9
        assert stats.chisquare(f_obs[kept], f_exp[kept]).pvalue > 1e-3


@every
@pytest.mark.parametrize("n", [2**24 + 1, 20_000_000, 2**40])
def test_draws_over_more_examples_than_multinomial_can(weights, n):
    cuts = np.linspace(0, n, 30).astype(np.int64)
    expected = np.diff(weights.cumulative(cuts, n)) * 20_000
    drawn = weights.ranks(numpy_generator(0, "many", n), 20_000, n)
    assert drawn.dtype == np.int64 and drawn.min() >= 0 and drawn.max() < n
    counts = np.histogram(drawn, cuts)[0]
    wide = expected > 5
    assert counts[expected < 1e-12].sum() == 0
    statistic = (np.square(counts - expected)[wide] / expected[wide]).sum()
    assert stats.chi2.sf(statistic, max(1, wide.sum() - 1)) > 1e-3


@every
@given(n=st.integers(2, 60), share=st.floats(0, 1))
def test_cumulative_adds_up_the_probabilities(weights, n, share):
    cut = int(share * n)
    assert weights.cumulative(np.array([0, n]), n).tolist() == pytest.approx([0, 1])
    assert weights.cumulative(np.array([cut]), n)[0] == pytest.approx(
        weights.probabilities(n)[:cut].sum(), abs=1e-12
    )


@given(st.floats(-300, 300), st.integers(1, 50))
def test_slope_is_a_softmax_over_ranks(rate, n):
    expected = softmax(-rate * np.arange(n) / n)
    np.testing.assert_allclose(RankSlope(rate).probabilities(n), expected, rtol=1e-8, atol=1e-14)


def test_temperature_from_cold_to_hot():
    n = 1000
    assert rank_softmax(1e-4).probabilities(n)[0] == pytest.approx(1 - np.exp(-10))
    assert rank_softmax(1e-4, hard_first=True).probabilities(n)[-1] > 0.9999
    np.testing.assert_allclose(rank_softmax(1e9).probabilities(n), 1 / n, rtol=1e-8)
    cold = bin_softmax(1e-3, 5)
    assert cold.probabilities(10)[:2].sum() == pytest.approx(1)
    assert bin_softmax(1e-3, 5, hard_first=True).probabilities(10)[8:].sum() == pytest.approx(1)
    expected = softmax(-np.arange(4) / 4 / 0.5)
    np.testing.assert_allclose(bin_softmax(0.5, 4).masses, expected)


def test_bins_of_levels_hold_exactly_their_examples():
    levels = np.random.default_rng(0).integers(1, 6, 1237)
    edges = level_edges(levels)
    counts = np.bincount(levels)[1:]
    for k in range(5):
        masses = np.eye(5)[k]
        p = RankBins(edges, masses).probabilities(len(levels))
        assert np.flatnonzero(p).tolist() == np.flatnonzero(np.sort(levels) == k + 1).tolist()
        np.testing.assert_allclose(p[p > 0], 1 / counts[k])


@given(st.integers(1, 3000), st.data())
def test_easiest_share_of_k_of_n_is_k_examples(n, data):
    k = data.draw(st.integers(1, n))
    assert np.count_nonzero(easiest(k / n).probabilities(n)) == k


def test_bands_move_in_a_straight_line():
    for t, expected in ((-1, (0.8, 0.2)), (0, (0.8, 0.2)), (0.5, (0.5, 0.5)), (1, (0.2, 0.8))):
        assert band_mixture(t, (0.8, 0.2), (0.2, 0.8)).masses.tolist() == pytest.approx(expected)
    p = band_mixture(0.0, (0.5, 0.3, 0.2), (1, 0, 0), cuts=(0.1, 0.5)).probabilities(10)
    assert p.tolist() == pytest.approx([0.5] + [0.075] * 4 + [0.04] * 5)


def test_gaussian_window_peaks_where_it_is_told():
    p = rank_gaussian(0.3, 0.05, bins=100).probabilities(1000)
    assert abs(np.average(np.arange(1000) / 1000, weights=p) - 0.3) < 0.001
    far = rank_gaussian(9.0, 0.01, bins=4).probabilities(4)  # outside: the nearest bin
    assert far.tolist() == pytest.approx([0, 0, 0, 1])


@pytest.mark.parametrize(
    ("call", "message"),
    [(lambda: RankBins([0, 1], [1, 2]), "masses: expected one number for each bin"),
     (lambda: RankBins([0, 0.5, 0.4], [1, 1]), "edges: expected ascending"),
     (lambda: RankBins([0, 1.1], [1]), "edges: expected ascending"),
     (lambda: RankBins([0, float("nan"), 1], [1, 1]), "edges: expected ascending"),
     (lambda: RankBins([0, 1], [0]), "masses: expected finite numbers"),
     (lambda: RankBins([0, 0.5, 1], [2, -1]), "masses: expected finite numbers"),
     (lambda: RankBins([0, 1], [float("nan")]), "masses: expected finite numbers"),
     (lambda: RankBins([0.9, 0.95], [1]).probabilities(2), "mass on a bin with examples"),
     (lambda: RankSlope(float("inf")), "rate: expected"),
     (lambda: rank_softmax(0), "temperature: expected"),
     (lambda: bin_softmax(1, 0), "bins: expected"),
     (lambda: easiest(0), "share: expected"),
     (lambda: band_mixture(0, (1, 0), (1, 0, 0)), "equal lengths"),
     (lambda: rank_gaussian(0.5, 0), "width: expected"),
     (lambda: level_edges([]), "levels: expected at least one")],
)  # fmt: skip
def test_wrong_arguments(call, message):
    with pytest.raises(InputError, match=message):
        call()
