import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradatim.difficulty.comparison_graph import (
    DisconnectedWarning,
    ExtremeItemWarning,
    components,
    warn_disconnected,
    warn_extreme,
)
from gradatim.difficulty.fixed_point import accelerated


@given(st.integers(1, 30), st.integers(0, 60), st.integers(0, 1000))
def test_components_by_flooding(count, edges, seed):
    random = np.random.default_rng(seed)
    first, second = random.integers(0, count, (2, edges))
    label = list(range(count))
    for _ in range(count):
        for a, b in zip(first, second, strict=True):
            label[a] = label[b] = min(label[a], label[b])
    found = components(first, second, count)
    same = np.equal.outer(label, label)
    np.testing.assert_array_equal(np.equal.outer(found, found), same)
    sizes = np.bincount(found)
    assert (np.diff(sizes) <= 0).all() and sizes.min() > 0


def test_a_long_chain_is_connected_over_many_chunks():
    count = 5_000
    order = np.random.default_rng(0).permutation(count - 1)
    assert not components(order, order + 1, count).any()
    cut = order[order != 3_000]
    assert np.bincount(components(cut, cut + 1, count)).tolist() == [3_001, 1_999]


def test_warnings_name_the_first_of_many():
    with pytest.warns(DisconnectedWarning, match=r"2 parts .* 4 \(a, b, c and 1 more\); 1 \(e\)"):
        warn_disconnected(np.array([0, 0, 0, 0, 1]), "abcde", "the games", "beware")
    with pytest.warns(ExtremeItemWarning, match=r"of 8 items 7 was solved by all .* and 2 more\)"):
        found = warn_extreme(np.full(8, 3), np.array([3] * 7 + [1]), range(8))
    assert found.tolist() == list(range(7))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_disconnected(np.zeros(3, int), "abc", "the games", "beware")
        assert not len(warn_extreme(np.array([2]), np.array([1]), ["a"]))


def test_accelerated_steps_reach_the_fixed_point_of_plain_ones():
    matrix = torch.tensor([[0.95, 0.02], [0.02, 0.9]]).double()
    shift = torch.tensor([1.0, -2.0]).double()
    target = torch.linalg.solve(torch.eye(2).double() - matrix, shift)

    def step(v):
        apart = v - target
        return matrix @ v + shift, -float(apart @ apart)

    found = accelerated(step, torch.zeros(2).double(), tol=1e-10)
    torch.testing.assert_close(found.value, target)
    assert found.converged and found.steps < 60  # plain steps need some 500
    cut = accelerated(step, torch.zeros(2).double(), tol=1e-10, max_iter=4)
    assert not cut.converged and cut.steps >= 4


def test_extrapolations_that_do_harm_are_given_up():
    calls = []

    def step(v):
        calls.append(float(v))
        objective = -float("inf") if v > 5 else float(v)
        return (v + 0.5 if v < 4 else v), objective

    found = accelerated(step, torch.zeros(1), tol=1e-6)
    assert found.value.item() == pytest.approx(4.0) and max(calls) > 5
