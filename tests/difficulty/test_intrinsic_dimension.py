import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from gradatim.core.errors import InputError
from gradatim.difficulty.intrinsic_dimension import (
    dimension_sensitivity,
    intrinsic_dimension,
    local_dimension,
)
from gradatim.difficulty.points import as_classes, as_points, distinct_rows


def cube(rows, dimension, seed=0):
    return np.random.default_rng(seed).random((rows, dimension))


def sphere(rows, dimension, seed=0):
    points = np.random.default_rng(seed).normal(size=(rows, dimension + 1))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def log_ratios(X, k):
    distances = np.sort(cdist(X, X), axis=1)[:, 1 : k + 1]
    return np.log(distances[:, -1:] / distances[:, :-1])


@pytest.mark.parametrize("dimension", [1, 2, 3, 4, 5])
def test_uniform_cubes(dimension):
    found = intrinsic_dimension(cube(2000, dimension), k=5)
    assert found.estimate == pytest.approx(dimension, rel=0.1)


@pytest.mark.parametrize("dimension", [1, 2, 4])
def test_spheres_turned_into_many_dimensions(dimension):
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(40, dimension + 1)))[0]
    found = intrinsic_dimension(sphere(2000, dimension) @ turn.T)
    assert found.estimate == pytest.approx(dimension, rel=0.08)


def test_a_rolled_sheet_has_two_dimensions():
    angle, height = 4 + 8 * cube(2000, 1)[:, 0], 20 * cube(2000, 1, seed=1)[:, 0]
    roll = np.stack([angle * np.cos(angle), height, angle * np.sin(angle)], axis=1)
    assert intrinsic_dimension(roll).estimate == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize("k", [2, 5, 12])
def test_the_equation_by_brute_force(k):
    X = cube(300, 3)
    expected = log_ratios(X, k)
    assert intrinsic_dimension(X, k=k).estimate == pytest.approx(1 / expected.mean(), rel=1e-5)
    if k > 2:
        local = (k - 2) / expected.sum(axis=1)
        np.testing.assert_allclose(local_dimension(X, k=k), local, rtol=1e-4)


@given(
    st.sampled_from([1e-150, 1e-9, 1.0, 3e7, 1e150]),
    st.integers(0, 5),
    st.sampled_from([0.0, -4.0, 100.0]),
)
def test_scale_rotation_and_place_do_not_matter(scale, seed, shift):
    X = cube(120, 4)
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(4, 4)))[0]
    moved = scale * (X @ turn.T + shift)
    expected = intrinsic_dimension(X).estimate
    assert intrinsic_dimension(moved).estimate == pytest.approx(expected, rel=1e-4)


def test_copies_count_once():
    X = cube(200, 2)
    copied = np.concatenate([X, X[:50], X[:50]])
    expected = intrinsic_dimension(X)
    assert intrinsic_dimension(copied) == expected and expected.n_points == 200
    local = local_dimension(copied, k=8)
    assert len(local) == 300 and np.isfinite(local).all()
    np.testing.assert_array_equal(local[200:250], local[:50])
    np.testing.assert_array_equal(local[:200], local_dimension(X, k=8))


def test_the_kind_of_input_does_not_matter():
    X = cube(150, 6).astype(np.float32)
    expected = intrinsic_dimension(X).estimate
    assert intrinsic_dimension(X.reshape(150, 2, 3)).estimate == expected
    assert intrinsic_dimension(torch.from_numpy(X)).estimate == expected
    assert intrinsic_dimension(pd.DataFrame(X)).estimate == pytest.approx(expected, rel=1e-6)
    assert intrinsic_dimension(X.astype(float)).estimate == pytest.approx(expected, rel=1e-6)


def test_local_dimension_tells_a_line_from_a_ball_and_is_unbiased():
    line, ball = np.zeros((400, 3)), cube(400, 3) + 10
    line[:, 0] = cube(400, 1)[:, 0]
    local = local_dimension(np.concatenate([line, ball]), k=20)
    assert np.median(local[:400]) < 1.3 < 2 < np.median(local[400:])
    inside = np.abs(cube(4000, 2, seed=3) - 0.5).max(axis=1) < 0.35  # away from the border
    assert local_dimension(cube(4000, 2, seed=3), k=6)[inside].mean() == pytest.approx(2, rel=0.05)


def test_the_interval_covers_the_mean_of_the_estimator():
    found = [intrinsic_dimension(cube(250, 2, seed), k=10) for seed in range(120)]
    mean = np.mean([one.estimate for one in found])
    covered = np.mean([one.low <= mean <= one.high for one in found])
    assert 0.88 <= covered <= 0.99
    spread = np.std([one.estimate for one in found])
    half = np.mean([one.high - one.low for one in found]) / 2 / 1.96
    assert half == pytest.approx(spread, rel=0.25)


def test_query_points_are_drawn_by_the_seed_and_neighbours_come_from_all():
    X = cube(3000, 3)
    first, again, other = (intrinsic_dimension(X, n_queries=300, seed=s) for s in (0, 0, 1))
    assert first == again and first.estimate != other.estimate
    assert (first.n_points, first.n_queries) == (3000, 300)
    whole = intrinsic_dimension(X)
    assert first.low < whole.estimate < first.high
    assert whole.high - whole.low < first.high - first.low


def test_sensitivity_over_neighbours_and_samples():
    X = cube(400, 8)
    found = dimension_sensitivity(X, ks=(3, 10, 150), fractions=(0.25, 1.0))
    table = found.table()
    assert table["points"].tolist() == [100, 100, 400, 400, 400]  # 100 points have no 150
    assert table["k"].tolist() == [3, 10, 3, 10, 150]
    assert (found.low, found.high) == (table["dimension"].min(), table["dimension"].max())
    assert found.at(10).n_points == 400
    assert found.at(10) == intrinsic_dimension(X, k=10)
    # Few points in many dimensions: too low, rising with the sample, falling with neighbours.
    dimension = table["dimension"]
    assert dimension[1] < dimension[3] < 8 and dimension[2] > dimension[3] > dimension[4]
    with pytest.raises(InputError, match=r"k: expected one of \[3, 10, 150\], got 7"):
        found.at(7)


def test_whole_numbers_are_told_by_their_ties():
    grid = np.random.default_rng(0).integers(0, 6, (500, 4)).astype(float)
    found = intrinsic_dimension(grid)
    assert found.ties > 0.4 and found.estimate > 4.5
    assert intrinsic_dimension(cube(500, 4)).ties == 0
    lattice = np.stack(np.meshgrid(np.arange(9.0), np.arange(9.0)), axis=-1).reshape(-1, 2)
    with pytest.raises(InputError, match="got the 2 nearest of every point equally far"):
        intrinsic_dimension(lattice, k=2)
    assert math.isinf(local_dimension(lattice, k=3).max())


def test_distinct_rows_by_numpy():
    rows = np.random.default_rng(0).integers(0, 3, (60, 2)).astype(float)
    rows[rows == 0] *= -1
    found = distinct_rows(rows)
    _, first, counts = np.unique(rows + 0.0, axis=0, return_index=True, return_counts=True)
    assert found.first.tolist() == sorted(first)
    np.testing.assert_array_equal(rows[found.first][found.place], rows)
    assert sorted(found.counts) == sorted(counts) and found.counts.sum() == 60


@pytest.mark.parametrize(
    ("X", "options", "told"),
    [
        (np.ones((50, 3)), {}, "X: expected at least 6 different rows for 5 neighbours, got 1"),
        (cube(5, 2), {}, "expected at least 6 different rows for 5 neighbours, got 5"),
        (cube(50, 2), {"k": 1}, "k: expected a number in"),
        (cube(50, 2), {"confidence": 1.0}, "confidence: expected a number in"),
        ([[0.0, np.nan]] * 9, {}, "X: expected finite numbers, got nan at row 0, 1"),
        (np.arange(9.0), {}, r"X: expected shape \[N, F\]"),
        (np.zeros((4, 0)), {}, r"got \[4, 0\]"),
        ([["a", "b"]] * 9, {}, "X: expected numbers, got something else"),
    ],
)
def test_bad_input(X, options, told):
    with pytest.raises(InputError, match=told):
        intrinsic_dimension(X, **options)


def test_bad_sensitivity():
    with pytest.raises(InputError, match="ks: expected at least one number"):
        dimension_sensitivity(cube(50, 2), ks=())
    with pytest.raises(InputError, match="fractions: expected a number in"):
        dimension_sensitivity(cube(50, 2), fractions=(0.0,))
    with pytest.raises(InputError, match="at least 4 different rows for 3 neighbours, got 2"):
        dimension_sensitivity(cube(2, 2))
    with pytest.raises(InputError, match="k: expected a number in"):
        local_dimension(cube(50, 2), k=2)


def test_points_and_classes():
    assert as_points("X", np.float16([[1, 2]])).dtype == np.float64
    numbers, classes = as_classes("y", np.array([2.0, 0.0, 2.0]), 3)
    assert numbers.tolist() == [1, 0, 1] and classes.tolist() == [0.0, 2.0]
    for y, told in (
        ([1, 1, 1], "at least two classes, got 1 in every row"),
        ([1, 2], r"one label a row, \[3\], got \[2\]"),
        ([1.0, np.nan, 2.0], "got nan at row 1"),
        (np.array(["a", None, "b"], dtype=object), "got none at row 1"),
        (np.array(["a", 1, "b"], dtype=object), "labels of one kind"),
    ):
        with pytest.raises(InputError, match=told):
            as_classes("y", y, 3)
    with pytest.raises(InputError, match="expected classes that recur, got 30 different labels"):
        as_classes("y", np.linspace(0, 1, 30), 30)
