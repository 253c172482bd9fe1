"""Preparation of tasks, distances, means, and modes, against NumPy and closed forms."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from gradatim.core.errors import InputError
from gradatim.targets.prototype_clustering import (
    cl2n,
    class_means,
    kernel_costs,
    mean_shift,
    shift_correct,
    squared_distances,
)


def draw(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def test_centred_features_have_unit_length_or_are_zero():
    mean = draw(6, seed=1)
    x = torch.cat([draw(5, 6) * 1e3, mean[None]])
    found = cl2n(x, mean)
    expected = (x[:5] - mean) / (x[:5] - mean).norm(dim=1, keepdim=True)
    assert torch.allclose(found[:5], expected)
    assert (found[5] == 0).all()


@pytest.mark.parametrize("batch", [(), (3,)])
def test_moved_queries_have_the_mean_of_the_support(batch):
    support, query = draw(*batch, 4, 3), draw(*batch, 7, 3, seed=1) + 5
    moved = shift_correct(support, query)
    assert torch.allclose(moved.mean(-2), support.mean(-2))
    gaps = moved[..., 1:, :] - moved[..., :-1, :]
    assert torch.allclose(gaps, query[..., 1:, :] - query[..., :-1, :])


@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 5), st.floats(-1e6, 1e6))
@settings(max_examples=40, deadline=None)
def test_distances_are_those_of_scipy_wherever_the_origin_is(rows, clusters, width, offset):
    x, m = draw(rows, width) + offset, draw(clusters, width, seed=1) + offset
    expected = cdist(x.numpy(), m.numpy(), "sqeuclidean")
    assert np.allclose(squared_distances(x, m).numpy(), expected, rtol=1e-7, atol=1e-7)


def test_means_by_class_skip_rows_without_label():
    x, labels = draw(2, 9, 3), torch.tensor([[0, 1, 1, -1, 0, 2, -1, 2, 2]] * 2)
    found = class_means(x, labels, 4)
    for task in range(2):
        for k in range(3):
            assert torch.allclose(found[task, k], x[task][labels[task] == k].mean(0))
    assert found[:, 3].isnan().all()


def slow_mean_shift(x, labels, modes, width):
    """One mode at a time, as long as it moves."""
    found = modes.copy()
    for k in range(len(modes)):
        rows = x[labels == k]
        for _ in range(1000):
            weight = np.exp(-((rows - found[k]) ** 2).sum(1) / (2 * width**2))
            new = weight @ rows / weight.sum()
            step = np.abs(new - found[k]).max()
            rests = step <= 1e-5 * np.abs(found[k]).max()
            if rests:
                break
            found[k] = new
    return found


@pytest.mark.parametrize("width", [0.3, 1.0, 5.0])
def test_modes_are_those_found_one_by_one(width):
    x, labels = draw(40, 3), torch.arange(40) % 3
    start = draw(3, 3, seed=1) / 3
    expected = slow_mean_shift(x.numpy(), labels.numpy(), start.numpy(), width)
    assert np.allclose(mean_shift(x, labels, start, width).numpy(), expected, atol=1e-9)
    both = mean_shift(
        torch.stack([x, x + 1]), labels.repeat(2, 1), torch.stack([start, start + 1]), width
    )
    assert np.allclose(both[0].numpy(), expected, atol=1e-9)


def test_modes_of_a_wide_kernel_are_means_and_costs_order_like_distances():
    x, labels, start = draw(30, 4), torch.arange(30) % 2, draw(2, 4, seed=1)
    modes = mean_shift(x, labels, start, 1e4)
    assert torch.allclose(modes, class_means(x, labels, 2), atol=1e-6)
    costs, distances = kernel_costs(x, modes, 1e3), squared_distances(x, modes)
    assert torch.allclose(costs, -1 + distances / 2e6, atol=1e-9)
    assert (costs.argmin(1) == distances.argmin(1)).all()


def test_modes_without_rows_stay_and_far_ones_go_to_their_nearest_row():
    x = torch.tensor([[0.0], [1.0]])
    modes = torch.tensor([[1e6], [7.0]])
    found = mean_shift(x, torch.tensor([0, 0]), modes, 0.01)
    assert found.tolist() == [[1.0], [7.0]]
    assert kernel_costs(x, found, 0.0).tolist() == [[0.0, 0.0], [-1.0, 0.0]]


def test_a_kernel_without_width_takes_the_nearest_row():
    x = torch.tensor([[1000.0], [1001.0], [1003.0]])
    found = mean_shift(x, torch.tensor([0, 0, 0]), torch.tensor([[1001.9]]), 0.0)
    assert found.tolist() == [[1001.0]]
    assert mean_shift(x, torch.tensor([0, 0, 0]), torch.tensor([[1002.9]]), 0.1).item() == 1003.0


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: cl2n(torch.zeros(2, 3), torch.zeros(2)), "mean"),
        (lambda: shift_correct(torch.zeros(2, 3), torch.zeros(2, 4)), "query"),
        (lambda: squared_distances(torch.zeros(2, 3), torch.zeros(2, 2)), "prototypes"),
        (lambda: squared_distances(torch.zeros(1, 2, 3), torch.zeros(2, 2, 3)), "prototypes"),
        (lambda: class_means(torch.zeros(2, 3), torch.zeros(3).long(), 1), "labels"),
        (
            lambda: mean_shift(
                torch.zeros(1, 1), torch.zeros(1).long(), torch.zeros(1, 1), 1.0, tol=-1.0
            ),
            "tol",
        ),
    ],
)
def test_bad_input_is_named(call, named):
    with pytest.raises(InputError, match=named):
        call()
