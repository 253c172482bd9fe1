import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from gradatim.core.errors import InputError
from gradatim.selection.robust_queries import (
    draw_queries,
    guaranteed_gain,
    inclusion_probabilities,
    robust_query_distribution,
    robust_query_lp,
)

GAINS = st.lists(st.floats(0.001, 1.0), min_size=1, max_size=12)


def game(gains, num_wrong):
    """The value of the game by a program with one constraint an adversary's choice."""
    count = len(gains)
    choices = list(itertools.combinations(range(count), count - num_wrong))
    rows = np.zeros((len(choices), count + 1))
    for row, right in enumerate(choices):
        rows[row, list(right)] = -np.array(gains)[list(right)]
    rows[:, -1] = 1.0
    found = linprog(
        [0.0] * count + [-1.0],
        A_ub=rows,
        b_ub=np.zeros(len(rows)),
        A_eq=[[1.0] * count + [0.0]],
        b_eq=[1.0],
        bounds=[(0, None)] * (count + 1),
    )
    return -found.fun


def test_hand_value():
    found = robust_query_distribution([1.0, 0.5, 0.25], 1)
    assert found.probabilities == pytest.approx([1 / 3, 2 / 3, 0.0], abs=1e-15)
    assert found.value == pytest.approx(1 / 3)


@settings(deadline=None, max_examples=60)
@given(GAINS, st.integers(0, 11))
def test_the_value_is_that_of_the_whole_game(gains, wrong):
    wrong %= len(gains)
    if len(gains) <= 8:
        assert robust_query_distribution(gains, wrong).value == pytest.approx(
            game(gains, wrong), abs=1e-9
        )


@pytest.mark.parametrize("seed", range(8))
def test_the_closed_form_equals_the_linear_program(seed):
    random = np.random.default_rng(seed)
    gains, wrong = random.random(60) ** 2, int(random.integers(0, 60))
    closed = robust_query_distribution(gains, wrong)
    program = robust_query_lp(gains, np.zeros(60), wrong)
    assert closed.value == pytest.approx(program.value, abs=1e-10)
    if wrong:
        assert closed.probabilities == pytest.approx(program.probabilities, abs=1e-8)


@given(GAINS, st.integers(0, 11))
def test_no_other_distribution_does_better_against_the_adversary(gains, wrong):
    wrong %= len(gains)
    found = robust_query_distribution(gains, wrong)
    q, values = found.probabilities, np.array(gains)
    assert q.sum() == pytest.approx(1.0) and (q > 0).sum() > wrong
    smallest = np.sort(q * values)[: len(values) - wrong].sum()
    assert found.value == pytest.approx(smallest, abs=1e-15)
    random = np.random.default_rng(0)
    for concentration in (0.1, 1.0, 10.0):
        for other in random.dirichlet(np.full(len(values), concentration), 100):
            assert guaranteed_gain(other, values, wrong) <= found.value + 1e-12
            assert guaranteed_gain(0.9 * q + 0.1 * other, values, wrong) <= found.value + 1e-12


@given(GAINS, st.integers(0, 11), st.floats(1e-200, 1e200), st.randoms(use_true_random=False))
def test_scale_and_order_do_not_matter(gains, wrong, scale, random):
    wrong %= len(gains)
    values = np.array(gains)
    found = robust_query_distribution(values, wrong)
    scaled = robust_query_distribution(values * scale, wrong)
    np.testing.assert_allclose(scaled.probabilities, found.probabilities, rtol=1e-9)
    assert scaled.value == pytest.approx(found.value * scale)
    order = list(range(len(values)))
    random.shuffle(order)
    moved = robust_query_distribution(values[order], wrong)
    np.testing.assert_allclose(moved.probabilities, found.probabilities[order], rtol=1e-9)


@pytest.mark.parametrize("wrong", [0, 1, 5, 9])
def test_equal_gains_are_asked_for_equally(wrong):
    found = robust_query_distribution([0.3] * 10, wrong)
    assert found.probabilities == pytest.approx([0.1] * 10)
    assert found.value == pytest.approx((10 - wrong) / 10 * 0.3)


def test_the_limits_are_the_hardest_and_the_easiest_points():
    gains = np.array([0.9, 0.5, 0.9, 0.1])
    assert robust_query_distribution(gains, 0).probabilities.tolist() == [0.5, 0.0, 0.5, 0.0]
    far = robust_query_distribution(gains, 3).probabilities
    assert far == pytest.approx((1 / gains) / (1 / gains).sum())
    means = [robust_query_distribution(gains, m).probabilities @ gains for m in range(4)]
    assert means == sorted(means, reverse=True)


def test_points_without_gain_are_not_asked_for():
    found = robust_query_distribution([0.0, 0.5, 1e-300, 1.0], 1)
    assert found.probabilities == pytest.approx([0, 2 / 3, 0, 1 / 3])
    for gains, wrong in (([0.0, 0.5, 0.0, 1.0], 2), ([0.0] * 4, 0)):
        nothing = robust_query_distribution(gains, wrong)
        assert nothing.value == 0.0 and nothing.probabilities.tolist() == [0.25] * 4


def test_a_batch_has_enough_points():
    gains = np.linspace(1.0, 0.1, 50)
    assert (robust_query_distribution(gains, 0).probabilities > 0).sum() == 1
    found = robust_query_distribution(gains, 0, min_support=20).probabilities
    assert set(np.flatnonzero(found)) == set(range(20))
    free = robust_query_distribution(gains, 10)
    assert (
        robust_query_distribution(gains, 10, min_support=5).probabilities == free.probabilities
    ).all()
    tied = robust_query_distribution([1.0, 0.5, 0.5, 0.5], 0, min_support=2).probabilities
    assert (tied > 0).all() and len(set(tied[1:])) == 1
    assert (robust_query_distribution([1.0, 0.0], 0, min_support=2).probabilities == 0.5).all()


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 6), st.integers(0, 5), st.integers(0, 1000))
def test_losses_make_the_program_more_careful(count, wrong, seed):
    wrong %= count
    random = np.random.default_rng(seed)
    gains, losses = random.random(count), random.random(count) * 3
    found = robust_query_lp(gains, losses, wrong)
    assert found.probabilities.sum() == pytest.approx(1.0)
    worst = min(
        sum(found.probabilities[i] * (-losses[i] if i in bad else gains[i]) for i in range(count))
        for bad in itertools.combinations(range(count), wrong)
    )
    assert found.value == pytest.approx(worst, abs=1e-9)
    assert found.value <= robust_query_distribution(gains, wrong).value + 1e-9
    for other in random.dirichlet(np.ones(count), 200):
        assert guaranteed_gain(other, gains, wrong, losses=losses) <= found.value + 1e-9


@given(st.lists(st.floats(0, 1), min_size=1, max_size=15), st.integers(1, 15))
def test_inclusion_probabilities_are_capped_shares(weights, budget):
    weights = np.array(weights)
    if budget > (weights > 0).sum():
        with pytest.raises(InputError, match="budget: expected at most"):
            inclusion_probabilities(weights, budget)
        return
    found = inclusion_probabilities(weights, budget)
    assert found.sum() == pytest.approx(budget) and found.min() >= 0 and found.max() <= 1
    free = (found < 1 - 1e-9) & (weights > 1e-300)
    ratio = found[free] / weights[free]
    np.testing.assert_allclose(ratio, ratio[:1].repeat(len(ratio)), rtol=1e-6)
    assert (found[weights == 0] == 0).all()


def test_draws_have_their_inclusion_probabilities_and_no_point_twice():
    weights = np.array([0.5, 0.2, 0.1, 0.1, 0.06, 0.04, 0.0])
    random = np.random.default_rng(0)
    counts, draws = np.zeros(7), 20_000
    for _ in range(draws):
        rows = draw_queries(weights, 3, random)
        assert len(set(rows.tolist())) == 3
        counts[rows] += 1
    assert counts / draws == pytest.approx(inclusion_probabilities(weights, 3), abs=0.012)


@given(st.integers(1, 300), st.integers(0, 99))
def test_whole_batches_of_equal_weights(budget, seed):
    rows = draw_queries(np.ones(300), budget, np.random.default_rng(seed))
    assert len(np.unique(rows)) == budget


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: robust_query_distribution([0.5, -1], 0), "gains: .* at least 0, got -1 at row 1"),
        (lambda: robust_query_distribution([0.5, np.nan], 0), "gains: expected finite numbers"),
        (lambda: robust_query_distribution([], 0), r"gains: expected shape \[n\]"),
        (lambda: robust_query_distribution([0.5], 1), r"num_wrong: expected a number in \[0, 0\]"),
        (lambda: robust_query_distribution([0.5], 0, min_support=2), "min_support"),
        (lambda: robust_query_lp([0.5], [-1.0], 0), "losses: .* at least 0"),
        (lambda: robust_query_lp([0.5], [1.0, 1.0], 0), "expected equal lengths"),
        (lambda: guaranteed_gain([1.0], [1.0, 1.0], 0), "expected equal lengths"),
        (lambda: draw_queries([0.5, 0.5, 0.0], 3, np.random.default_rng(0)), "at most 2, .* got 3"),
    ],
)
def test_bad_input(call, told):
    with pytest.raises(InputError, match=told):
        call()
