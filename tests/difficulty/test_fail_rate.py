import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gradatim.core.errors import InputError
from gradatim.difficulty.fail_rate import count_attempts, fail_rate, fail_rate_interval

COUNTS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=20)


def test_hand_values():
    assert fail_rate([3], [16]).tolist() == [0.8125]
    assert 1 - fail_rate([3], [16], prior=(1, 1))[0] == pytest.approx(4 / 18)
    assert fail_rate([0, 5], [5, 5]).tolist() == [1.0, 0.0]
    assert fail_rate(torch.tensor([1]), torch.tensor([4])).tolist() == [0.75]
    assert fail_rate([0], [0], prior=(1, 3)).tolist() == [0.75]


@given(COUNTS, st.floats(0.5, 5), st.floats(0.5, 5))
def test_the_posterior_is_that_of_scipy(pairs, a, b):
    right = np.array([min(pair) for pair in pairs])
    trials = np.array([max(pair) for pair in pairs])
    posterior = stats.beta(trials - right + b, right + a)
    np.testing.assert_allclose(fail_rate(right, trials, (a, b)), posterior.mean(), rtol=1e-9)
    low, high = fail_rate_interval(right, trials, (a, b), 0.9)
    np.testing.assert_allclose(posterior.cdf(low), 0.05, rtol=1e-4)
    np.testing.assert_allclose(posterior.cdf(high), 0.95, rtol=1e-4)


def test_more_attempts_make_surer():
    low, high = fail_rate_interval([1, 10, 100], [4, 40, 400])
    assert (np.diff(high - low) < 0).all() and (low < 0.75).all() and (high > 0.75).all()


def test_the_interval_covers_what_it_promises():
    generator = np.random.default_rng(0)
    fails = generator.random(20_000)  # drawn from the prior, so that coverage is exact
    right = generator.binomial(12, 1 - fails)
    low, high = fail_rate_interval(right, np.full(len(fails), 12), confidence=0.8)
    assert ((low <= fails) & (fails <= high)).mean() == pytest.approx(0.8, abs=0.01)


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=60))
def test_counting_is_that_of_a_loop(log):
    ids, correct = zip(*log, strict=True)
    attempts = count_attempts(ids, correct)
    assert attempts.ids == list(dict.fromkeys(ids))
    for name, right, trials in zip(
        attempts.ids, attempts.n_correct, attempts.n_trials, strict=True
    ):
        own = [flag for one, flag in log if one == name]
        assert (right, trials) == (sum(own), len(own))


def test_text_ids():
    attempts = count_attempts(["q2", "q1", "q2"], [True, False, False])
    assert attempts.ids == ["q2", "q1"] and attempts.n_trials.tolist() == [2, 1]


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: fail_rate([1, 5], [2, 4]), "n_correct: .* to the 4 attempts, got 5 at row 1"),
        (lambda: fail_rate([-1], [2]), "n_correct: expected a whole number .* got -1 at row 0"),
        (lambda: fail_rate([0.5], [2]), "n_correct: expected a whole number .* got 0.5"),
        (lambda: fail_rate([0, 0], [2, -1]), "n_trials: expected a whole number from 0 up, got -1"),
        (lambda: fail_rate([0, 0], [2, 0]), "n_trials: expected at least 1.* at row 1"),
        (lambda: fail_rate([0], [1, 2]), "expected equal lengths"),
        (lambda: fail_rate([[0]], [[1]]), r"n_correct: expected shape \[N\]"),
        (lambda: fail_rate([float("nan")], [1]), "n_correct: expected finite numbers"),
        (lambda: fail_rate([0], [1], (-1, 0)), r"prior\[0\]: expected a number in \[0.0"),
        (lambda: fail_rate_interval([0], [1], (0, 1)), r"prior\[0\]: expected a number in \(0"),
        (lambda: fail_rate_interval([0], [1], confidence=1), "confidence"),
        (lambda: count_attempts(["a", "b"], [1, 2]), "correct: expected booleans, got 2 at row 1"),
        (lambda: count_attempts([], []), "ids: expected at least one attempt"),
        (lambda: count_attempts(["a", None], [1, 0]), "ids: expected an id .* none at row 1"),
        (lambda: count_attempts(["a"], [1, 0]), "expected equal lengths"),
    ],
)
def test_bad_input(call, told):
    with pytest.raises(InputError, match=told):
        call()
