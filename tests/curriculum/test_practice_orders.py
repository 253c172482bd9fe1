"""Orders by subject: the examples written out by hand, plain loops, and where orders meet."""

from collections import defaultdict

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from gradatim.core.errors import InputError
from gradatim.curriculum.orders import difficulty_bins, easy_to_hard
from gradatim.curriculum.practice_orders import (
    blocked,
    clustered,
    interleaved,
    round_robin,
    spiral,
)

seeds = st.integers(0, 4)
columns = st.integers(0, 30).flatmap(
    lambda n: st.tuples(
        *[
            st.lists(st.integers(0, most), min_size=n, max_size=n)
            for most in (3, 2, 3, 1)  # group, level, unit, stage
        ]
    )
)

# subjects A and B, two concepts each, two levels: r before u
SCHOOL = [f"{s}{c}{b}" for s in "AB" for c in "12" for b in "ru"]
SUBJECT = [name[0] for name in SCHOOL]
CONCEPT = [int(name[1]) for name in SCHOOL]
LEVEL = ["ru".index(name[2]) for name in SCHOOL]


@pytest.mark.parametrize(
    ("order", "expected"),
    [(blocked(SUBJECT, LEVEL, unit=CONCEPT), "A1r A1u A2r A2u B1r B1u B2r B2u"),
     (clustered(SUBJECT, LEVEL, unit=CONCEPT), "A1r A2r A1u A2u B1r B2r B1u B2u"),
     (spiral(SUBJECT, LEVEL, CONCEPT), "A1r A1u B1r B1u A2r A2u B2r B2u"),
     (round_robin(SUBJECT, LEVEL, unit=CONCEPT), "A1r B1r A2r B2r A1u B1u A2u B2u")],
)  # fmt: skip
def test_the_school_by_hand(order, expected):
    assert " ".join(SCHOOL[i] for i in order) == expected


def test_interleaved_by_hand():
    # four of A in parts of 2, 1, 1 and three of B in parts of 1, 1, 1
    names = ["a1", "a2", "a3", "a4", "b1", "b2", "b3"]
    order = interleaved([name[0] for name in names], [int(name[1]) for name in names], cycles=3)
    assert [names[i] for i in order] == ["a1", "a2", "b1", "a3", "b2", "a4", "b3"]


@given(columns, seeds)
def test_all_are_permutations(rows, seed):
    group, level, unit, stage = rows
    for order in (
        blocked(group, seed=seed),
        blocked(group, level, unit=unit, stage=stage, seed=seed),
        clustered(group, level, unit=unit, stage=stage, seed=seed),
        spiral(group, level, unit, stage=stage, seed=seed),
        interleaved(group, seed=seed, cycles=4),
        interleaved(group, level, seed=seed),
        interleaved(group, level, thresholds=(0, 1), seed=seed),
        round_robin(group, level, unit=unit, stage=stage, shuffle_groups=True, seed=seed),
        round_robin(group, level, unit=unit, whole_units=True, stage_first=True, seed=seed),
    ):
        assert sorted(order.tolist()) == list(range(len(group)))


def keys_in_order(order, *columns):
    return [tuple(column[i] for column in columns) for i in order]


@given(columns, seeds)
def test_sorted_by_their_keys(rows, seed):
    group, level, unit, stage = rows
    expected = {
        "blocked": sorted(zip(stage, group, unit, level, strict=True)),
        "clustered": sorted(zip(stage, group, level, unit, strict=True)),
        "spiral": sorted(zip(stage, unit, group, level, strict=True)),
    }
    found = {
        "blocked": (blocked(group, level, unit=unit, stage=stage, seed=seed), group, unit, level),
        "clustered": (
            clustered(group, level, unit=unit, stage=stage, seed=seed), group, level, unit,
        ),
        "spiral": (spiral(group, level, unit, stage=stage, seed=seed), unit, group, level),
    }  # fmt: skip
    for name, (order, *keys) in found.items():
        assert keys_in_order(order, stage, *keys) == expected[name]


def round_robin_by_a_loop(group, level, unit, stage):
    """Keys (level, stage, group, unit) in the order of a plain round robin."""
    buckets = defaultdict(lambda: defaultdict(list))
    for g, b, c, s in zip(group, level, unit, stage, strict=True):
        buckets[b, s][g].append(c)
    found = []
    for (b, s), lists in sorted(buckets.items()):
        left = {g: sorted(units) for g, units in sorted(lists.items())}
        while any(left.values()):
            for g, units in left.items():
                if units:
                    found.append((b, s, g, units.pop(0)))
    return found


@given(columns, seeds)
def test_round_robin_against_a_loop(rows, seed):
    group, level, unit, stage = rows
    order = round_robin(group, level, unit=unit, stage=stage, seed=seed)
    expected = round_robin_by_a_loop(group, level, unit, stage)
    assert keys_in_order(order, level, stage, group, unit) == expected
    swapped = round_robin(group, level, unit=unit, stage=stage, stage_first=True, seed=seed)
    expected = round_robin_by_a_loop(group, stage, unit, level)
    assert keys_in_order(swapped, stage, level, group, unit) == expected


def test_whole_units_in_turn():
    group, unit = [*"aaabb"], [1, 1, 2, 1, 2]
    order = round_robin(group, [0] * 5, unit=unit, whole_units=True)
    assert keys_in_order(order, group, unit) == [
        ("a", 1), ("a", 1), ("b", 1), ("a", 2), ("b", 2),
    ]  # fmt: skip


def test_turns_shuffled_in_each_bucket_and_fixed_inside_it():
    groups, rounds, levels = 4, 5, 6
    group = np.tile(np.arange(groups), rounds * levels)
    level = np.repeat(np.arange(levels), groups * rounds)
    order = round_robin(group, level, shuffle_groups=True, seed=2)
    turns = group[order].reshape(levels, rounds, groups)
    assert (turns == turns[:, :1]).all()  # the same in every round of a bucket
    assert len({tuple(bucket[0]) for bucket in turns}) > 1


def interleaved_by_a_loop(group, difficulty, cycles):
    """The difficulty and group of each place, for difficulties that are all different."""
    lists = [
        sorted(d for d, g in zip(difficulty, group, strict=True) if g == own)
        for own in sorted(set(group))
    ]
    parts = [np.array_split(one, cycles) for one in lists]
    return [d for cycle in range(cycles) for own in parts for d in own[cycle].tolist()]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(1, 5), seeds)
def test_interleaved_against_a_loop(group, cycles, seed):
    difficulty = np.random.default_rng(seed).permutation(len(group))
    order = interleaved(group, difficulty, cycles=cycles)
    assert difficulty[order].tolist() == interleaved_by_a_loop(group, difficulty, cycles)


def test_interleaved_by_thresholds_is_easy_medium_hard_group_by_group():
    group, difficulty = [*"baba" * 3], np.linspace(0, 1, 12)
    order = interleaved(group, difficulty, thresholds=(0.3, 0.6))
    stage = difficulty_bins(difficulty, thresholds=(0.3, 0.6))
    keys = keys_in_order(order, stage, group)
    assert keys == sorted(keys)


@given(columns, seeds)
def test_where_orders_meet(rows, seed):
    group, level, unit, _ = rows
    one = [0] * len(group)
    assert (interleaved(group, cycles=1, seed=seed) == blocked(group, seed=seed)).all()
    curriculum = easy_to_hard(level, seed=seed)
    alone = blocked(one, level, seed=seed)
    assert keys_in_order(alone, level) == keys_in_order(curriculum, level)
    # one subject: clustering is interleaving; one concept a subject: blocking is clustering
    same = clustered(one, level, unit=unit), round_robin(one, level, unit=unit)
    assert keys_in_order(same[0], level, unit) == keys_in_order(same[1], level, unit)
    same = blocked(group, level, unit=one, seed=seed), clustered(group, level, unit=one, seed=seed)
    assert keys_in_order(same[0], group, level) == keys_in_order(same[1], group, level)


def test_equal_difficulty_is_a_pure_round_robin():
    group = np.repeat(np.arange(3), 4)
    assert group[round_robin(group, np.zeros(12))].tolist() == [0, 1, 2] * 4


def test_groups_follow_the_sorted_labels_whatever_the_seed():
    group = np.array(["music", "art", "history"] * 5)
    for seed in range(5):
        labels = group[blocked(group, seed=seed)]
        assert labels.tolist() == sorted(group)
    assert len({tuple(blocked(group, seed=seed)) for seed in range(5)}) == 5


@pytest.mark.parametrize(
    ("call", "message"),
    [(lambda: blocked(["a"], [1, 2]), "equal lengths"),
     (lambda: round_robin(["a"], [1, 2]), "equal lengths"),
     (lambda: interleaved(["a"], thresholds=(1,)), "thresholds: expected difficulty"),
     (lambda: interleaved(["a"], [1], cycles=0), "cycles: expected"),
     (lambda: interleaved(["a"], [1, 2], thresholds=(1,)), "equal lengths"),
     (lambda: spiral(["a"], [1], [float("inf")]), "expected finite")],
)  # fmt: skip
def test_wrong_arguments(call, message):
    with pytest.raises(InputError, match=message):
        call()
