"""Statistics against scipy, scikit-learn, brute force and simulation."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import optimize, stats
from sklearn.metrics import roc_auc_score

from gradatim.core import statistics as s
from gradatim.core.errors import InputError

reals = st.floats(-1e6, 1e6).map(lambda x: round(x, 6))
samples = hnp.arrays(np.float64, st.integers(2, 30), elements=reals)


def spread(values):
    assume(values.std() > 1e-6)
    return values


@given(samples, st.floats(0.5, 0.999), reals)
def test_mean_interval_equals_scipys_t_test(values, confidence, threshold):
    spread(values)
    ours = s.mean_interval(values, confidence)
    theirs = stats.ttest_1samp(values, threshold)
    low, high = theirs.confidence_interval(confidence)
    np.testing.assert_allclose([ours.low, ours.high], [low, high], rtol=1e-9, atol=1e-8)
    assert ours.p_value(threshold) == pytest.approx(theirs.pvalue, rel=1e-8, abs=1e-300)
    assert (ours.n, ours.confidence) == (len(values), confidence)
    assert ours.standard_error == pytest.approx(stats.sem(values))


@given(samples, st.integers(0, 2**32 - 1))
def test_paired_interval_equals_scipys_paired_test(first, seed):
    second = first + np.random.default_rng(seed).normal(size=len(first))
    ours, theirs = s.paired_interval(first, second, 0.9), stats.ttest_rel(first, second)
    low, high = theirs.confidence_interval(0.9)
    np.testing.assert_allclose([ours.low, ours.high], [low, high], rtol=1e-6, atol=1e-6)
    assert ours.p_value(0.0) == pytest.approx(theirs.pvalue, rel=1e-6)


@pytest.mark.parametrize("n", [5, 10])
def test_interval_covers_as_often_as_it_says(n):
    rng = np.random.default_rng(n)
    repeats = 4000
    missed = sum(s.mean_interval(row).excludes(0.3) for row in rng.normal(0.3, 2.0, (repeats, n)))
    deviation = math.sqrt(0.05 * 0.95 / repeats)
    assert abs(missed / repeats - 0.05) < 3.5 * deviation


@given(samples, reals)
def test_interval_excludes_what_its_test_rejects(values, threshold):
    interval = s.mean_interval(spread(values))
    p = interval.p_value(threshold)
    assume(abs(p - 0.05) > 1e-9)
    assert interval.excludes(threshold) == (p < 0.05)


@pytest.mark.parametrize("value", [0.1, 0.0, -3.7, 1e300, 5e-324])
@pytest.mark.parametrize("n", [2, 3, 10])
def test_equal_values_give_zero_width_at_that_value(value, n):
    interval = s.mean_interval([value] * n)
    assert interval.low == interval.estimate == interval.high == value
    assert interval.standard_error == 0.0
    assert interval.p_value(value) == 1.0
    assert interval.p_value(value + 1.0 if abs(value) < 10 else 0.0) == 0.0
    assert not interval.excludes(value)
    assert interval.inside(value, value)


def test_inside_and_excludes_at_the_borders():
    interval = s.Interval(1.0, 0.5, 1.5, 0.95, 5, 0.2)
    assert interval.inside(0.5, 1.5)
    assert not interval.inside(0.6, 2.0)
    assert not interval.inside(0.0, 1.4)
    assert not interval.excludes(0.5)
    assert not interval.excludes(1.5)
    assert interval.excludes(0.4999)
    assert interval.excludes(1.5001)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: s.mean_interval([]), "at least 2 numbers for an interval, got 0"),
        (lambda: s.mean_interval([1.0]), "at least 2 numbers for an interval, got 1"),
        (lambda: s.mean_interval([1.0, 2.0, math.nan]), "values: .* nan at row 2"),
        (lambda: s.mean_interval([1.0, math.inf, 2.0]), "values: .* inf at row 1"),
        (lambda: s.mean_interval([[1.0, 2.0]]), r"one dimension, got shape \[1, 2\]"),
        (lambda: s.mean_interval(["a", "b"]), "values: expected numbers"),
        (lambda: s.mean_interval([1.0, None]), "values: .* nan at row 1|expected numbers"),
        (lambda: s.mean_interval([1.0, 2.0], 1.0), r"confidence: .* \(0.0, 1.0\), got 1.0"),
        (lambda: s.paired_interval([1.0, 2.0], [1.0]), "first has 2, second has 1"),
        (lambda: s.paired_interval([1.0, 2.0], [1.0, math.nan]), "second: .* nan at row 1"),
        (lambda: s.equivalence_test([1.0, 2.0], 0.0), "margin: .* got 0.0"),
        (lambda: s.holm([0.1, 1.5]), "p_values: .* got 1.5 at row 1"),
        (lambda: s.holm([0.1, -0.5]), "p_values: .* got -0.5 at row 1"),
        (lambda: s.holm([math.nan]), "p_values: .* nan at row 0"),
        (lambda: s.proportion_interval(0, 0), "trials: .* got 0"),
        (lambda: s.proportion_interval(3, 2), "successes: .* got 3"),
        (lambda: s.proportion_interval(1, 2).p_value(1.5), "threshold: .* got 1.5"),
        (lambda: s.rank_correlation([1, 1, 1], [1, 2, 3]), "a: .* different numbers, got 1"),
        (lambda: s.rank_correlation([1, 2, 3], [2, 2, 2]), "b: .* different numbers, got 1"),
        (lambda: s.rank_correlation([1, 2], [1, 2, 3]), "a has 2, b has 3"),
        (lambda: s.auroc([0.1, 0.2], [1, 1]), "no negative one"),
        (lambda: s.auroc([0.1, 0.2], [0, 0]), "no positive one"),
        (lambda: s.auroc([0.1, 0.2], [0, 2]), "positive: expected booleans, got 2.0 at row 1"),
        (lambda: s.auroc([0.1, math.nan], [0, 1]), "scores: .* nan at row 1"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(InputError, match=words):
        call()


@given(samples, st.floats(1e-3, 1e3), st.floats(-1e3, 1e3))
def test_equivalence_is_the_larger_of_two_one_sided_tests(values, margin, centre):
    spread(values)
    above = stats.ttest_1samp(values, centre - margin, alternative="greater").pvalue
    below = stats.ttest_1samp(values, centre + margin, alternative="less").pvalue
    ours = s.equivalence_test(values, margin, centre)
    assert ours == pytest.approx(max(above, below), rel=1e-7, abs=1e-300)
    interval = s.mean_interval(values, 0.9)
    if abs(ours - 0.05) > 1e-9:
        assert (ours < 0.05) == interval.inside(centre - margin, centre + margin)


def test_equivalence_without_spread():
    assert s.equivalence_test([0.5, 0.5, 0.5], 1.0) == 0.0
    assert s.equivalence_test([1.0, 1.0], 1.0) == 1.0
    assert s.equivalence_test([2.0, 2.0], 1.0) == 1.0
    assert s.equivalence_test([2.0, 2.0], 1.0, centre=1.5) == 0.0


def brute_force_holm(p_values):
    m = len(p_values)
    adjusted = []
    for p, position in sorted((p, i) for i, p in enumerate(p_values)):
        rank = len(adjusted)
        before = adjusted[-1][0] if adjusted else 0.0
        adjusted.append((max(before, min(1.0, (m - rank) * p)), position))
    return [a for a, _ in sorted(adjusted, key=lambda pair: pair[1])]


@given(st.lists(st.floats(0, 1) | st.sampled_from([0.0, 0.01, 0.5, 1.0]), max_size=40))
def test_holm_equals_brute_force(p_values):
    ours = s.holm(p_values)
    np.testing.assert_allclose(ours, brute_force_holm(p_values), rtol=1e-12)
    assert (ours >= np.array(p_values)).all()
    assert (ours <= 1.0).all()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.randoms())
def test_holm_follows_the_order_of_its_input(p_values, random):
    order = list(range(len(p_values)))
    random.shuffle(order)
    shuffled = s.holm([p_values[i] for i in order])
    np.testing.assert_array_equal(shuffled, s.holm(p_values)[order])


@given(st.integers(1, 500), st.data(), st.floats(0.5, 0.999))
def test_proportion_interval_equals_scipys_wilson(trials, data, confidence):
    successes = data.draw(st.integers(0, trials))
    ours = s.proportion_interval(successes, trials, confidence)
    reference = stats.binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    np.testing.assert_allclose([ours.low, ours.high], [reference.low, reference.high], atol=1e-12)
    assert 0.0 <= ours.low <= ours.estimate <= ours.high <= 1.0
    assert ours.estimate == successes / trials


@given(st.integers(2, 100), st.data())
def test_the_proportions_score_test_is_alpha_at_the_bounds(trials, data):
    successes = data.draw(st.integers(1, trials - 1))
    interval = s.proportion_interval(successes, trials)
    assert interval.p_value(interval.low) == pytest.approx(0.05)
    root = optimize.brentq(lambda q: interval.p_value(q) - 0.05, interval.estimate, 1 - 1e-12)
    assert root == pytest.approx(interval.high, abs=1e-9)


def test_a_proportion_at_the_edge_has_a_p_value():
    assert s.proportion_interval(0, 10).p_value(0.0) == 1.0
    assert s.proportion_interval(1, 10).p_value(0.0) == 0.0
    assert s.proportion_interval(10, 10).p_value(0.5) < 0.01


@given(st.integers(3, 30), st.integers(0, 2**32 - 1), st.integers(2, 20))
def test_rank_correlation_is_the_correlation_of_mean_ranks(n, seed, levels):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(levels, size=n), rng.normal(size=n)
    assume(len(set(a)) > 1)
    ranks = [((x[:, None] > x).sum(1) + (x[:, None] == x).sum(1) / 2) for x in (a, b)]
    expected = np.corrcoef(ranks)[0, 1]
    assert s.rank_correlation(a, b) == pytest.approx(expected, abs=1e-12)
    assert s.rank_correlation(a, -b) == pytest.approx(-expected, abs=1e-12)
    assert s.rank_correlation(b, np.exp(b)) == pytest.approx(1.0, abs=1e-12)


@given(st.integers(2, 60), st.integers(0, 2**32 - 1), st.sampled_from([2, 5, 1000]))
def test_auroc_equals_sklearn_and_counting(n, seed, levels):
    rng = np.random.default_rng(seed)
    scores, positive = rng.integers(levels, size=n) / 7.0, rng.random(n) < 0.4
    assume(0 < positive.sum() < n)
    difference = scores[positive][:, None] - scores[~positive]
    counted = ((difference > 0) + 0.5 * (difference == 0)).mean()
    ours = s.auroc(scores, positive)
    assert ours == pytest.approx(counted, abs=1e-12)
    assert ours == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)
    assert s.auroc(-scores, positive) == pytest.approx(1 - ours, abs=1e-12)
