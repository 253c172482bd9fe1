"""Scores at several budgets of hidden units."""

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_wine
from sklearn.metrics import accuracy_score, mean_squared_error

from gradatim.core.errors import InputError
from gradatim.learners.gradient_boosted_network import (
    GradientBoostedMLPClassifier,
    GradientBoostedMLPRegressor,
)
from gradatim.metrics.budget_curve import budget_curve


def test_points_are_the_scores_of_the_stages():
    X, y = load_diabetes(return_X_y=True)
    model = GradientBoostedMLPRegressor(8, learning_rate=0.1, random_state=0).fit(X, y)
    found = budget_curve(model, X, y, mean_squared_error)
    assert [one.units for one in found] == [0, 2, 4, 6, 8]
    assert [one.fraction for one in found] == [0, 0.25, 0.5, 0.75, 1]
    assert found[0].score == pytest.approx(y.var())
    stages = [mean_squared_error(y, stage) for stage in model.staged_predict(X)]
    np.testing.assert_allclose([one.score for one in found[1:]], stages[1::2])


def test_shares_of_units_are_rounded_down_except_for_rounding_error():
    X, y = load_wine(return_X_y=True)
    model = GradientBoostedMLPClassifier(10, units_per_step=2, random_state=0).fit(X, y)
    found = budget_curve(model, X, y, accuracy_score, fractions=(0.7, 0.29, 0.59))
    assert [one.units for one in found] == [7, 2, 5]
    assert found[0].score == accuracy_score(y, model.predict(X, n_hidden=6))


def test_bad_fractions():
    X, y = load_wine(return_X_y=True)
    model = GradientBoostedMLPClassifier(2, random_state=0).fit(X, y)
    for fractions, named in (((), "at least one"), ((0.5, 1.2), "fractions"), ((-0.1,), "fract")):
        with pytest.raises(InputError, match=named):
            budget_curve(model, X, y, accuracy_score, fractions=fractions)
