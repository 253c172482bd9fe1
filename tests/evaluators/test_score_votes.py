"""Answers chosen by scores, against the card's cases, other rules and brute force."""

from fractions import Fraction

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from gradatim.core.errors import InputError
from gradatim.evaluators.score_votes import RULES, select_by_score
from gradatim.evaluators.voting import best_of_n, majority_vote, weighted_vote

candidates = st.lists(
    st.tuples(st.sampled_from(["1", "2", "3", None]), st.integers(0, 9)), max_size=12
)


def split(rows):
    return [answer for answer, _ in rows], [score for _, score in rows]


def brute_force(answers, scores, how):
    """By exact fractions; ties by count and then by the first place."""
    best = None
    for place, answer in enumerate(answers):
        if answer is None:
            continue
        own = [Fraction(s) for a, s in zip(answers, scores, strict=True) if a == answer]
        value = {"majority": len(own), "max": max(own), "sum": sum(own), "avg": sum(own) / len(own)}
        key = (value[how], len(own), -answers.index(answer))
        if best is None or key > best[0]:
            best = key, answers[place]
    return None if best is None else best[1]


@pytest.mark.parametrize(
    ("answers", "scores", "chosen"),
    [
        ([7, 7, 5], [1, 1, 9], [7, 5, 5, 5]),
        ([7, 7, 7, 5], [4, 4, 4, 9], [7, 5, 7, 5]),
        ([5, 7, 7], [4, 4, 0], [7, 7, 7, 5]),
        ([5, 7, 7, 5, 7], [0, 0, 0, 0, 0], [7, 7, 7, 7]),
        ([5, 7, 5, 7], [2, 2, 2, 2], [5, 5, 5, 5]),
        ([None, None, 5], [9, 9, 0], [5, 5, 5, 5]),
        ([None], [1], [None] * 4),
        ([], [], [None] * 4),
        ([5, 7], [-3, -1], [5, 7, 7, 7]),
    ],
)
def test_cases_by_hand(answers, scores, chosen):
    assert [select_by_score(answers, scores, how=rule) for rule in RULES] == chosen


@given(candidates, st.sampled_from(RULES))
def test_equals_brute_force(rows, how):
    answers, scores = split(rows)
    assert select_by_score(answers, scores, how=how) == brute_force(answers, scores, how)


@given(candidates, st.sampled_from(RULES), st.sampled_from([1 / 9, 1 / 3, 0.1, 1e-3, 1e30]))
def test_shares_choose_as_the_numbers_that_they_are_shares_of(rows, how, scale):
    answers, scores = split(rows)
    shares = [score * scale for score in scores]
    assert select_by_score(answers, shares, how=how) == brute_force(answers, scores, how)


@pytest.mark.parametrize(
    ("one", "other"), [([8, 2, 1], [4, 4, 3]), ([7, 7, 7], [9, 9, 3]), ([1] * 4, [2, 2, 0, 0])]
)
@pytest.mark.parametrize("first", [0, 1])
def test_equal_sums_of_ninths_are_equal(one, other, first):
    """The authors add numbers of right answers; shares of nine must not turn ties into rounding."""
    groups = [("one", one), ("other", other)]
    rows = [(name, k / 9) for name, own in (groups[first], groups[1 - first]) for k in own]
    assert select_by_score(*split(rows)) == groups[first][0]
    assert select_by_score(*split(rows), how="avg") == groups[first][0]


@given(candidates)
def test_equal_scores_choose_the_majority_by_their_sum(rows):
    answers, _ = split(rows)
    assert select_by_score(answers, [2] * len(rows)) == majority_vote(answers)


@given(candidates)
def test_agrees_with_the_votes_of_other_papers_where_nothing_is_equal(rows):
    answers, scores = split(rows)
    apart = [score + 2.0 ** -(place + 1) for place, score in enumerate(scores)]
    assert select_by_score(answers, apart) == weighted_vote(answers, apart)
    if None not in answers:
        assert select_by_score(answers, apart, how="max") == best_of_n(answers, apart)


@given(candidates, st.sampled_from(RULES), st.randoms())
def test_the_order_of_candidates_matters_in_full_ties_alone(rows, how, random):
    answers, scores = split(rows)
    places = list(range(len(rows)))
    random.shuffle(places)
    other = select_by_score([answers[p] for p in places], [scores[p] for p in places], how=how)
    first = select_by_score(answers, scores, how=how)
    if other != first:
        own, others = ([s for a, s in rows if a == answer] for answer in (first, other))
        assert len(own) == len(others)
        assert how == "majority" or (max(own) == max(others) if how == "max" else True)
        assert how in ("majority", "max") or sum(own) == sum(others)


def test_bad_input():
    with pytest.raises(InputError, match="how: expected one of"):
        select_by_score([1], [1], how="best")
    with pytest.raises(InputError, match="answers has 2, scores has 1"):
        select_by_score([1, 2], [1])
    for bad in (np.nan, np.inf):
        with pytest.raises(InputError, match="scores"):
            select_by_score([1, 2], [1, bad])
    with pytest.raises(InputError, match=r"scores: expected shape \[2\], got \[2, 1\]"):
        select_by_score([1, 2], [[1], [2]])
