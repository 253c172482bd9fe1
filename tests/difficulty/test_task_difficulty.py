import math

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

from gradatim.core.errors import InputError
from gradatim.difficulty.class_margin import class_margin
from gradatim.difficulty.inductive_bias_tasks import classification_complexity
from gradatim.difficulty.intrinsic_dimension import intrinsic_dimension
from gradatim.difficulty.task_difficulty import curve_errors, measure_task


def task(rows=300, seed=0, columns=3):
    X = np.random.default_rng(seed).normal(size=(rows, columns))
    return X, np.where(X[:, 0] > 0, "up", "down")


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X / 16, y, measure_task(X / 16, y, error=0.03, n_train=200, n_test=100, splits=3)


def test_the_bound_is_made_of_what_is_told(digits):
    X, y, found = digits
    assert found.dimension == intrinsic_dimension(X, k=5)
    assert found.margin == class_margin(X, y)
    assert found.radius == pytest.approx(np.linalg.norm(X, axis=1).max())
    expected = classification_complexity(
        error=0.03,
        n=1797,
        classes=10,
        dimension=found.dimension.estimate,
        radius=found.radius,
        resolution=found.margin.distance,
    )
    assert found.complexity == expected == found.complexity_at(found.dimension.estimate)
    assert 7.5 < found.dimension.estimate < 10  # what is known of these digits


def test_the_table_shows_how_the_bound_hangs_on_the_estimator(digits):
    _, _, found = digits
    table = found.table()
    assert table["points"].unique().tolist() == [449, 898, 1797]
    assert table["k"].unique().tolist() == [3, 5, 10, 20]
    assert table["chosen"].sum() == 1
    chosen = table[table["chosen"]].iloc[0]
    assert (chosen["points"], chosen["k"]) == (1797, 5)
    assert chosen["log10_bits"] == found.complexity.log10_bits
    assert (table["log10_low"] < table["log10_bits"]).all()
    assert (table["log10_bits"] < table["log10_high"]).all()
    low, high = found.log10_range
    assert (low, high) == (table["log10_bits"].min(), table["log10_bits"].max())
    assert high - low > 1  # more than a power of ten


def test_both_measures_fall_with_the_error(digits):
    _, _, found = digits
    curve = found.curve()
    assert curve["error"].tolist() == curve_errors(0.03) == [0.3, 0.2, 0.1, 0.05, 0.03, 0.02, 0.01]
    assert (np.diff(curve["log10_bits"]) > 0).all() and (np.diff(curve["exact_bits"]) >= 0).all()
    assert (curve["exact_low"] <= curve["exact_bits"]).all()
    assert (curve["exact_bits"] < 10 ** curve["log10_bits"]).all()


def test_the_sentence_tells_both_with_their_ranges(digits):
    _, _, found = digits
    told = found.sentence()
    low, high = found.log10_range
    assert told.startswith("1,797 rows of 10 classes vary along 8.1 directions (6.0 to 8.8, ")
    assert f"10^{found.complexity.log10_bits:.1f} bits (10^{low:.1f} to 10^{high:.1f})" in told
    mean = found.curve().set_index("error").loc[0.03, "exact_bits"]
    assert f"told apart by {mean:,.0f} bits [" in told and told.endswith("].")


def test_seeds_and_kinds_of_input():
    X, y = task()
    first, again = (measure_task(X, y, seed=3) for _ in range(2))
    assert first.sentence() == again.sentence()
    frame = measure_task(pd.DataFrame(X), pd.Series(y), seed=3)
    assert frame.sentence() == first.sentence() and frame.features == 3


def test_finer_classes_are_harder():
    X, _ = task(rows=600, columns=2)
    coarse, fine = (measure_task(X, np.sin(f * X[:, 0]) > 0, error=0.1) for f in (1, 6))
    assert fine.margin.distance < coarse.margin.distance
    assert fine.complexity.log10_bits > coarse.complexity.log10_bits
    assert fine.exact.interval(2)[0] > coarse.exact.interval(2)[0]


def test_a_margin_that_is_known_or_extrapolated():
    X, y = task()
    given = measure_task(X, y, margin=0.01, exact=False)
    assert (given.margin.distance, given.margin.method) == (0.01, "given")
    assert given.exact is None and given.enemies is None and "smooth" not in given.sentence()
    assert np.isnan(given.curve()["exact_bits"]).all()
    few = measure_task(X, y, margin="extrapolated", exact=False)
    assert few.margin == class_margin(X, y)  # few pairs are all looked at


def test_few_rows_have_fewer_neighbours():
    X, y = task(rows=12)
    found = measure_task(X, y, error=0.2)
    assert found.table()["k"].max() == 10 and found.dimension.k == 5
    tiny = measure_task(X[:5], ["a", "b", "a", "b", "b"], error=0.2)
    assert tiny.dimension.k == 3 and tiny.exact.n_test == 2


def notes(X, y, **options):
    return " | ".join(measure_task(X, y, exact=False, **options).notes)


def test_notes_tell_what_makes_figures_doubtful():
    X, y = task()
    assert "far from the origin" not in notes(X, y) and "copies" not in notes(X, y)
    twin = np.concatenate([X, X[:3]]), np.concatenate([y, np.where(y[:3] == "up", "down", "up")])
    assert "3 rows are copies of others" in notes(*twin)
    assert "6 rows equal a row of another class: nothing tells them apart" in notes(*twin)
    assert "the rows lie far from the origin: their largest norm is" in notes(X + 100, y)
    assert "row 7 is an outlier of norm" in notes(np.where(np.arange(300)[:, None] == 7, 50, X), y)
    grid = np.random.default_rng(0).integers(0, 4, (300, 4)).astype(float)
    assert "neighbours are as far as the next one" in notes(grid, (grid[:, 0] > 1).astype(int))
    many = np.random.default_rng(0).normal(size=(300, 40))
    told = notes(many, many[:, 0] > 0)
    assert "dimensions above about 5 come out too low" in told
    assert "the dimension still rises with the sample, from" in told
    line = np.random.default_rng(0).random((400, 1))
    assert "the bound says nothing here" in notes(line, line[:, 0] > 0.5, margin=0.3)


def test_where_the_bound_says_nothing():
    line = np.random.default_rng(0).random((3000, 1))
    found = measure_task(line, line[:, 0] > 0.5, error=0.3, margin=0.05, n_test=50, splits=2)
    assert math.isnan(found.complexity.bits)
    assert "the bound says nothing here" in found.sentence()


@pytest.mark.parametrize(
    ("X", "y", "options", "told"),
    [
        (np.ones((30, 2)), [0, 1] * 15, {}, "X: expected features that vary, got constant ones"),
        (task()[0], [1] * 300, {}, "y: expected at least two classes, got 1 in every row"),
        (task()[0], task()[0][:, 0], {}, "y: expected classes that recur, got 300 different"),
        (task()[0][:7], task()[1], {}, r"y: expected one label a row, \[7\], got \[300\]"),
        (np.repeat([[0.0], [1]], 8, 0), [0, 1] * 8, {}, "different rows for 3 neighbours, got 2"),
        (
            np.repeat(task()[0][:8], 2, 0),
            [0, 1] * 8,
            {},
            "of different classes that differ, got equal rows only",
        ),
        (*task(), {"error": 1.0}, "error: expected a number in"),
        (*task(), {"margin": 0.0}, "margin: expected a number in"),
        (*task(), {"margin": "evt"}, "method: expected one of exact, extrapolated"),
        (np.full((9, 2), np.inf), [0, 1, 2] * 3, {}, "X: expected finite numbers, got inf"),
    ],
)
def test_bad_input(X, y, options, told):
    with pytest.raises(InputError, match=told):
        measure_task(X, y, **options)
