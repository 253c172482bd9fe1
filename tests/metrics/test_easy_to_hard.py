import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.core.statistics import proportion_interval
from gradatim.metrics.easy_to_hard import easy_to_hard_report

NAN = float("nan")


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), size=st.integers(2, 80))
def test_accuracies_equal_counts(seed, size):
    generator = np.random.default_rng(seed)
    level = np.r_[1, 5, generator.integers(1, 6, size)]
    correct = generator.random(len(level)) < 0.5
    report = easy_to_hard_report(correct, level, easy=2, hard=4)
    for got, chosen in (
        (report.overall, level > 0),
        (report.easy, level <= 2),
        (report.hard, level >= 4),
        *((report.levels[float(value)], level == value) for value in set(level)),
    ):
        assert got == proportion_interval(int(correct[chosen].sum()), int(chosen.sum()))
    assert list(report.levels) == sorted(set(level))
    assert report.drop.estimate == report.easy.estimate - report.hard.estimate
    assert -1 - 1e-12 <= report.drop.low <= report.drop.estimate <= report.drop.high <= 1 + 1e-12


def test_the_interval_of_the_drop_is_newcombes():
    # His table II, example (a), 56/70 against 48/80, and example (h), 10/10 against 0/10.
    for (a, m, b, n), (low, high) in {
        (56, 70, 48, 80): (0.0524, 0.3339),
        (10, 10, 0, 10): (0.6075, 1.0),
    }.items():
        correct = np.r_[np.arange(m) < a, np.arange(n) < b]
        drop = easy_to_hard_report(correct, np.r_[np.zeros(m), np.ones(n)], easy=0).drop
        assert drop.low == pytest.approx(low, abs=5e-5)
        assert drop.high == pytest.approx(high, abs=5e-5)


def test_the_interval_of_the_drop_covers_as_told():
    generator = np.random.default_rng(0)
    level = np.r_[np.zeros(60), np.ones(40)]
    reports = [
        easy_to_hard_report(generator.random(100) < np.where(level, 0.3, 0.8), level, easy=0)
        for _ in range(400)
    ]
    covered = np.mean([not report.drop.excludes(0.5) for report in reports])
    assert 0.92 < covered < 0.98


def test_everything_is_hard_that_is_not_easy():
    correct, level = torch.tensor([True, True, False]), torch.tensor([1, 4, 4.5])
    report = easy_to_hard_report(correct, level, easy=3, confidence=0.9)
    assert (report.hard.n, report.hard.estimate, report.drop.confidence) == (2, 0.5, 0.9)
    assert easy_to_hard_report(correct, level, easy=3, hard=4.5).hard.n == 1


@pytest.mark.parametrize(
    ("correct", "level", "given_", "message"),
    [
        ([1, 0, 1], [1, 5], {"easy": 3}, "equal lengths"),
        ([1, 0.5], [1, 5], {"easy": 3}, "correct: expected booleans, got 0.5 at row 1"),
        ([1, NAN], [1, 5], {"easy": 3}, "correct: .* got nan at row 1"),
        ([1, 0], [NAN, 5], {"easy": 3}, "difficulty: .* got nan at row 0"),
        ([1, 0], [4, 5], {"easy": 3}, "difficulty: expected at least one easy example"),
        ([1, 0], [1, 2], {"easy": 3}, "difficulty: expected at least one hard example"),
        ([1, 0], [1, 5], {"easy": 3, "hard": 3}, "hard: expected a number"),
        ([[1, 0]], [1, 5], {"easy": 3}, r"correct: expected shape \[N\]"),
    ],
)
def test_errors(correct, level, given_, message):
    with pytest.raises(InputError, match=message):
        easy_to_hard_report(correct, level, **given_)
