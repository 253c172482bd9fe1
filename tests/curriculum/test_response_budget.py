import itertools

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.curriculum.response_budget import (
    allocate_trials,
    expected_trials,
    response_targets,
    targets_of_total,
)

DIFFICULTY = st.lists(st.floats(0, 1), min_size=1, max_size=30)


def test_worked_examples():
    assert response_targets([0.0, 0.5, 1.0], "prop2diff", 4).tolist() == [1, 2, 4]
    assert response_targets([0.25, 0.75], "prop2diff", 192).tolist() == [64, 192]
    assert response_targets([0.25, 0.75], "uniform", 40).tolist() == [40, 40]
    assert response_targets([0.25, 0.75], "vanilla", 52).tolist() == [52, 52]


@given(st.floats(0, 1), st.integers(1, 300), st.integers(1, 9))
def test_equal_difficulties_make_prop2diff_uniform(value, k, count):
    equal = [value] * count
    assert (response_targets(equal, "prop2diff", k) == response_targets(equal, "uniform", k)).all()


@given(st.lists(st.integers(0, 16), min_size=1, max_size=20), st.integers(1, 200))
def test_rounding_up_is_that_of_fractions(fails, k):
    assume(max(fails) > 0)
    exact = [max(1, -(-k * one // max(fails))) for one in fails]  # whole numbers know no rounding
    assert response_targets(np.array(fails) / 16, "prop2diff", k).tolist() == exact
    assert response_targets(np.array(fails) / 3.7, "prop2diff", k).tolist() == exact


@given(DIFFICULTY, st.integers(1, 300))
def test_every_question_gets_one_and_the_hardest_k(difficulty, k):
    targets = response_targets(difficulty, "prop2diff", k)
    order = np.argsort(difficulty, kind="stable")
    assert targets.min() >= 1 and targets.max() == k == targets[order[-1]]
    assert (np.diff(targets[order]) >= 0).all()


@given(DIFFICULTY, st.sampled_from(["uniform", "prop2diff"]), st.integers(0, 500))
def test_totals_are_the_largest_that_fit(difficulty, strategy, more):
    total = len(difficulty) + more
    targets, k = targets_of_total(difficulty, strategy, total)
    assert targets.sum() <= total < response_targets(difficulty, strategy, k + 1).sum()
    assert (targets == response_targets(difficulty, strategy, k)).all()


def test_expected_trials_are_negative_binomial():
    generator = np.random.default_rng(0)
    for k, p in ((1, 0.5), (4, 0.2), (40, 0.7), (3, 0.05)):
        trials = k + generator.negative_binomial(k, p, 200_000)
        assert expected_trials([k], [p])[0] == pytest.approx(k / p)
        assert trials.mean() == pytest.approx(k / p, rel=0.02)
        cap = int(k / p)
        capped = expected_trials([k], [p], max_trials=cap)[0]
        assert np.minimum(trials, cap).mean() == pytest.approx(capped, rel=0.02)


@given(st.integers(0, 4), st.integers(0, 8), st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]))
def test_expected_trials_under_a_cap_by_enumeration(target, cap, p):
    mean = 0.0
    for outcome in itertools.product((0, 1), repeat=cap):
        passed, trials = 0, 0
        while trials < cap and passed < target:
            passed += outcome[trials]
            trials += 1
        mean += trials * np.prod([p if one else 1 - p for one in outcome])
    assert expected_trials([target], [p], cap)[0] == pytest.approx(mean, abs=1e-12)


def test_vanilla_makes_its_trials_and_keeps_in_proportion_of_the_pass_rate():
    p = np.array([0.1, 0.5, 1.0])
    targets = response_targets(1 - p, "vanilla", 52)
    trials = expected_trials(targets, p, max_trials=52)
    assert trials == pytest.approx([52, 52, 52]) and p * trials == pytest.approx(52 * p)


def test_uniform_without_a_cap_keeps_k_wherever_anything_passes():
    p = np.array([0.01, 0.3, 1.0, 0.0])
    trials = expected_trials(response_targets(1 - p, "uniform", 40), p)
    assert p[:3] * trials[:3] == pytest.approx([40] * 3) and trials[3] == np.inf


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(0, 9)), min_size=1),
    st.integers(0, 200),
    st.integers(0, 30),
)
def test_allocation_keeps_its_promises(rows, trials, cap):
    right = np.array([min(row[:2]) for row in rows])
    made = np.array([max(row[:2]) for row in rows])
    wanted = np.array([row[2] for row in rows])
    dealt = allocate_trials(right, made, wanted, trials, max_trials=cap)
    assert dealt.sum() <= trials and (dealt >= 0).all()
    assert (dealt[right >= wanted] == 0).all()
    assert (made + dealt <= np.maximum(cap, made)).all()
    need = np.ceil(np.maximum(wanted - right, 0) * (made + 2) / (right + 1) - 1e-9)
    need = np.minimum(need, np.maximum(cap - made, 0))
    if need.sum() <= trials:
        assert (dealt == need).all()
    else:
        assert dealt.sum() == trials
        assert np.abs(dealt - need * trials / need.sum()).max() < 1


def test_rounds_of_allocation_fill_the_targets_at_about_the_expected_cost():
    generator = np.random.default_rng(0)
    p = np.repeat([0.9, 0.5, 0.1], 400)
    right, made = np.zeros(1200, int), np.zeros(1200, int)
    while (dealt := allocate_trials(right, made, [8] * 1200, 2_000, max_trials=2048)).any():
        right, made = right + generator.binomial(dealt, p), made + dealt
    assert (right >= 8).all()
    cost = expected_trials([8] * 1200, p).sum()
    assert cost <= made.sum() < 1.25 * cost


def test_hopeless_questions_are_given_up():
    dealt = allocate_trials([0, 0, 3], [400, 4, 400], [9] * 3, 10_000, lowest_pass_rate=0.01)
    assert dealt[0] == 0 and dealt[1] > 0 and dealt[2] > 0


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: response_targets([0.1], "prop", 4), "strategy: expected one of vanilla, uniform"),
        (lambda: response_targets([0.1], "uniform", 0), "k: expected a number in"),
        (lambda: response_targets([0.1, -1], "uniform"), "difficulty: .* got -1 at row 1"),
        (lambda: response_targets([float("nan")]), "difficulty: expected finite numbers"),
        (lambda: response_targets([[0.1]]), r"difficulty: expected shape \[N\]"),
        (lambda: targets_of_total([0.1, 0.2], "uniform", 1), "total: .* each of 2 .* got 1"),
        (lambda: targets_of_total([], "uniform", 1), "total: .* each of 0"),
        (lambda: expected_trials([1], [1.5]), r"pass_rate: .* \[0, 1\], got 1.5"),
        (lambda: expected_trials([0.5], [1]), "targets: expected whole numbers"),
        (lambda: expected_trials([1, 2], [1]), "expected equal lengths"),
        (lambda: allocate_trials([2], [1], [3], 4), "n_correct: .* got 2 at row 0"),
        (lambda: allocate_trials([0], [1], [3], -1), "trials: expected"),
        (lambda: allocate_trials([0], [1], [3], 1, prior=(0, 1)), r"prior\[0\]"),
    ],
)
def test_bad_input(call, told):
    with pytest.raises(InputError, match=told):
        call()
