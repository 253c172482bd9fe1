"""Draws by rank: what they cost, and each example once where that is promised."""

import tracemalloc

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from scipy import stats

from gradatim.core.errors import InputError
from gradatim.core.seeds import numpy_generator
from gradatim.curriculum.draws import RankedDraws, order_without_replacement, pool_size
from gradatim.curriculum.pacing import Pacing
from gradatim.curriculum.rank_weights import RankBins, RankSlope, easiest, rank_softmax


def test_draws_are_examples_by_the_rank_of_their_difficulty():
    difficulty = np.random.default_rng(0).permutation(50) / 7
    draws = RankedDraws(difficulty)
    weights = rank_softmax(0.2)
    drawn = draws.draw(weights, 50_000, numpy_generator(0))
    expected = weights.probabilities(50)[stats.rankdata(difficulty).astype(int) - 1]
    counts = np.bincount(drawn, minlength=50)
    assert stats.chisquare(counts, expected * 50_000).pvalue > 1e-3


def test_easiest_are_all_alike_and_different_within_a_batch():
    draws = RankedDraws(-np.arange(40.0))
    batches = [draws.draw_easiest(0.25, 4, numpy_generator(s)) for s in range(4000)]
    assert all(len(set(batch.tolist())) == 4 for batch in batches)
    counts = np.bincount(np.concatenate(batches), minlength=40)
    assert (counts[:30] == 0).all()
    assert stats.chisquare(counts[30:]).pvalue > 1e-3
    # never fewer in the pool than a batch needs
    assert sorted(draws.draw_easiest(0.0, 5, numpy_generator(0))) == [35, 36, 37, 38, 39]


@given(st.integers(1, 10**8), st.data())
def test_pool_size_of_k_of_n_is_k(n, data):
    k = data.draw(st.integers(0, n))
    assert pool_size(k / n, n) == k
    if k < n and n < 10**6:
        assert pool_size((k + 0.01) / n, n) == k + 1


def test_a_draw_costs_the_same_however_many_examples_there_are():
    weights = RankBins(np.linspace(0, 1, 1025), np.linspace(1, 2, 1024))
    peaks = []
    for n in (10_000, 2**24 + 5):
        draws = RankedDraws.of_order(np.arange(n, dtype=np.int32))
        tracemalloc.start()
        assert len(draws.draw(weights, 256, numpy_generator(0))) == 256
        assert len(draws.draw(RankSlope(2.0), 256, numpy_generator(0))) == 256
        assert len(draws.draw_easiest(0.9, 256, numpy_generator(0))) == 256
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0] + 20_000 < 400_000


def follow(n, batch_size, weights, seed=0, bins=256):
    count = -(-n // batch_size)
    moments = np.arange(count) / count
    order = order_without_replacement(
        n, batch_size, weights, moments, numpy_generator(seed), bins=bins
    )
    return [order[k * batch_size : (k + 1) * batch_size] for k in range(count)]


@given(
    st.integers(1, 80), st.integers(1, 9), st.integers(1, 90), st.floats(-30, 30),
    st.floats(0.01, 1), st.integers(0, 3),
)  # fmt: skip
def test_without_replacement_is_a_permutation(n, batch_size, bins, rate, share, seed):
    for weights in (lambda t: RankSlope(rate * (1 - t)), lambda t: easiest(max(share, 1 / n))):
        batches = follow(n, batch_size, weights, seed, bins)
        assert sorted(np.concatenate(batches).tolist()) == list(range(n))


def test_without_replacement_the_pace_is_kept_to_within_a_bin():
    n, size, pacing = 2000, 20, Pacing("root", start=0.2)
    batches = follow(n, size, lambda t: easiest(pacing(t)), bins=100)
    for k, batch in enumerate(batches):
        pool = pool_size(pacing(k / 100), n)
        assert batch.max() < pool + n / 100
    # it is no sorted order: early batches reach through the whole pool
    assert max(batch.max() for batch in batches[:3]) > 0.15 * n


def test_a_pace_too_slow_for_one_epoch_goes_on_with_the_next_easiest():
    batches = follow(400, 20, lambda t: easiest(0.25), bins=400)
    assert np.concatenate(batches[:5]).max() < 100
    for k, batch in enumerate(batches[5:]):
        assert set(batch.tolist()) == set(range(100 + 20 * k, 120 + 20 * k))


def test_hard_first_goes_on_with_the_next_hardest():
    batches = follow(100, 10, lambda t: RankBins([0.9, 1.0], [1.0]), bins=100)
    assert [int(batch.min()) for batch in batches] == list(range(90, -1, -10))


def test_uniform_weights_without_replacement_are_a_fair_shuffle():
    places = np.stack(
        [np.concatenate(follow(6, 2, lambda t: RankSlope(0.0), seed)) for seed in range(3000)]
    )
    for column in places.T:
        assert stats.chisquare(np.bincount(column, minlength=6)).pvalue > 1e-4


def test_the_first_batch_follows_the_weights_exactly():
    # one draw from two bins of unlike mass: nothing is used up yet
    weights = RankBins([0, 0.5, 1], [0.8, 0.2])
    first = [follow(4, 1, lambda t: weights, seed)[0][0] for seed in range(4000)]
    expected = np.array([0.4, 0.4, 0.1, 0.1]) * 4000
    assert stats.chisquare(np.bincount(first, minlength=4), expected).pvalue > 1e-3


@pytest.mark.parametrize(
    ("call", "message"),
    [(lambda: RankedDraws([]), "difficulty: expected at least one"),
     (lambda: RankedDraws([1.0, float("inf")]), "difficulty: expected finite"),
     (lambda: RankedDraws([1.0]).draw_easiest(1, 2, numpy_generator(0)), "count: expected"),
     (lambda: RankedDraws([1.0]).draw_easiest(1.2, 1, numpy_generator(0)), "share: expected"),
     (lambda: order_without_replacement(4, 2, easiest, [1.0], numpy_generator(0)),
      "progress: expected one value for each of 2 batches, got 1")],
)  # fmt: skip
def test_wrong_arguments(call, message):
    with pytest.raises(InputError, match=message):
        call()
