"""Fitting a few hidden units, against another library and finite differences; growing a layer."""

import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn.datasets import load_diabetes, load_digits
from sklearn.neural_network import MLPRegressor

from gradatim.core.errors import InputError
from gradatim.learners import boosted_units
from gradatim.learners.boosted_units import (
    ACTIVATIONS,
    boost_hidden_units,
    fit_hidden_units,
    linear_layer,
)

SETTINGS = {"units_per_step": 1, "learning_rate": 0.5, "subsample": 1.0}


def state(seed=0):
    return np.random.RandomState(seed)


def table(outputs=1):
    X, y = load_diabetes(return_X_y=True)
    X = X / X.std(axis=0)
    return X, np.column_stack([(y - y.mean()) / y.std(), X[:, :1] * X[:, 1:2]])[:, :outputs]


@pytest.mark.parametrize("seed", range(3))
def test_one_unit_is_scikit_learns(seed):
    X, y = table()
    first, last = fit_hidden_units(X, y, 1, random_state=state(seed))
    reference = MLPRegressor(
        hidden_layer_sizes=(1,),
        activation="logistic",
        solver="lbfgs",
        tol=0.0,
        random_state=state(seed),
    ).fit(X, y[:, 0])
    found = expit(X @ first[:-1] + first[-1]) @ last[:-1] + last[-1]
    np.testing.assert_allclose(found[:, 0], reference.predict(X), atol=1e-4)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_several_targets_are_fitted_as_well_as_by_scikit_learn():
    X, digits = load_digits(return_X_y=True)
    X, y = X / 16, np.eye(10)[digits] - 0.1
    errors = []
    for seed in range(3):
        first, last = fit_hidden_units(X, y, 2, random_state=state(seed))
        reference = MLPRegressor(
            hidden_layer_sizes=(2,),
            activation="logistic",
            solver="lbfgs",
            tol=0.0,
            random_state=state(seed),
        ).fit(X, y)
        found = expit(X @ first[:-1] + first[-1]) @ last[:-1] + last[-1]
        errors.append([((p - y) ** 2).sum(1).mean() for p in (found, reference.predict(X))])
    ours, theirs = np.mean(errors, axis=0)
    assert ours < theirs * 1.01


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("outputs", [1, 2])
def test_the_gradient_is_that_of_the_loss(activation, outputs, monkeypatch):
    X, y = table(outputs)
    seen = {}

    def keep(objective, start, **_):
        seen["objective"], seen["start"] = objective, start
        return type("Found", (), {"x": start})

    monkeypatch.setattr(boosted_units, "minimize", keep)
    fit_hidden_units(X, y, 3, activation=activation, alpha=5.0, random_state=state())
    weights = torch.tensor(seen["start"], requires_grad=True)
    border = (X.shape[1] + 1) * 3
    first, last = weights[:border].view(-1, 3), weights[border:].view(-1, outputs)
    hidden = ACTIVATIONS[activation].module()(torch.from_numpy(X) @ first[:-1] + first[-1])
    errors = hidden @ last[:-1] + last[-1] - torch.from_numpy(y)
    squares = first[:-1].square().sum() + last[:-1].square().sum()
    loss = (errors.square().sum() + 5.0 * squares) / (2 * len(X))
    loss.backward()
    value, gradient = seen["objective"](seen["start"])
    assert value == pytest.approx(loss.item())
    np.testing.assert_allclose(gradient, weights.grad.numpy(), atol=1e-12)


def test_steps_and_losses_are_kept():
    X, y = table()
    signs = np.where(y > 0, 1.0, -1.0)
    grown = boost_hidden_units(X, signs, "logistic", stages=6, random_state=state(), **SETTINGS)
    assert grown.steps.shape == (6,) and (grown.steps > 0).all()
    assert (np.diff(grown.losses) < 0).all()
    stages = list(grown.staged_outputs(X))
    np.testing.assert_allclose(stages[-1], grown.outputs(X))
    final = np.log1p(np.exp(-2 * signs * stages[-1])).mean()
    assert grown.losses[-1] == pytest.approx(final)
    assert grown.difficulty.shape == (len(X),)


def test_subsamples_are_shares_of_the_rows(monkeypatch):
    X, y = table()
    seen = []

    def spy(rows, targets, units, **options):
        seen.append(rows)
        return fit_hidden_units(rows, targets, units, **options)

    monkeypatch.setattr(boosted_units, "fit_hidden_units", spy)
    settings = {**SETTINGS, "subsample": 0.25}
    boost_hidden_units(X, y, "squared", stages=3, random_state=state(), **settings)
    assert [len(rows) for rows in seen] == [len(X) // 4] * 3
    assert all(len(np.unique(rows, axis=0)) == len(rows) for rows in seen)
    assert not np.array_equal(seen[0], seen[1])


def test_flat_stages_have_no_part():
    X, y = np.zeros((20, 3)), np.random.default_rng(0).normal(size=(20, 1))
    grown = boost_hidden_units(X, y, "squared", stages=4, random_state=state(), **SETTINGS)
    assert grown.skipped == 4 and grown.output.shape == (0, 1)
    np.testing.assert_allclose(grown.outputs(X), y.mean())
    assert list(grown.staged_outputs(X)) == []


def test_blocks_of_rows_make_no_difference(monkeypatch):
    X, y = table()
    grown = boost_hidden_units(X, y, "squared", stages=4, random_state=state(), **SETTINGS)
    whole = grown.outputs(X)
    monkeypatch.setattr(boosted_units, "_ROWS_AT_ONCE", 7)
    np.testing.assert_allclose(grown.outputs(X), whole)


def test_a_loss_that_is_no_longer_finite_is_told():
    X, y = table()
    settings = {**SETTINGS, "learning_rate": 1e200}
    with pytest.raises(InputError, match="learning_rate: expected one with which"):
        boost_hidden_units(X, y, "squared", stages=4, random_state=state(), **settings)


def test_an_unknown_activation():
    with pytest.raises(InputError, match="activation"):
        fit_hidden_units(*table(), 1, activation="cube", random_state=state())


def test_a_layer_of_given_weights_and_of_none():
    weight, bias = torch.tensor([[1.0, 2.0]]), torch.tensor([3.0])
    layer = linear_layer(weight, bias)
    assert layer(torch.tensor([[10.0, 100.0]])).item() == 213
    layer.weight.data.zero_()
    assert weight.tolist() == [[1.0, 2.0]]
    assert linear_layer(torch.zeros(2, 0), torch.ones(2))(torch.zeros(5, 0)).shape == (5, 2)
