"""Orders by difficulty: permutations, against sorting written out, and what ties do."""

import tracemalloc

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given

from gradatim.core.errors import InputError
from gradatim.curriculum import orders
from gradatim.curriculum.orders import (
    cyclic,
    difficulty_bins,
    difficulty_ranking,
    easy_to_hard,
    group_codes,
    hard_to_easy,
    lexicographic_order,
    part_of,
    random_order,
    staged,
)

difficulties = st.lists(st.integers(0, 6), max_size=40)
seeds = st.integers(0, 5)


def is_permutation(order, n):
    return order.dtype == np.int64 and sorted(order.tolist()) == list(range(n))


@given(difficulties, seeds, st.integers(1, 5))
def test_every_order_is_a_permutation(difficulty, seed, parts):
    n = len(difficulty)
    for order in (
        random_order(n, seed=seed),
        easy_to_hard(difficulty, seed=seed),
        hard_to_easy(difficulty, seed=seed),
        staged(difficulty, parts, seed=seed),
        staged(difficulty, thresholds=(1, 4), seed=seed),
        cyclic(difficulty, parts, seed=seed),
        cyclic(difficulty, parts, alternate=True, seed=seed),
        lexicographic_order(difficulty, seed=seed),
    ):
        assert is_permutation(order, n)


@given(difficulties, seeds)
def test_difficulty_rises_or_falls(difficulty, seed):
    values = np.array(difficulty, dtype=float)
    assert (np.diff(values[easy_to_hard(values, seed=seed)]) >= 0).all()
    assert (np.diff(values[hard_to_easy(values, seed=seed)]) <= 0).all()


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=30))
def test_lexicographic_order_against_numpy(rows):
    first, second = np.array(rows).T
    expected = np.lexsort((second, first))
    assert lexicographic_order(first, second, seed=None).tolist() == expected.tolist()
    shuffled = lexicographic_order(first, second, seed=3)
    assert (first[shuffled] == first[expected]).all()
    assert (second[shuffled] == second[expected]).all()


def test_ties_are_shuffled_by_the_seed_and_by_nothing_else():
    constant = np.zeros(50)
    orders_by_seed = {tuple(easy_to_hard(constant, seed=seed).tolist()) for seed in range(20)}
    assert len(orders_by_seed) == 20 and tuple(range(50)) not in orders_by_seed
    assert easy_to_hard(constant, seed=1).tolist() == easy_to_hard(constant, seed=1).tolist()


@pytest.mark.parametrize("values", [[0, 0, 0, 0], [2, 1, 1, 1, 5], [0, 0, 1, 1]])
def test_all_orders_of_ties_are_equally_likely(values, monkeypatch):
    for chunk in (1 << 20, 2):  # runs within a chunk, and runs longer than one
        monkeypatch.setattr(orders, "_CHUNK", chunk)
        found = [tuple(difficulty_ranking(values, seed=seed).tolist()) for seed in range(3000)]
        different, counts = np.unique(found, axis=0, return_counts=True)
        sizes = np.unique(values, return_counts=True)[1]
        expected = np.prod([np.prod(np.arange(1, size + 1)) for size in sizes])
        assert len(different) == expected
        assert np.square(counts - 3000 / expected).sum() / (3000 / expected) < 60


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.integers(1, 9), seeds)
def test_chunks_do_not_break_the_sorting(values, chunk, seed):
    values = np.array(values)
    try:
        orders._CHUNK, kept = chunk, orders._CHUNK
        order = difficulty_ranking(values, seed=seed)
    finally:
        orders._CHUNK = kept
    assert (np.diff(values[order]) >= 0).all() and sorted(order) == list(range(len(values)))


def test_ranking_takes_four_bytes_and_little_while_it_is_made(monkeypatch):
    n = 300_000
    monkeypatch.setattr(orders, "_CHUNK", 4096)
    for values in (np.random.default_rng(0).random(n), np.arange(n) % 5):
        tracemalloc.start()
        ranking = difficulty_ranking(values)
        peak = tracemalloc.get_traced_memory()[1] / n
        tracemalloc.stop()
        assert ranking.dtype == np.int32 and ranking.nbytes == 4 * n
        assert peak < 16  # a chunk's worth for ties included


def test_stages_are_shuffled_inside_and_ordered_outside():
    difficulty = np.arange(90)
    order = staged(difficulty, 3, seed=1)
    stage = difficulty[order] // 30
    assert (stage == np.repeat([0, 1, 2], 30)).all()
    assert (np.diff(order) < 0).any()
    assert staged(difficulty, 90).tolist() == list(range(90))


def test_thresholds_of_easy_medium_hard():
    # up to and with 0.66 easy, up to and with 0.80 medium
    difficulty = [0.66, 0.6600001, 0.8, 0.81, 0.1]
    assert difficulty_bins(difficulty, thresholds=(0.66, 0.80)).tolist() == [0, 1, 1, 2, 0]


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=40), st.integers(1, 6))
def test_bins_have_the_sizes_of_array_split(values, bins):
    stage = difficulty_bins(values, bins)
    sizes = [len(part) for part in np.array_split(np.arange(len(values)), bins)]
    assert np.bincount(stage, minlength=bins).tolist() == sizes
    values = np.array(values)
    for k in range(bins - 1):
        assert max(values[stage == k], default=-9) <= min(values[stage > k], default=9)


def test_stages_within_each_prompt():
    # pairs of two prompts by the gap of their ratings: the widest of each first, as gap 3, 2, 1
    gaps = np.array([3, 2, 1, 0.3, 0.1, 0.2])
    prompt = ["x", "x", "x", "y", "y", "y"]
    assert difficulty_bins(-gaps, 3, group=prompt).tolist() == [0, 1, 2, 0, 2, 1]
    assert difficulty_bins(-gaps, 3).tolist() == [0, 0, 1, 1, 2, 2]


@given(difficulties, st.integers(1, 6), seeds)
def test_every_sweep_of_a_cyclic_order_covers_the_range(difficulty, cycles, seed):
    values = np.array(difficulty, dtype=float)
    order, n = cyclic(values, cycles, seed=seed), len(values)
    sizes = [len(range(k, n, cycles)) for k in range(cycles)]
    rank = np.empty(n, dtype=int)
    rank[easy_to_hard(values, seed=seed)] = np.arange(n)
    for sweep in np.split(order, np.cumsum(sizes)[:-1]):
        assert (rank[sweep] // cycles).tolist() == list(range(len(sweep)))


def test_alternate_sweeps_turn_round():
    difficulty = np.arange(40.0)
    up, down = np.split(difficulty[cyclic(difficulty, 2, alternate=True)], 2)
    assert (np.diff(up) > 0).all() and (np.diff(down) < 0).all()
    assert cyclic(difficulty, 1).tolist() == easy_to_hard(difficulty).tolist()


@given(st.integers(0, 30), st.integers(1, 8))
def test_parts_against_array_split(size, parts):
    expected = np.concatenate(
        [np.full(len(part), k) for k, part in enumerate(np.array_split(np.arange(size), parts))]
    )
    assert part_of(np.arange(size), np.full(size, size), parts).tolist() == expected.tolist()


def test_tensors_and_labels():
    assert easy_to_hard(torch.tensor([0.5, 0.1], dtype=torch.bfloat16)).tolist() == [1, 0]
    assert easy_to_hard(torch.tensor([2, 1], requires_grad=False)).tolist() == [1, 0]
    assert group_codes("g", torch.tensor([7, 3, 7])).tolist() == [1, 0, 1]
    assert easy_to_hard([]).tolist() == [] == cyclic([], 3).tolist()


@pytest.mark.parametrize(
    ("call", "message"),
    [(lambda: easy_to_hard([0.1, float("nan")]), "difficulty: expected finite.* row 1"),
     (lambda: easy_to_hard([[1.0]]), r"difficulty: expected one number an example, got shape \[1"),
     (lambda: easy_to_hard(["a"]), "difficulty: expected numbers"),
     (lambda: staged([1, 2], thresholds=(2, 1)), "thresholds: expected ascending"),
     (lambda: difficulty_bins([1], thresholds=(1,), group=[0]), "thresholds, group: expected one"),
     (lambda: difficulty_bins([1, 2], 2, group=[0]), "equal lengths"),
     (lambda: staged([1, 2], 0), "bins: expected"),
     (lambda: cyclic([1, 2], 0), "cycles: expected"),
     (lambda: random_order(-1), "n: expected"),
     (lambda: lexicographic_order(), "keys: expected at least one"),
     (lambda: lexicographic_order([1], [1, 2]), "equal lengths"),
     (lambda: group_codes("subject", [["a"]]), "subject: expected one label")],
)  # fmt: skip
def test_wrong_arguments(call, message):
    with pytest.raises(InputError, match=message):
        call()
