"""Uniformity, tolerance and alignment against sums over all pairs."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gradatim.core.errors import InputError
from gradatim.metrics.embedding_geometry import alignment, tolerance, uniformity

seeds = st.integers(0, 500)


def features_of(seed, rows, columns=3):
    return np.random.default_rng(seed).normal(size=(rows, columns))


def unit(values):
    return values / np.linalg.norm(values, axis=1, keepdims=True)


@given(seed=seeds, rows=st.integers(2, 9), t=st.floats(0.1, 50), block=st.integers(1, 10))
def test_uniformity_is_the_mean_over_all_pairs_whatever_the_block(seed, rows, t, block):
    values = features_of(seed, rows)
    scaled = unit(values)
    squares = [((a - b) ** 2).sum() for a, b in itertools.combinations(scaled, 2)]
    expected = math.log(np.mean(np.exp(-t * np.array(squares)) + 1e-300))
    found = uniformity(torch.tensor(values), t=t, block=block)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(seed=seeds, scale=st.sampled_from([1e-200, 1e-3, 1e150]))
def test_lengths_of_rows_do_not_matter(seed, scale):
    values = features_of(seed, 6)
    other = features_of(seed + 1, 6)
    labels = torch.tensor([0, 0, 1, 1, 1, 2])
    long = values * scale * np.arange(1, 7)[:, None]
    a, b = torch.tensor(values), torch.tensor(long)
    assert uniformity(b) == pytest.approx(uniformity(a), rel=1e-9)
    assert tolerance(b, labels) == pytest.approx(tolerance(a, labels), rel=1e-9, abs=1e-12)
    second = torch.tensor(other)
    assert alignment(b, second) == pytest.approx(alignment(a, second), rel=1e-9)


def test_known_places():
    assert uniformity(torch.eye(2), t=2.0) == pytest.approx(-4.0)
    assert uniformity(torch.tensor([[1.0, 0.0], [-2.0, 0.0]])) == pytest.approx(-8.0)
    assert uniformity(torch.ones(5, 3)) == pytest.approx(0.0, abs=1e-12)
    # far beyond the smallest number of float64
    assert uniformity(torch.eye(2), t=1e4) == pytest.approx(-2e4)


def test_drawn_pairs_come_near_the_mean_over_all():
    values = torch.tensor(features_of(0, 300, 8))
    exact = uniformity(values)
    drawn = [uniformity(values, max_pairs=20_000, seed=seed) for seed in range(8)]
    assert np.mean(drawn) == pytest.approx(exact, abs=0.02)
    assert len(set(drawn)) == 8
    assert uniformity(values, max_pairs=300 * 299 // 2) == exact


def test_drawn_pairs_are_never_of_a_row_with_itself():
    assert uniformity(torch.eye(3), max_pairs=2, seed=1) == pytest.approx(-4.0)


@given(seed=seeds, rows=st.integers(2, 12), classes=st.integers(1, 4))
def test_tolerance_is_the_mean_over_all_pairs(seed, rows, classes):
    values = features_of(seed, rows)
    labels = np.random.default_rng(seed).integers(-1, classes, rows)
    similarity = unit(values) @ unit(values).T
    same = (labels[:, None] == labels) & ~np.eye(rows, dtype=bool)
    expected = similarity[same].sum() / (rows * (rows - 1))
    tensors = torch.tensor(values), torch.tensor(labels)
    assert tolerance(*tensors) == pytest.approx(expected, abs=1e-12)
    if same.any():
        conditional = tolerance(*tensors, conditional=True)
        assert conditional == pytest.approx(similarity[same].mean(), abs=1e-12)
        share = same.sum() / (rows * (rows - 1))
        assert tolerance(*tensors) == pytest.approx(share * conditional, abs=1e-12)


@given(
    first=arrays(np.float64, (4, 3), elements=st.floats(0.1, 1)),
    second=arrays(np.float64, (4, 3), elements=st.floats(-1, -0.1)),
    alpha=st.floats(0.2, 4),
)
def test_alignment_is_the_mean_distance(first, second, alpha):
    distance = np.linalg.norm(unit(first) - unit(second), axis=1)
    found = alignment(torch.tensor(first), torch.tensor(second), alpha=alpha)
    assert found == pytest.approx((distance**alpha).mean(), rel=1e-9)
    assert alignment(torch.tensor(first), torch.tensor(first), alpha=alpha) == 0


def test_order_of_rows_does_not_matter_and_arguments_stay():
    values, labels = torch.randn(20, 4), torch.arange(20) % 3
    before = values.clone()
    turned = values.flip(0)
    assert uniformity(values, block=7) == pytest.approx(uniformity(turned, block=7))
    assert tolerance(values, labels) == pytest.approx(tolerance(turned, labels.flip(0)))
    assert torch.equal(values, before)


def test_half_precision_and_integers_are_allowed():
    values = torch.tensor([[1, 2], [3, -1], [0, 2]])
    assert uniformity(values) == pytest.approx(uniformity(values.double()))
    assert uniformity(values.half()) == pytest.approx(uniformity(values.double()))


def test_bad_input_is_told():
    with pytest.raises(InputError, match="features: expected at least two rows, got 1"):
        uniformity(torch.ones(1, 3))
    with pytest.raises(
        InputError, match="features: expected rows that are not zero, got zeros at 1"
    ):
        uniformity(torch.tensor([[1.0], [0.0]]))
    with pytest.raises(InputError, match="features: expected finite numbers"):
        tolerance(torch.tensor([[1.0], [math.nan]]), torch.tensor([0, 0]))
    with pytest.raises(InputError, match="labels: expected two rows of one class, got none"):
        tolerance(torch.eye(2), torch.tensor([0, 1]), conditional=True)
    with pytest.raises(InputError, match=r"labels: expected shape \[2\], got \[3\]"):
        tolerance(torch.eye(2), torch.zeros(3))
    with pytest.raises(InputError, match="first: expected at least one row, got none"):
        alignment(torch.ones(0, 2), torch.ones(0, 2))
    with pytest.raises(InputError, match="second: expected the shape of first"):
        alignment(torch.ones(2, 2), torch.ones(2, 3))
    with pytest.raises(InputError, match=r"max_pairs: expected a number in \[1"):
        uniformity(torch.eye(3), max_pairs=0)
