import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from gradatim.core.errors import InputError
from gradatim.core.statistics import proportion_interval
from gradatim.metrics.accuracy_by_difficulty import accuracy_by_difficulty
from gradatim.metrics.failure_ranking import failure_auroc
from gradatim.metrics.noise_crossing import noise_crossing

RATES = np.linspace(0, 0.6, 7)


@given(st.floats(0.05, 0.55))
def test_straight_lines_cross_where_they_do(place):
    hard = np.tile(0.8 - 0.5 * RATES, (4, 1))
    found = noise_crossing(RATES, np.full(4, 0.8 - 0.5 * place), hard, n_boot=50)
    assert found.rate == pytest.approx(place)
    assert found.low == pytest.approx(place) and found.high == pytest.approx(place)


def test_easy_from_the_start_and_never():
    hard = np.tile(0.8 - 0.1 * RATES, (3, 1))
    assert noise_crossing(RATES, [0.9] * 3, hard).rate == 0.0
    never = noise_crossing(RATES, [0.5] * 3, hard)
    assert math.isnan(never.rate) and math.isinf(never.high) and "60%" in never.sentence()


def test_noisy_easy_labels_have_a_curve_of_their_own():
    easy, hard = np.tile(0.75 - 0.25 * RATES, (2, 1)), np.tile(0.8 - 0.5 * RATES, (2, 1))
    assert noise_crossing(RATES, easy, hard).rate == pytest.approx(0.2)


def test_the_interval_grows_with_the_spread_of_runs():
    random = np.random.default_rng(0)
    for spread, widest in ((0.001, 0.02), (0.02, 0.2)):
        hard = 0.8 - 0.5 * RATES + random.normal(0, spread, (10, 7))
        found = noise_crossing(RATES, np.full(10, 0.65), hard)
        assert found.low <= found.rate <= found.high < found.low + widest
        assert found.low - 0.02 < 0.3 < found.high + 0.02


def test_crossing_errors():
    with pytest.raises(InputError, match="rates: expected at least 2 ascending"):
        noise_crossing([0.2, 0.1], [1.0], [[1.0, 1.0]])
    with pytest.raises(InputError, match=r"hard: expected shape \[runs, 2\]"):
        noise_crossing([0.0, 0.1], [1.0], [[1.0]])
    with pytest.raises(InputError, match="easy: expected shape"):
        noise_crossing([0.0, 0.1], [1.0, 1.0], [[1.0, 1.0]])


@given(st.integers(0, 500), st.integers(5, 80), st.integers(1, 12))
def test_bins_are_a_partition_in_order(seed, size, bins):
    random = np.random.default_rng(seed)
    difficulty = random.integers(0, 9, size)
    correct = random.random(size) < 0.5
    found = accuracy_by_difficulty(correct, difficulty, bins=bins)
    assert len(found) <= bins and sum(one.accuracy.n for one in found) == size
    assert all(a.high < b.low for a, b in pairwise(found))
    for one in found:
        chosen = (difficulty >= one.low) & (difficulty <= one.high)
        assert one.accuracy == proportion_interval(int(correct[chosen].sum()), int(chosen.sum()))
        assert one.mean == pytest.approx(difficulty[chosen].mean())


def test_different_difficulties_fill_bins_evenly():
    found = accuracy_by_difficulty(np.ones(100), np.random.default_rng(0).permutation(100))
    assert [one.accuracy.n for one in found] == [10] * 10
    with pytest.raises(InputError, match=r"correct: expected booleans, got 0\.5 at row 0"):
        accuracy_by_difficulty([0.5], [1.0])
    with pytest.raises(InputError, match="expected at least one example"):
        accuracy_by_difficulty([], [])


def test_the_area_is_scikit_learns_and_its_interval_covers():
    random = np.random.default_rng(0)
    covered = []
    for _ in range(200):
        failed = random.random(120) < 0.4
        score = random.normal(size=120) + failed  # the area is Phi(1 / sqrt 2) = 0.760
        found = failure_auroc(score, failed)
        assert found.estimate == pytest.approx(roc_auc_score(failed, score))
        covered.append(not found.excludes(0.7602))
    assert 0.9 < np.mean(covered) < 0.99


def test_the_standard_error_is_delongs_by_brute_force():
    random = np.random.default_rng(1)
    failed, score = random.random(40) < 0.5, random.integers(0, 6, 40)
    a, b = score[failed][:, None], score[~failed][None]
    wins = (a > b) + 0.5 * (a == b)
    variance = sum(wins.mean(k).var(ddof=1) / len(wins.mean(k)) for k in (0, 1))
    assert failure_auroc(score, failed).standard_error == pytest.approx(math.sqrt(variance))
