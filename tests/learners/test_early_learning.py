"""The scikit-learn classifier for noisy labels: conventions, accuracy, and what it tells."""

import random

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits, make_classification
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from gradatim.core.errors import InputError
from gradatim.learners.early_learning import EarlyLearningClassifier


def small(**options):
    settings = {"epochs": 10, "hidden": (32,), "batch_size": 32, "random_state": 0, **options}
    return EarlyLearningClassifier(**settings)


CHECKS = [
    pytest.param(
        estimator, check, id=f"{'plus' if estimator.plus else 'one'}-{check.func.__name__}"
    )
    for plus in (False, True)
    for estimator, check in estimator_checks_generator(small(plus=plus))
]


@pytest.mark.parametrize(("estimator", "check"), CHECKS)
@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_conventions(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, test_size=500, random_state=0, stratify=y)
    generator = np.random.default_rng(0)
    false = generator.random(len(y)) < 0.4
    noisy = np.where(false, (y + generator.integers(1, 10, len(y))) % 10, y)
    return X, y, noisy, noisy != y, X_test, y_test


def usual():
    network = MLPClassifier((128, 128), max_iter=60, random_state=0)
    return make_pipeline(StandardScaler(), network)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_noisy_digits_are_learned_and_false_labels_told(digits):
    X, _, noisy, false, X_test, y_test = digits
    model = EarlyLearningClassifier(random_state=0, epochs=40).fit(X, noisy)
    assert model.score(X_test, y_test) > 0.9
    assert model.score(X_test, y_test) > usual().fit(X, noisy).score(X_test, y_test) + 0.1
    assert roc_auc_score(false, model.label_disagreement_) > 0.95


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_clean_digits_are_learned_as_well_as_usual(digits):
    X, clean, _, _, X_test, y_test = digits
    model = EarlyLearningClassifier(random_state=0, epochs=40).fit(X, clean)
    assert model.score(X_test, y_test) > usual().fit(X, clean).score(X_test, y_test) - 0.01


@pytest.mark.parametrize("plus", [False, True])
def test_seeds_repeat_and_global_randomness_is_left_alone(plus):
    X, y = make_classification(60, random_state=1)
    states = []
    predictions = []
    for _ in range(2):
        random.seed(5), np.random.seed(5), torch.manual_seed(5)  # noqa: NPY002
        predictions.append(small(plus=plus).fit(X, y).predict_proba(X))
        states.append((random.random(), np.random.rand(), float(torch.rand(1))))  # noqa: NPY002
    random.seed(5), np.random.seed(5), torch.manual_seed(5)  # noqa: NPY002
    untouched = (random.random(), np.random.rand(), float(torch.rand(1)))  # noqa: NPY002
    assert (predictions[0] == predictions[1]).all()
    assert states == [untouched, untouched]
    assert (small(plus=plus, random_state=1).fit(X, y).predict_proba(X) != predictions[0]).any()


@pytest.mark.parametrize("labels", [["no", "yes"], [False, True], [-1, 7]])
def test_labels_of_any_kind(labels):
    X, y = make_classification(80, n_informative=4, class_sep=3.0, random_state=0)
    frame = pd.DataFrame(X, columns=[f"f{i}" for i in range(20)])
    named = np.array(labels)[y]
    model = small(epochs=30).fit(frame, named)
    assert model.classes_.tolist() == sorted(labels)
    assert (model.predict(frame) == named).mean() > 0.9
    assert model.feature_names_in_[0] == "f0"
    assert model.label_disagreement_.shape == (80,)
    assert np.allclose(model.predict_proba(frame).sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("rows", [2, 3, 33])
def test_tables_smaller_than_a_batch(rows):
    X = np.arange(rows, dtype=float)[:, None]
    y = np.arange(rows) % 2
    model = small().fit(X, y)
    assert model.predict(X).shape == (rows,)
    assert len(model.history_) == 10


def linear(columns: int, classes: int) -> torch.nn.Module:
    return torch.nn.Linear(columns, classes)


def test_a_network_of_ones_own():
    X, y = make_classification(60, random_state=1)
    model = small(network=linear).fit(X, y)
    assert isinstance(model.networks_[0], torch.nn.Linear)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"network": 3}, "network: expected a function"),
        (
            {"network": lambda columns, classes: torch.nn.Linear(columns, 7)},
            "logits of the network",
        ),
        ({"momentum": 1.0}, "momentum"),
        ({"strength": -1}, "strength"),
        ({"epochs": 0}, "epochs"),
        ({"learning_rate": 0}, "learning_rate"),
    ],
)
def test_arguments_outside_their_range(options, named):
    X, y = make_classification(60, random_state=1)
    with pytest.raises(ValueError, match=named):
        small(**options).fit(X, y)


def test_bad_tables():
    X, y = make_classification(60, random_state=1)
    with pytest.raises(InputError, match="expected at least two classes, got one class: 0"):
        small().fit(X, np.zeros(60))
    X[3, 4] = np.nan
    with pytest.raises(ValueError, match="Input X contains NaN"):
        small().fit(X, y)
