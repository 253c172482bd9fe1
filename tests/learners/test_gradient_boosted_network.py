"""Boosted networks as scikit-learn estimators: conventions, references, truncation, one module."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import expit
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine, make_classification
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import LinearRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_score
from sklearn.neural_network import MLPRegressor
from sklearn.tree import DecisionTreeRegressor
from sklearn.utils.estimator_checks import estimator_checks_generator

from gradatim.core.errors import InputError
from gradatim.learners.gradient_boosted_network import (
    GradientBoostedMLPClassifier,
    GradientBoostedMLPRegressor,
)

BOTH = (GradientBoostedMLPClassifier, GradientBoostedMLPRegressor)
DATA = {
    "numbers": load_diabetes(return_X_y=True),
    "two classes": load_breast_cancer(return_X_y=True),
    "three classes": load_wine(return_X_y=True),
}


def fitted(task, n_hidden=12, **options):
    X, y = DATA[task]
    settings = {"learning_rate": 0.2, "alpha": 1e-4, "random_state": 0, **options}
    if task == "several numbers":
        return GradientBoostedMLPRegressor(n_hidden, **settings).fit(X, y)
    kind = GradientBoostedMLPRegressor if task == "numbers" else GradientBoostedMLPClassifier
    return kind(n_hidden, **settings).fit(X, y)


DATA["several numbers"] = (
    DATA["numbers"][0][:, :6],
    np.column_stack([DATA["numbers"][1], DATA["numbers"][0][:, 6:8]]),
)
CHECKS = [
    pytest.param(estimator, check, id=f"{kind.__name__}-{check.func.__name__}")
    for kind in BOTH
    for estimator, check in estimator_checks_generator(kind(20, learning_rate=0.5, random_state=0))
]


@pytest.mark.parametrize(("estimator", "check"), CHECKS)
@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_conventions(estimator, check):
    check(estimator)


def test_one_stage_is_scikit_learns_network_on_the_centred_targets():
    X, y = load_diabetes(return_X_y=True)
    X = 20 * X
    model = GradientBoostedMLPRegressor(
        1,
        learning_rate=1.0,
        subsample=1.0,
        alpha=1e-4,
        standardize=False,
        random_state=np.random.RandomState(7),
    ).fit(X, y)
    reference = MLPRegressor(
        hidden_layer_sizes=(1,),
        activation="logistic",
        solver="lbfgs",
        tol=0.0,
        random_state=np.random.RandomState(7),
    ).fit(X, y - y.mean())
    np.testing.assert_allclose(model.predict(X), y.mean() + reference.predict(X), rtol=1e-4)


def test_a_linear_unit_is_least_squares_and_later_ones_change_nothing():
    X, y = DATA["numbers"]
    model = GradientBoostedMLPRegressor(
        5,
        learning_rate=1.0,
        subsample=1.0,
        activation="identity",
        alpha=0.0,
        max_iter=2000,
        random_state=0,
    ).fit(X, y)
    wanted = LinearRegression().fit(X, y).predict(X)
    for stage in model.staged_predict(X):
        np.testing.assert_allclose(stage, wanted, atol=0.05)


def test_stages_are_those_of_gradient_boosting_with_another_base_learner():
    X, y = DATA["numbers"]
    model = fitted("numbers", 3, subsample=1.0, standardize=False)
    trees = GradientBoostingRegressor(
        n_estimators=3, learning_rate=0.2, max_depth=2, random_state=0
    ).fit(X, y)
    by_hand = np.full(len(y), y.mean())
    for tree_stage in trees.staged_predict(X):
        tree = DecisionTreeRegressor(max_depth=2, random_state=0).fit(X, y - by_hand)
        by_hand = by_hand + 0.2 * tree.predict(X)
        np.testing.assert_allclose(by_hand, tree_stage)
    units, outputs = model.units_, np.full(len(y), y.mean())
    for stage, found in enumerate(model.staged_predict(X)):
        active = expit(X @ units.hidden[:-1, stage] + units.hidden[-1, stage])
        step = units.biases[stage + 1, 0] - units.biases[stage, 0]
        outputs = outputs + active * units.output[stage, 0] + step
        np.testing.assert_allclose(found, outputs)
        assert abs((found - y).mean()) < 1e-2 * y.std()


@pytest.mark.parametrize("task", DATA)
@pytest.mark.parametrize(("units_per_step", "standardize"), [(1, True), (2, False), (3, True)])
def test_the_module_is_the_boosted_sum_at_every_size(task, units_per_step, standardize):
    X, _ = DATA[task]
    model = fitted(task, units_per_step=units_per_step, standardize=standardize)
    assert 3 <= model.n_hidden_ <= 12
    assert not standardize or model.n_hidden_ == 12
    stages = list(model.staged_predict(X))
    assert len(stages) == model.n_hidden_ // units_per_step
    rows = torch.from_numpy(X)
    for units in range(model.n_hidden_ + 1):
        module = model.to_module(units, dtype=torch.float64)
        outputs = module(rows).detach().numpy()
        whole = units // units_per_step
        assert module[0].weight.shape == (whole * units_per_step, X.shape[1])
        predicted = model.predict(X, n_hidden=units)
        if "classes" in task:
            logits = model.decision_function(X, n_hidden=units).reshape(len(X), -1)
            np.testing.assert_allclose(outputs, logits, atol=1e-8)
        else:
            np.testing.assert_allclose(outputs.reshape(predicted.shape), predicted, rtol=1e-8)
        if whole:
            np.testing.assert_allclose(stages[whole - 1], predicted, rtol=1e-9)
    np.testing.assert_array_equal(model.predict(X), model.predict(X, n_hidden=model.n_hidden_))


def test_a_sigmoid_or_a_softmax_of_the_module_is_the_probability():
    X, _ = DATA["two classes"]
    model = fitted("two classes")
    logits = model.to_module()(torch.from_numpy(X).float())
    assert logits.dtype == torch.float32
    p = model.predict_proba(X)
    np.testing.assert_allclose(logits.sigmoid()[:, 0].detach().numpy(), p[:, 1], atol=1e-5)
    half_logit = model.units_.outputs(model.scaler_.transform(X))
    np.testing.assert_allclose(expit(2 * half_logit[:, 0]), p[:, 1])
    X, _ = DATA["three classes"]
    model = fitted("three classes")
    logits = model.to_module(dtype=torch.float64)(torch.from_numpy(X))
    np.testing.assert_allclose(logits.softmax(1).detach().numpy(), model.predict_proba(X))
    np.testing.assert_allclose(list(model.staged_predict_proba(X))[-1], model.predict_proba(X))


def test_no_units_give_the_constant():
    X, y = DATA["two classes"]
    model = fitted("two classes")
    np.testing.assert_allclose(model.predict_proba(X[:2], n_hidden=0)[:, 1], y.mean())
    X, y = DATA["three classes"]
    shares = np.bincount(y) / len(y)
    found = fitted("three classes").predict_proba(X[:1], n_hidden=0)[0]
    np.testing.assert_allclose(found, shares)
    X, y = DATA["several numbers"]
    found = fitted("several numbers").predict(X[:2], n_hidden=0)
    np.testing.assert_allclose(found, np.tile(y.mean(axis=0), (2, 1)), atol=1e-12)


@pytest.mark.parametrize("task", DATA)
def test_the_training_loss_is_that_of_the_stages_and_falls(task):
    X, y = DATA[task]
    model = fitted(task, 20, subsample=1.0)
    losses = model.loss_curve_
    assert losses.shape == (21,)
    assert (np.diff(losses) < 1e-9).all()
    if "classes" in task:
        stages = [model.predict_proba(X, n_hidden=0), *model.staged_predict_proba(X)]
        wanted = [-np.log(p[np.arange(len(y)), y]).mean() for p in stages]
    else:
        scale = np.atleast_2d(y.T).T.std(axis=0)
        stages = [model.predict(X, n_hidden=0), *model.staged_predict(X)]
        errors = [(np.atleast_2d((p - y).T).T / scale) ** 2 for p in stages]
        wanted = [error.sum(axis=1).mean() / 2 for error in errors]
    np.testing.assert_allclose(losses, wanted, rtol=1e-6)


@pytest.mark.parametrize("task", DATA)
def test_seeds_repeat_and_global_randomness_is_left_alone(task):
    X, _ = DATA[task]
    torch.manual_seed(3), np.random.seed(3)  # noqa: NPY002
    untouched = float(torch.rand(1)), np.random.rand()  # noqa: NPY002
    torch.manual_seed(3), np.random.seed(3)  # noqa: NPY002
    first, second = fitted(task), fitted(task)
    first.to_module()
    assert (float(torch.rand(1)), np.random.rand()) == untouched  # noqa: NPY002
    np.testing.assert_array_equal(first.units_.hidden, second.units_.hidden)
    assert (fitted(task, random_state=1).units_.hidden != first.units_.hidden).any()
    again = pickle.loads(pickle.dumps(first))
    np.testing.assert_array_equal(again.predict(X), first.predict(X))


def test_other_units_of_columns_and_targets_give_the_same_network():
    X, y = DATA["numbers"]
    model = GradientBoostedMLPRegressor(12, learning_rate=0.2, random_state=0)
    wanted = model.fit(X, y).predict(X)
    found = model.fit(1024 * X, y / 4096).predict(1024 * X)
    np.testing.assert_allclose(4096 * found, wanted, rtol=1e-12)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_it_generalizes():
    for task, kind, wanted in (
        ("two classes", GradientBoostedMLPClassifier, 0.95),
        ("three classes", GradientBoostedMLPClassifier, 0.94),
        ("numbers", GradientBoostedMLPRegressor, 0.43),
    ):
        model = kind(40, learning_rate=0.1, random_state=0)
        assert cross_val_score(model, *DATA[task], cv=3).mean() > wanted


def test_hard_rows_are_those_with_false_labels():
    X, y = make_classification(300, 6, n_informative=4, class_sep=2.0, flip_y=0, random_state=0)
    false = np.random.default_rng(0).random(300) < 0.1
    model = GradientBoostedMLPClassifier(40, learning_rate=0.1, random_state=0)
    model.fit(X, np.where(false, 1 - y, y))
    assert roc_auc_score(false, model.difficulty_) > 0.9
    X, y = DATA["numbers"]
    model = GradientBoostedMLPRegressor(1, random_state=0).fit(X, y)
    np.testing.assert_allclose(model.difficulty_, abs(y - y.mean()) / y.std())


@pytest.mark.parametrize("labels", [["no", "yes"], [False, True], [-1, 7]])
def test_labels_of_any_kind(labels):
    X, y = make_classification(80, n_informative=4, class_sep=3.0, random_state=0)
    frame = pd.DataFrame(X, columns=[f"f{i}" for i in range(20)])
    named = np.array(labels)[y]
    model = GradientBoostedMLPClassifier(20, learning_rate=0.1, random_state=0).fit(frame, named)
    assert model.classes_.tolist() == sorted(labels)
    assert (model.predict(frame) == named).mean() > 0.95
    assert model.feature_names_in_[0] == "f0"
    assert next(model.staged_predict(frame)).dtype == named.dtype


def test_a_constant_target_has_no_units():
    X = np.arange(12.0).reshape(6, 2)
    model = GradientBoostedMLPRegressor(4, random_state=0).fit(X, np.full(6, 3.0))
    assert model.n_hidden_ == 0
    assert model.n_iter_ == 4
    np.testing.assert_allclose(model.predict(X), 3.0)
    np.testing.assert_allclose(model.to_module()(torch.zeros(2, 2)).detach().numpy(), 3.0)


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"n_hidden": 0}, "n_hidden"),
        ({"n_hidden": 3, "units_per_step": 4}, "n_hidden: expected at least one step of 4"),
        ({"units_per_step": 0}, "units_per_step"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"subsample": 0.0}, "subsample"),
        ({"subsample": 1.5}, "subsample"),
        ({"activation": "sigmoid"}, "activation: expected one of logistic"),
        ({"alpha": -1.0}, "alpha"),
        ({"max_iter": 0}, "max_iter"),
    ],
)
def test_arguments_outside_their_range(kind, options, named):
    X, y = make_classification(60, random_state=1)
    with pytest.raises(ValueError, match=named):
        kind(**options).fit(X, y)


def test_bad_tables_and_sizes():
    X, y = make_classification(60, random_state=1)
    with pytest.raises(InputError, match="expected at least two classes, got one class: 0"):
        GradientBoostedMLPClassifier().fit(X, np.zeros(60))
    model = GradientBoostedMLPClassifier(4).fit(X, y)
    for units in (-1, 5):
        with pytest.raises(ValueError, match="n_hidden"):
            model.predict(X, n_hidden=units)
    X[3, 4] = np.nan
    with pytest.raises(ValueError, match="Input X contains NaN"):
        model.staged_predict(X)
