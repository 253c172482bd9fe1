from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.evaluators.voting import (
    PADDING,
    best_of_n,
    chosen_positions,
    majority_vote,
    weighted_vote,
)

answers = st.lists(st.sampled_from(["a", "b", "c", "d", None]), max_size=9)


def by_counter(given, weights):
    """Brute force: the first of the answers with the largest total."""
    totals = Counter()
    for answer, weight in zip(given, weights, strict=True):
        if answer is not None:
            totals[answer] += weight
    best = max(totals.values(), default=None)
    return next((a for a in given if a is not None and totals[a] == best), None)


@given(answers)
def test_majority_is_that_of_a_counter(given):
    assert majority_vote(given) == by_counter(given, [1] * len(given))


@given(st.data(), answers)
def test_weighted_vote_is_that_of_a_counter(data, given):
    weights = data.draw(st.lists(st.integers(0, 5), min_size=len(given), max_size=len(given)))
    assert weighted_vote(given, weights) == by_counter(given, weights)


@given(st.data(), answers)
def test_best_of_n_is_the_first_maximum(data, given):
    size = len(given)
    scores = data.draw(st.lists(st.integers(-3, 3), min_size=size, max_size=size))
    kept = [(s, -i) for i, (s, a) in enumerate(zip(scores, given, strict=True)) if a is not None]
    assert best_of_n(given, scores) == (given[-max(kept)[1]] if kept else None)


@given(answers, st.floats(0.01, 100))
def test_equal_scores_are_the_majority(given, score):
    assert weighted_vote(given, [score] * len(given)) == majority_vote(given)


@given(answers.filter(lambda a: any(x is not None for x in a)), st.data())
def test_a_single_score_above_zero_decides(given, data):
    place = data.draw(st.sampled_from([i for i, a in enumerate(given) if a is not None]))
    scores = np.zeros(len(given))
    scores[place] = 0.1
    assert weighted_vote(given, scores) == best_of_n(given, scores) == given[place]


@given(answers)
def test_best_of_n_with_true_labels_is_the_oracle(given):
    right = [answer == "a" for answer in given]
    assert (best_of_n(given, right) == "a") == any(right)


def test_ties_go_to_the_first_and_unparsable_never_wins():
    assert majority_vote(["2", "1", "1", "2"]) == "2"
    assert majority_vote([None, None, "1"]) == "1"
    assert majority_vote([None, None]) is None and majority_vote([]) is None
    assert weighted_vote([None, "1"], [9.0, 0.0]) == "1"
    assert majority_vote([(1, 2), 3, 3]) == 3


@given(st.integers(0, 2**31))
def test_many_problems_at_once_are_as_one_by_one(seed):
    generator = np.random.default_rng(seed)
    codes = generator.integers(-2, 4, (7, 6))
    scores = generator.random((7, 6)).round(1)
    for rule, vote in (("majority", None), ("weighted", weighted_vote), ("best_of_n", best_of_n)):
        found = chosen_positions(codes, scores, rule=rule)
        wide = chosen_positions(np.where(codes < 0, codes, codes * 10**6), scores, rule=rule)
        assert (found == wide).all()
        for row, place in enumerate(found):
            given = [None if code < 0 else int(code) for code in codes[row]]
            want = vote(given, scores[row]) if vote else majority_vote(given)
            assert want == (None if place < 0 else given[place])


def test_blocks_of_problems_agree(monkeypatch):
    codes = np.random.default_rng(0).integers(-2, 4, (50, 6))
    whole = chosen_positions(codes)
    monkeypatch.setattr("gradatim.evaluators.voting._CELLS", 20)
    assert (chosen_positions(codes) == whole).all()


def test_scores_of_padding_are_ignored():
    scores = [[0.1, np.nan]]
    assert chosen_positions([[0, PADDING]], scores, rule="weighted").tolist() == [0]


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: weighted_vote(["a", "b"], [1, -0.5]), "at least 0 for a weighted vote, got -0.5"),
        (lambda: weighted_vote(["a"], [np.nan]), "scores: expected finite numbers, got nan"),
        (lambda: best_of_n(["a"], [np.inf]), "scores: expected finite numbers, got inf"),
        (lambda: best_of_n(["a"], [1, 2]), "answers has 1, scores has 2"),
        (lambda: chosen_positions([0, 1]), r"expected integers of shape \[P, N\]"),
        (lambda: chosen_positions([[0.5]]), r"expected integers of shape \[P, N\], got float64"),
        (lambda: chosen_positions([[0]], rule="mode"), "rule: expected one of"),
        (lambda: chosen_positions([[0]], rule="weighted"), "expected an array for the rule"),
        (lambda: chosen_positions([[0]], [[1, 2]], rule="weighted"), "expected the shape of codes"),
    ],
)
def test_bad_input(call, told):
    with pytest.raises(InputError, match=told):
        call()
