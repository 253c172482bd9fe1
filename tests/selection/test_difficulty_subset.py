"""Subsets by level of difficulty, and mixtures of both ends, all of one size."""

from itertools import pairwise

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from gradatim.core.errors import InputError
from gradatim.selection.difficulty_subset import difficulty_subset


@given(st.lists(st.integers(0, 9), min_size=8, max_size=60), st.sampled_from([0.25, 0.2, 0.5]))
def test_levels_are_a_partition_from_easy_to_hard(values, fraction):
    difficulty = np.array(values)
    levels = [difficulty_subset(difficulty, k, fraction=fraction) for k in range(int(1 / fraction))]
    assert sorted(np.concatenate(levels).tolist()) == list(range(len(values)))
    for easier, harder in pairwise(levels):
        assert difficulty[easier].max() <= difficulty[harder].min()
        assert abs(len(easier) - len(harder)) <= 1


def test_a_mixture_takes_both_ends():
    difficulty = np.random.default_rng(0).permutation(100)
    for share, easy in ((0.0, 0), (0.5, 12), (0.8, 20), (1.0, 25)):
        chosen = difficulty_subset(difficulty, "mix", easy_share=share, seed=1)
        assert len(chosen) == len(set(chosen.tolist())) == 25
        values = difficulty[chosen]
        assert (values < 25).sum() == easy and (values >= 75).sum() == 25 - easy
    all_easy = difficulty_subset(difficulty, "mix", easy_share=1.0)
    assert all_easy.tolist() == difficulty_subset(difficulty, 0).tolist()
    others = {tuple(difficulty_subset(difficulty, "mix", seed=s)) for s in range(5)}
    assert len(others) == 5


@pytest.mark.parametrize(
    ("call", "message"),
    [(lambda: difficulty_subset([1, 2, 3, 4], 4), "level: expected 0 to 3 or 'mix', got 4"),
     (lambda: difficulty_subset([1, 2, 3, 4], "hard"), "level: expected"),
     (lambda: difficulty_subset([1, 2], "mix", fraction=0.6), "fraction: expected"),
     (lambda: difficulty_subset([1], 0), "subset with examples"),
     (lambda: difficulty_subset([1, 2], "mix", fraction=0.5, easy_share=2), "easy_share")],
)  # fmt: skip
def test_wrong_arguments(call, message):
    with pytest.raises(InputError, match=message):
        call()
