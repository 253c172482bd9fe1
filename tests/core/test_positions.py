"""Padded sets of positions against Python's sets."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.core.positions import is_among, pad_positions

SETS = st.sets(st.integers(0, 9), max_size=6)


@given(st.lists(st.tuples(st.lists(st.integers(-1, 9), min_size=4, max_size=4), SETS), min_size=1))
def test_membership_is_that_of_sets(rows):
    positions = torch.tensor([row[0] for row in rows])
    found = is_among(positions, pad_positions([row[1] for row in rows]))
    assert found.tolist() == [[place in members for place in row] for row, members in rows]


@given(st.lists(SETS, max_size=5))
def test_padding_keeps_the_sets(rows):
    padded = pad_positions(rows)
    assert padded.dtype == torch.int64 and padded.shape[1] == max([1, *map(len, rows)])
    assert [set(row) - {-1} for row in padded.tolist()] == rows


def test_lists_keep_their_order_and_empty_shapes_are_allowed():
    assert pad_positions([[3, 1]]).tolist() == [[3, 1]]
    assert is_among(torch.zeros(2, 0, dtype=torch.int64), torch.zeros(2, 3).long()).shape == (2, 0)
    assert not is_among(torch.zeros(2, 3).long(), torch.zeros(2, 0, dtype=torch.int64)).any()


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: pad_positions([[1], [-2]]), "rows: expected integers from 0, got .* at row 1"),
        (lambda: pad_positions([[0.5]]), "rows: expected integers from 0"),
        (lambda: is_among(torch.zeros(2), torch.zeros(2, 1)), "positions: expected shape"),
        (lambda: is_among(torch.zeros(2, 1), torch.zeros(2, 1)), "positions: expected integers"),
        (lambda: is_among(torch.zeros(2, 1).long(), torch.zeros(3, 1).long()), "members"),
    ],
)
def test_bad_input_is_told(act, message):
    with pytest.raises(InputError, match=message):
        act()
