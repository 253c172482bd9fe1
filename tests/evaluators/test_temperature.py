"""The temperature against a grid, and what it must and must not depend on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from gradatim.core.errors import InputError
from gradatim.evaluators.temperature import fit_temperature


def drawn(seed, rows=200, options=4, sure=1.0):
    random = np.random.default_rng(seed)
    scores = 2 * random.normal(size=(rows, options))
    p = special.softmax(scores, axis=1)
    answers = (random.random((rows, 1)) > p.cumsum(axis=1)).sum(axis=1).clip(0, options - 1)
    return sure * scores, answers


def loss(scores, answers, temperature):
    return -special.log_softmax(scores / temperature, axis=1)[
        np.arange(len(scores)), answers
    ].mean()


@given(st.integers(0, 10**6), st.sampled_from([0.3, 1.0, 5.0]))
def test_no_other_temperature_is_better(seed, sure):
    scores, answers = drawn(seed, sure=sure)
    best = fit_temperature(scores, answers)
    reached = loss(scores, answers, best)
    assert reached <= min(loss(scores, answers, one) for one in np.geomspace(0.05, 100, 300)) + 1e-6
    assert fit_temperature(scores + answers[:, None], answers) == pytest.approx(best, rel=1e-2)


def test_it_is_found_again():
    for sure in (0.3, 1.0, 7.0):
        scores, answers = drawn(0, rows=4000, sure=sure)
        assert fit_temperature(scores, answers) == pytest.approx(sure, rel=0.1)


def test_options_that_are_not_there_change_nothing():
    scores, answers = drawn(1)
    wide = np.pad(scores, ((0, 0), (0, 2)), constant_values=-np.inf)
    assert fit_temperature(wide, answers) == pytest.approx(fit_temperature(scores, answers))


def test_bounds():
    scores, _ = drawn(2)
    always, never = scores.argmax(axis=1), scores.argmin(axis=1)
    assert fit_temperature(scores, always) == pytest.approx(0.05, rel=0.01)
    assert fit_temperature(scores, always, low=1.0) == pytest.approx(1.0, rel=0.01)
    assert fit_temperature(scores, never) == pytest.approx(100.0, rel=0.01)
    assert fit_temperature(np.empty((0, 3)), []) == 1.0


@pytest.mark.parametrize(
    ("scores", "answers", "told"),
    [
        ([1.0, 2.0], [0, 1], r"scores: expected shape \[N, A\]"),
        ([[1.0, 2.0]], [2], "answers: expected options with a finite score, got 2 in row 0"),
        ([[1.0, -np.inf]], [1], "got 1 in row 0"),
        ([[1.0, 2.0]], [0, 1], "expected equal lengths"),
    ],
)
def test_bad_input(scores, answers, told):
    with pytest.raises(InputError, match=told):
        fit_temperature(scores, answers)
    with pytest.raises(InputError, match="high"):
        fit_temperature([[0.0, 1.0]], [0], low=2.0, high=1.0)
