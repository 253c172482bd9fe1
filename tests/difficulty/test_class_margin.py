import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from sklearn.datasets import load_digits

from gradatim.core.errors import InputError
from gradatim.difficulty.class_margin import (
    class_margin,
    extreme_margin,
    margin_of,
    nearest_enemies,
)


def blobs(rows=200, classes=3, seed=0, columns=4):
    random = np.random.default_rng(seed)
    return random.normal(size=(rows, columns)), random.integers(0, classes, rows)


def brute(X, y):
    distances = cdist(X, X)
    distances[np.asarray(y)[:, None] == np.asarray(y)] = np.inf
    return distances.min(axis=1), distances.argmin(axis=1)


@given(st.integers(0, 200), st.integers(2, 6), st.sampled_from([1e-120, 1.0, 1e120]))
def test_enemies_by_brute_force(seed, classes, scale):
    X, y = blobs(40, classes, seed)
    y[:2] = 0, 1
    distance, index = brute(X, y)
    found = nearest_enemies(scale * X, y)
    np.testing.assert_allclose(found.distance, scale * distance, rtol=1e-6)
    np.testing.assert_array_equal(found.index, index)
    np.testing.assert_array_equal(found.difficulty, -found.distance)
    margin = class_margin(scale * X, y)
    assert margin.distance == pytest.approx(scale * distance.min(), rel=1e-6)
    counts = np.bincount(y)
    assert margin.n_pairs == (counts.sum() ** 2 - (counts**2).sum()) // 2


def test_labels_of_any_kind():
    X, y = blobs()
    names = np.array(["b", "c", "a"])[y]
    np.testing.assert_array_equal(
        nearest_enemies(X, names).distance, nearest_enemies(X, y).distance
    )


def test_the_nearer_an_enemy_the_harder():
    X = np.array([[0.0], [1.0], [1.5], [4.0]])
    difficulty = nearest_enemies(X, [0, 0, 1, 1]).difficulty
    assert difficulty.argmax() in (1, 2) and difficulty.argmin() == 3


def test_copies_of_another_class_are_left_out_and_counted():
    X, y = blobs()
    X[7], y[7], y[3] = X[3], 0, 1
    found = nearest_enemies(X, y)
    assert found.distance[3] == found.distance[7] == 0 and found.contradicted == 2
    margin = class_margin(X, y)
    rest = found.distance[found.distance > 0]
    assert margin.distance == rest.min() > 0 and margin.contradicted == 2
    assert margin == margin_of(found, margin.n_pairs)


def test_a_random_part_of_the_rows():
    X, y = blobs(400)
    part = class_margin(X, y, n_rows=100, seed=1)
    assert part.distance >= class_margin(X, y).distance and part.n_pairs < 5000
    assert part == class_margin(X, y, n_rows=100, seed=1)


def test_few_pairs_are_all_looked_at():
    X, y = blobs()
    assert class_margin(X, y, method="extrapolated") == class_margin(X, y)


def test_extrapolation_by_the_equation():
    distances = np.random.default_rng(0).random(5000) + 0.1
    k, pairs = 200, 1e6
    u = np.sort(1 / distances)
    logs = np.log(u[-k:] / u[-k - 1])
    first, second = logs.mean(), (logs**2).mean()
    gamma = first + 1 - 0.5 / (1 - first**2 / second)
    a = k * pairs / 5000
    expected = 1 / ((a**gamma - 1) / gamma * u[-k - 1] * first + u[-k - 1])
    margin, tail = extreme_margin(distances, pairs, n_extremes=k)
    assert margin == pytest.approx(expected, rel=1e-9) and tail == pytest.approx(gamma)
    equal, none = extreme_margin(np.full(100, 3.0), 1e6, n_extremes=10)
    assert equal == pytest.approx(3.0) and none == 0.0


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_extrapolation_finds_the_margin_of_real_digits(seed):
    X, y = load_digits(return_X_y=True)
    exact = class_margin(X, y).distance
    found = class_margin(X, y, method="extrapolated", n_pairs=200_000, n_extremes=1000, seed=seed)
    assert found.method == "extrapolated" and found.n_pairs == 200_000
    assert found.distance <= found.smallest and found.smallest >= exact * (1 - 1e-6)
    assert found.distance == pytest.approx(exact, rel=0.25)


def test_extrapolation_scales_with_the_data():
    X, y = blobs(500)
    options = {"method": "extrapolated", "n_pairs": 20_000, "n_extremes": 200}
    first, second = (class_margin(scale * X, y, **options) for scale in (1.0, 2.0**40))
    assert second.distance == pytest.approx(2.0**40 * first.distance)
    assert second.tail_index == pytest.approx(first.tail_index)


def test_rare_classes_take_part_in_drawn_pairs():
    random = np.random.default_rng(0)
    X = random.normal(size=(3000, 2))
    y = np.zeros(3000, dtype=int)
    y[:5] = 1
    found = class_margin(X, y, method="extrapolated", n_pairs=10_000, n_extremes=100)
    assert found.smallest == pytest.approx(class_margin(X, y).distance, rel=2)


def test_pairs_at_distance_zero_are_counted_in_draws():
    X = np.repeat(np.random.default_rng(0).normal(size=(150, 2)), 2, axis=0)
    y = np.tile([0, 1], 150)
    found = class_margin(X, y, method="extrapolated", n_pairs=20_000, n_extremes=50)
    assert found.contradicted == pytest.approx(20_000 / 150, rel=0.4)
    assert found.distance > 0 and math.isfinite(found.tail_index)


def test_bad_input():
    X, y = blobs(20)
    with pytest.raises(InputError, match="y: expected at least two classes, got 1 in every row"):
        class_margin(X, [1] * 20)
    with pytest.raises(InputError, match="of different classes that differ, got equal rows only"):
        class_margin(np.ones((4, 2)), [0, 1, 0, 1])
    with pytest.raises(InputError, match="method: expected one of exact, extrapolated"):
        class_margin(X, y, method="evt")
    with pytest.raises(InputError, match=r"y: expected one label a row, \[20\]"):
        nearest_enemies(X, y[:5])
    with pytest.raises(InputError, match="n_pairs: expected a number in"):
        class_margin(X, y, n_pairs=10)
    with pytest.raises(InputError, match="distances: expected positive numbers, got 0"):
        extreme_margin(np.zeros(100), 1e6, n_extremes=10)
    with pytest.raises(InputError, match="n_extremes: expected a number in"):
        extreme_margin(np.ones(10), 1e6, n_extremes=10)
