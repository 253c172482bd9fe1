import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.selection.difficulty_split import split_by_difficulty
from gradatim.selection.stratified_draws import cutoffs_by_quantiles, stratified_draws


@given(st.integers(0, 200), st.integers(1, 3))
def test_no_group_is_on_both_sides(seed, copies):
    random = np.random.default_rng(seed)
    group = np.repeat(np.arange(40), copies)
    stratum = random.permutation(len(group)) % 2  # copies may lie in different strata
    strata = {"easy": np.flatnonzero(stratum == 0), "hard": np.flatnonzero(stratum == 1)}
    for draw in stratified_draws(strata, 3, 2, groups=group, seed=seed):
        train = np.concatenate(list(draw.train.values()))
        test = np.concatenate(list(draw.test.values()))
        assert not set(group[train]) & set(group[test])
        for name, rows in strata.items():
            assert len(draw.train[name]) == 3 and set(draw.train[name]) <= set(rows)
            assert set(draw.test[name]) <= set(rows)
        assert len(draw.train["all"]) == 3


def test_draws_differ_and_are_repeatable():
    strata = {"easy": range(50), "hard": range(50, 100)}
    first, second = stratified_draws(strata, 10, 2, seed=1)
    assert set(first.train["easy"]) != set(second.train["easy"])
    again = stratified_draws(strata, 10, 2, seed=1)[1]
    assert (again.train["all"] == second.train["all"]).all()
    assert len(first.test["hard"]) == 25


def test_test_examples_of_their_own_leave_all_for_training():
    draw = stratified_draws({"easy": range(10)}, 10, 1, test={"easy": range(10, 40)}, most_test=7)[
        0
    ]
    assert set(draw.train["easy"]) == set(range(10)) and len(draw.test["easy"]) == 7


def test_too_small_strata():
    with pytest.raises(InputError, match="at least 6 examples to train on in 'easy', got 5"):
        stratified_draws({"easy": range(10)}, 6, 1)
    with pytest.raises(InputError, match="examples to test on in 'easy', got none"):
        stratified_draws({"easy": range(10)}, 6, 1, test={"easy": []})


@given(st.lists(st.integers(0, 5), min_size=2, max_size=60))
def test_cutoffs_always_leave_easy_and_hard_examples(values):
    if len(set(values)) < 2:
        with pytest.raises(InputError, match="at least two different values"):
            cutoffs_by_quantiles(values)
        return
    low, high = cutoffs_by_quantiles(values)
    split = split_by_difficulty(values, cutoffs=(low, high))
    assert low < high and len(split.easy) and len(split.hard)


def test_the_shares_are_30_40_30():
    split = split_by_difficulty(range(100), cutoffs=cutoffs_by_quantiles(range(100)))
    assert [len(part) for part in split] == [30, 40, 30]
