"""Ranks of relevant documents, stale and false negatives, against loops over Python's sets."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.core.positions import pad_positions
from gradatim.difficulty.rank_difficulty import negative_staleness, rank_difficulty
from gradatim.metrics.false_negatives import false_negative_rate
from gradatim.metrics.retrieval import reciprocal_rank

SCORES = st.lists(st.integers(0, 3), min_size=5, max_size=5)
LISTS = st.lists(st.integers(0, 9), min_size=4, max_size=4, unique=True)
SETS = st.sets(st.integers(0, 9), max_size=5)


@given(st.lists(st.tuples(SCORES, st.sets(st.integers(0, 4), min_size=1)), min_size=1))
def test_difficulty_is_the_logarithm_of_the_first_relevant_rank(rows):
    scores = torch.tensor([row[0] for row in rows], dtype=torch.float64)
    relevant = [row[1] for row in rows]
    labels = [[place in known for place in range(5)] for known in relevant]
    queries = torch.arange(len(rows)).repeat_interleave(5)
    wanted = reciprocal_rank(scores.flatten(), torch.tensor(labels).flatten().double(), queries)
    found = rank_difficulty(scores, pad_positions(relevant))
    torch.testing.assert_close(found, -torch.from_numpy(wanted).log2())


def test_extremes_and_a_query_without_relevant_documents():
    scores = torch.tensor([[-torch.inf, 0.0, torch.inf], [1.0, 2.0, 3.0], [0.0, 0.0, -torch.inf]])
    found = rank_difficulty(scores, torch.tensor([[2, 0], [-1, -1], [2, -1]]))
    torch.testing.assert_close(found, torch.tensor([0.0, 2.0, math.log2(3)]))


@given(st.lists(st.tuples(LISTS, LISTS, st.integers(0, 4)), min_size=1))
def test_staleness_is_the_share_that_is_gone(rows):
    old = torch.tensor([row[0] for row in rows])
    new = torch.tensor([row[1] for row in rows])
    for line, (_, _, missing) in enumerate(rows):
        old[line, :missing] = -1
    found = negative_staleness(old, new)
    for value, (first, second, missing) in zip(found.tolist(), rows, strict=True):
        held = set(first[missing:])
        assert value == pytest.approx(len(held - set(second)) / max(1, len(held)))


@given(st.lists(st.tuples(LISTS, SETS, SETS), min_size=1))
def test_false_negatives_are_relevant_and_not_labelled(rows):
    mined = torch.tensor([row[0] for row in rows])
    truth, labelled = (pad_positions([row[side] for row in rows]) for side in (1, 2))
    found = false_negative_rate(mined, truth, labelled)
    plain = false_negative_rate(mined, truth)
    for value, simple, (listed, true, known) in zip(
        found.tolist(), plain.tolist(), rows, strict=True
    ):
        counted = set(listed) - known
        assert value == pytest.approx(len(counted & true) / max(1, len(counted)))
        assert simple == pytest.approx(len(set(listed) & true) / 4)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: rank_difficulty(torch.zeros(2), torch.zeros(2, 1)), "scores: expected shape"),
        (lambda: rank_difficulty(torch.zeros(1, 2), torch.tensor([[2]])), "from -1 to 1"),
        (lambda: rank_difficulty(torch.full((1, 2), torch.nan), torch.tensor([[0]])), "got nan"),
        (lambda: negative_staleness(torch.zeros(1, 2), torch.zeros(1, 2)), "expected integers"),
        (lambda: negative_staleness(torch.zeros(1, 2).long(), torch.zeros(1, 3).long()), "new"),
        (lambda: false_negative_rate(torch.zeros(2).long(), torch.zeros(2, 1).long()), "mined"),
    ],
)
def test_bad_input_is_told(act, message):
    with pytest.raises(InputError, match=message):
        act()
