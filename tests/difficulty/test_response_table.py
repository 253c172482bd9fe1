import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.difficulty.response_table import ResponseTable, response_blocks

NAN = float("nan")


@st.composite
def tables(draw):
    subjects, items = draw(st.integers(1, 9)), draw(st.integers(1, 6))
    count = draw(st.integers(1, 60))
    random = np.random.default_rng(draw(st.integers(0, 1000)))
    columns = (
        random.integers(0, subjects, count),
        random.integers(0, items, count),
        random.random(count) < 0.5,
    )
    return ResponseTable.of(columns, n_subjects=subjects, n_items=items)


def test_a_matrix_is_read_without_what_is_missing():
    table = ResponseTable.of(np.array([[1, NAN, 0], [NAN, NAN, NAN], [1, 1, NAN]]))
    assert (table.n_subjects, table.n_items, len(table)) == (3, 3, 4)
    assert list(zip(table.subjects, table.items, table.correct, strict=True)) == [
        (0, 0, True),
        (0, 2, False),
        (2, 0, True),
        (2, 1, True),
    ]


@given(tables())
def test_columns_and_matrix_agree_where_no_pair_repeats(table):
    matrix = table.matrix()
    again = ResponseTable.of(matrix)
    np.testing.assert_array_equal(again.matrix(), matrix)


@given(tables())
def test_counts_by_brute_force(table):
    answered, right = table.item_counts()
    for item in range(table.n_items):
        chosen = table.correct[table.items == item]
        assert (answered[item], right[item]) == (len(chosen), chosen.sum())
    answered, right = table.subject_counts()
    for subject in range(table.n_subjects):
        chosen = table.correct[table.subjects == subject]
        assert (answered[subject], right[subject]) == (len(chosen), chosen.sum())


@given(tables(), st.integers(1, 70))
def test_block_sums_are_those_of_a_loop(table, size):
    blocks = response_blocks(table, size)
    assert [one for block in blocks for one in range(*block.chosen.indices(99))] == list(
        range(table.n_subjects)
    )
    by_code, by_subject = torch.randn(2 * table.n_items, 3), torch.randn(table.n_subjects, 3)
    codes = 2 * table.items + table.correct
    expected, counts = torch.zeros(table.n_subjects, 3), torch.zeros(2 * table.n_items, 3)
    for subject, code in zip(table.subjects, codes, strict=True):
        expected[subject] += by_code[code]
        counts[code] += by_subject[subject]
    found = torch.cat([block.subject_sums(by_code) for block in blocks])
    torch.testing.assert_close(found, expected)
    total = sum(block.code_sums(by_subject[block.chosen]) for block in blocks)
    torch.testing.assert_close(total, counts)


def test_what_is_not_a_response():
    for bad, told in (
        ([[0, 2]], r"responses: expected 0, 1 or NaN, got 2 at row 0, column 1"),
        ([[0.5, 1]], r"got 0.5 at row 0, column 0"),
        ([[float("inf")]], r"got inf"),
        ([1, 0], r"responses: expected a matrix of shape \[S, I\], got shape \[2\]"),
        ([[NAN]], r"responses: expected at least one, got none"),
        ([["yes"]], r"responses: expected numbers 0 and 1"),
        (([0], [0]), r"expected a matrix or \(subjects, items, correct\), got a tuple of 2"),
        (([0, 1], [0], [1, 1]), r"columns of one length"),
        (([0, 1], [0, 0], [1, 3]), r"correct: expected 0 or 1, got 3 at row 1"),
        (([0, 1], [0, 0], [1, NAN]), r"correct: expected 0 or 1, got nan at row 1"),
        (([0, -1], [0, 0], [1, 0]), r"subjects: expected positions from 0 .*, got -1 at row 1"),
        (([0, 1], [0.0, 1.5], [1, 0]), r"items: expected integer positions"),
    ):
        with pytest.raises(InputError, match=told):
            ResponseTable.of(bad)
    with pytest.raises(InputError, match="items: expected positions from 0 to 2, got 3 at row 0"):
        ResponseTable.of(([0], [3], [1]), n_items=3)
