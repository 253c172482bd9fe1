"""Difficulty from metadata: a dense rank of tuples."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from gradatim.core.errors import InputError
from gradatim.difficulty.metadata_difficulty import metadata_difficulty


@given(st.lists(st.tuples(*[st.integers(-2, 3)] * 3), min_size=1, max_size=30))
def test_against_a_dense_rank_of_tuples(rows):
    ranks = {key: i for i, key in enumerate(sorted(set(rows)))}
    expected = [ranks[row] / max(1, len(ranks) - 1) for row in rows]
    assert metadata_difficulty(*zip(*rows, strict=True)).tolist() == expected


def test_the_first_key_counts_most():
    level, stage = [0, 1, 0, 2], [2, 0, 0, 1]
    assert metadata_difficulty(level, stage).tolist() == [1 / 3, 2 / 3, 0, 1]
    assert metadata_difficulty(stage, level).tolist() == [1, 1 / 3, 0, 2 / 3]


def test_extremes():
    assert metadata_difficulty([]).shape == (0,)
    assert metadata_difficulty([7.0, 7.0]).tolist() == [0, 0]
    assert metadata_difficulty([-np.pi, 1e300]).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("keys", "told"),
    [((), "at least one"), (([1, 2], [1]), "keys"), (([[1]],), "keys.0."), ((["a"],), "number"),
     (([0.0, np.inf],), "row 1")],
)  # fmt: skip
def test_bad_input(keys, told):
    with pytest.raises(InputError, match=told):
        metadata_difficulty(*keys)
