"""What an order does: against counting pairs and walking along it."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from gradatim.core.errors import InputError
from gradatim.curriculum.orders import easy_to_hard, hard_to_easy, random_order
from gradatim.curriculum.practice_orders import blocked, round_robin
from gradatim.metrics.progression import progression_report

rows = st.integers(1, 25).flatmap(
    lambda n: st.tuples(
        st.permutations(range(n)),
        st.lists(st.integers(0, 3), min_size=n, max_size=n),
        st.lists(st.integers(0, 4), min_size=n, max_size=n),
    )
)


def walk(order, group, difficulty):
    """Tau, mean run length and mean gap, counted one by one."""
    signs = [
        np.sign(difficulty[later] - difficulty[earlier])
        for i, earlier in enumerate(order)
        for later in order[i + 1 :]
    ]
    untied = sum(abs(sign) for sign in signs)
    runs, gaps, left = 0, [], {}
    for place, i in enumerate(order):
        if place == 0 or group[order[place - 1]] != group[i]:
            runs += 1
            if group[i] in left:
                gaps.append(place - left[group[i]] - 1)
        left[group[i]] = place
    return (
        sum(signs) / untied if untied else math.nan,
        len(order) / runs,
        sum(gaps) / len(gaps) if gaps else math.nan,
    )


@given(rows)
def test_against_counting(row):
    order, group, difficulty = row
    report = progression_report(order, group, difficulty)
    assert list(report) == pytest.approx(list(walk(order, group, difficulty)), nan_ok=True)


def test_orders_it_is_meant_for():
    group, level = np.repeat(np.arange(5), 12), np.tile(np.repeat([0, 1, 2], 4), 5)
    turns = progression_report(round_robin(group, level), group, level)
    assert turns.kendall_tau == pytest.approx(1)
    assert turns.mean_run_length == 1 and turns.mean_revisit_gap == 4
    blocks = progression_report(blocked(group, level), group, level)
    assert blocks.mean_run_length == 12 and math.isnan(blocks.mean_revisit_gap)
    assert blocks.kendall_tau < 0.3
    assert progression_report(hard_to_easy(level), group, level).kendall_tau == pytest.approx(-1)
    assert progression_report(easy_to_hard(level), group, level).kendall_tau == pytest.approx(1)


def test_random_orders_have_the_variance_of_kendalls_tau():
    n, difficulty = 40, np.arange(40)
    taus = [
        progression_report(random_order(n, seed=s), difficulty, difficulty).kendall_tau
        for s in range(600)
    ]
    variance = 2 * (2 * n + 5) / (9 * n * (n - 1))
    assert abs(np.mean(taus)) < 4 * math.sqrt(variance / 600)
    assert np.var(taus) == pytest.approx(variance, rel=0.25)


def test_draws_with_repeats_are_an_order_too():
    report = progression_report([0, 0, 1, 0], ["a", "b"], [0.0, 1.0])
    assert report.mean_run_length == pytest.approx(4 / 3) and report.mean_revisit_gap == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(([], ["a"], [1]), "order: expected positions"), (([1], ["a"], [1]), "order: expected pos"),
     (([0], ["a"], [1, 2]), "equal lengths"), (([0], ["a"], [float("nan")]), "difficulty: exp")],
)  # fmt: skip
def test_wrong_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        progression_report(*arguments)
