"""Exact match against a comparison of lists."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from gradatim.core.errors import InputError
from gradatim.language.sampling import right_padded
from gradatim.metrics.exact_match import exact_match

END = 1
contents = st.lists(st.integers(2, 3), max_size=3)


@given(st.lists(st.tuples(contents, contents, st.booleans()), min_size=1, max_size=8),
       st.integers(0, 3))  # fmt: skip
def test_it_equals_a_comparison_of_lists(rows, rubbish):
    predicted = right_padded([[*a, END] if ends else [*a, 2] for a, _, ends in rows])[0]
    predicted = torch.nn.functional.pad(predicted, (0, rubbish), value=3)
    gold = right_padded([[*b, END] for _, b, _ in rows])[0]
    expected = [ends and a == b for a, b, ends in rows]
    assert exact_match(predicted, gold, end=END).tolist() == expected
    begun = [([*a, END] if ends else [*a, 2])[: len(b)] == b for a, b, ends in rows]
    padded = [len(a) + 1 < len(b) and rubbish for a, b, _ in rows]  # rubbish may be right
    found = exact_match(predicted, gold, end=END, allow_more=True).tolist()
    assert [x for x, p in zip(found, padded, strict=True) if not p] == [
        x for x, p in zip(begun, padded, strict=True) if not p
    ]


def test_what_follows_the_end_does_not_count():
    predicted = torch.tensor([[5, 1, 9, 1], [5, 1, 1, 1]])
    gold = torch.tensor([[5, 1], [5, 1]])
    assert exact_match(predicted, gold, end=1).all()
    assert exact_match(gold, predicted, end=1).all()


def test_an_unfinished_prediction_is_wrong():
    assert not exact_match(torch.tensor([[5, 6]]), torch.tensor([[5, 6, 1]]), end=1).any()


def test_wrong_arguments():
    with pytest.raises(InputError, match=r"gold, row 1: expected the end token 1"):
        exact_match(torch.ones(2, 1), torch.tensor([[1], [2]]), end=1)
    with pytest.raises(InputError, match=r"gold: expected shape \[2, U\]"):
        exact_match(torch.ones(2, 1), torch.ones(3, 1), end=1)
    with pytest.raises(InputError, match="predicted"):
        exact_match(torch.ones(2), torch.ones(2, 1), end=1)
