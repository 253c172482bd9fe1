"""Novelty: how the pool grows, and probabilities by Zipf's law."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from gradatim.core.errors import InputError
from gradatim.curriculum.novelty import NoveltyCurriculum, zipf_probabilities


@given(st.integers(1, 200), st.floats(0, 1), st.floats(0.01, 1), st.floats(0, 1), st.floats(0, 1))
def test_the_pool_grows_to_all(n, start, end, first, second):
    novelty = NoveltyCurriculum(n, start=start, end=end, seed=1)
    low, high = sorted((first, second))
    early, late = novelty.available(low), novelty.available(high)
    assert set(early.tolist()) <= set(late.tolist())
    assert len(early) == int(n * max(start, min(1, low / end)) + 1e-9)
    assert len(novelty.available(0.0)) == int(start * n + 1e-9)
    assert novelty.available(end).tolist() == list(range(n))
    assert novelty.pacing(low) == len(early) / n


def test_it_first_grows_when_t_over_end_passes_the_start():
    novelty = NoveltyCurriculum(100, start=0.2, end=0.8)
    assert [len(novelty.available(t)) for t in (0.0, 0.1, 0.16, 0.2, 0.4)] == [20, 20, 20, 25, 50]


def test_groups_let_in_all_their_examples():
    groups = [[0, 4, 5], [1, 5, 6], [2], [3, 4]]  # group g alone holds example g
    for seed in range(6):
        novelty = NoveltyCurriculum(9, start=0.25, end=1.0, groups=groups, seed=seed)
        places = novelty.unlock_rank[:4]
        assert sorted(places) == [0, 1, 2, 3]
        for t in (0.0, 0.5, 0.75, 1.0):
            count = int(4 * max(0.25, t))
            open_groups = [
                group for group, place in zip(groups, places, strict=True) if place < count
            ]
            expected = {7, 8}.union(*open_groups)  # 7 and 8 belong to no group
            assert set(novelty.available(t).tolist()) == expected
            assert round(novelty.pacing(t) * 9) == len(expected)


def test_the_seed_sets_who_comes_first():
    first = {tuple(NoveltyCurriculum(30, seed=s).available(0.0)) for s in range(10)}
    assert len(first) == 10


def test_zipf_by_position():
    p = zipf_probabilities(4, exponent=2.0)
    assert p.tolist() == pytest.approx(np.array([1, 1 / 4, 1 / 9, 1 / 16]) / (205 / 144))
    assert zipf_probabilities(5, exponent=0.0).tolist() == pytest.approx([0.2] * 5)


def test_zipf_by_class_shares_the_probability_of_its_rank():
    lengths = [7, 3, 7, 7, 3, 9]
    p = zipf_probabilities(6, keys=lengths)
    z = 1 + 1 / 2 + 1 / 3
    expected = {7: 1 / z / 3, 3: 1 / 2 / z / 2, 9: 1 / 3 / z}
    assert p.tolist() == pytest.approx([expected[length] for length in lengths])


def test_zipf_by_words_adds_up_over_an_examples_words():
    words = [["a", "b"], ["a"], [], ["a", "c", "c"]]
    p = zipf_probabilities(4, keys=words)
    z = 1 + 1 / 2 + 1 / 3  # a three times, c twice, b once
    a, c, b = 1 / z / 3, 1 / 2 / z / 2, 1 / 3 / z
    assert p.tolist() == pytest.approx([a + b, a, 0, a + 2 * c])


@given(st.lists(st.lists(st.integers(0, 4), max_size=4), min_size=1, max_size=12), st.floats(0, 3))
def test_zipf_sums_to_one(keys, exponent):
    if any(keys):
        p = zipf_probabilities(len(keys), keys=keys, exponent=exponent)
        assert p.sum() == pytest.approx(1) and p.min() >= 0


@pytest.mark.parametrize(
    ("call", "message"),
    [(lambda: NoveltyCurriculum(0), "num_examples"),
     (lambda: NoveltyCurriculum(3, start=2), "start"),
     (lambda: NoveltyCurriculum(3, groups=[]), "number of groups"),
     (lambda: NoveltyCurriculum(3, groups=[[0], [3]]), r"groups\[1\]: expected positions 0 to 2"),
     (lambda: zipf_probabilities(2, keys=["a"]), "keys: expected 2"),
     (lambda: zipf_probabilities(1, keys=[[]]), "keys: expected at least one"),
     (lambda: zipf_probabilities(2, exponent=-1), "exponent")],
)  # fmt: skip
def test_wrong_arguments(call, message):
    with pytest.raises(InputError, match=message):
        call()
