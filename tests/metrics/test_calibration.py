"""Calibration error and risk-coverage area against brute force."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.metrics.calibration import (
    aurc,
    confidence_and_correctness,
    excess_aurc,
    expected_calibration_error,
    overconfidence,
)


def draws(seed, n=400):
    generator = np.random.default_rng(seed)
    sure = generator.random(n)
    return sure, generator.random(n) < sure**2


@pytest.mark.parametrize("bins", [1, 7, 10])
def test_calibration_error_bin_by_bin(bins):
    sure, right = draws(0)
    wanted = 0.0
    for low in np.arange(bins) / bins:
        inside = (sure > low) & (sure <= low + 1 / bins)
        if inside.any():
            wanted += inside.mean() * abs(right[inside].mean() - sure[inside].mean())
    assert expected_calibration_error(sure, right, bins=bins) == pytest.approx(wanted, abs=1e-12)


def test_edges_belong_to_the_bin_below():
    # 0.5 shares a bin with 0.45, and 0.55 does not
    assert expected_calibration_error([0.5, 0.45, 0.55], [1, 0, 1]) == pytest.approx(
        (abs(1 - 0.95) + 0.45) / 3
    )
    assert expected_calibration_error([0.0, 1.0], [False, True]) == 0.0


def test_a_calibrated_model_has_no_error():
    sure = np.repeat([0.25, 0.75], 4)
    right = [1, 0, 0, 0, 1, 1, 1, 0]
    assert expected_calibration_error(sure, right) == 0.0
    assert overconfidence(sure, right) == 0.0


def test_one_bin_is_the_size_of_overconfidence():
    sure, right = draws(1)
    wanted = abs(overconfidence(sure, right))
    assert expected_calibration_error(sure, right, bins=1) == pytest.approx(wanted)
    assert overconfidence(sure, right) == pytest.approx(sure.mean() - right.mean())
    assert expected_calibration_error(sure, right) >= wanted - 1e-12


def area(right):
    """The definition, for predictions in order of confidence."""
    return np.mean([1 - np.mean(right[:k]) for k in range(1, len(right) + 1)])


def test_area_by_hand():
    sure, right = draws(2)
    assert aurc(sure, right) == pytest.approx(area(right[np.argsort(-sure)]), abs=1e-12)


def test_ties_count_as_the_mean_over_their_orders():
    sure, right = [0.9, 0.5, 0.5, 0.5, 0.1], np.array([1, 0, 1, 1, 0])
    orders = [[0, *middle, 4] for middle in itertools.permutations((1, 2, 3))]
    assert aurc(sure, right) == pytest.approx(np.mean([area(right[order]) for order in orders]))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.1, 0.4, 0.6, 0.9]), st.booleans()), min_size=1))
def test_excess_is_over_the_best_order(pairs):
    sure, right = (np.array(values) for values in zip(*pairs, strict=True))
    errors, n = int((~right).sum()), len(right)
    best = sum(j / (n - errors + j) for j in range(1, errors + 1)) / n
    assert excess_aurc(sure, right) == pytest.approx(aurc(sure, right) - best, abs=1e-12)
    assert excess_aurc(sure, right) >= -1e-12
    assert excess_aurc(right.astype(float), right) == pytest.approx(0, abs=1e-12)
    shuffled = np.random.default_rng(0).permutation(n)
    assert aurc(sure[shuffled], right[shuffled]) == pytest.approx(aurc(sure, right))


def test_area_takes_any_number_as_confidence():
    sure, right = draws(3)
    assert aurc(np.log(sure), right) == pytest.approx(aurc(sure, right), abs=1e-12)
    assert aurc(-sure, right) > aurc(sure, right)
    assert (aurc([3.0], [0]), aurc([3.0], [1])) == (1.0, 0.0)


def test_reading_probabilities():
    sure, right = confidence_and_correctness([[0.2, 0.5, 0.3], [0.5, 0.5, 0.0]], [2, 0])
    assert sure.tolist() == [0.5, 0.5]
    assert right.tolist() == [False, True]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: aurc([], []), "confidence: expected at least one example"),
        (lambda: aurc([0.1, 0.2], [1]), "expected equal lengths"),
        (lambda: aurc([float("nan")], [1]), "confidence: expected finite"),
        (lambda: aurc([[0.1]], [1]), r"confidence, correct: expected shape \[n\]"),
        (lambda: expected_calibration_error([0.5], [2]), "correct: expected booleans"),
        (lambda: expected_calibration_error([1.5], [1]), "confidence: expected probabilities"),
        (lambda: expected_calibration_error([0.5], [1], bins=0), "bins: expected"),
        (lambda: confidence_and_correctness([0.5], [0]), "probabilities: expected shape"),
        (lambda: confidence_and_correctness([[0.5, 0.5]], [0, 1]), "labels: expected shape"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()
