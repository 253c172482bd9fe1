"""The scikit-learn classifier against independent references, and at its edges."""

import pickle
import random

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler

from gradatim.core.errors import InputError
from gradatim.learners.early_learning import EarlyLearningClassifier
from gradatim.training.history import NonFiniteLossError

QUICK = {"epochs": 3, "hidden": (8,), "random_state": 0}
BOTH = pytest.mark.parametrize("plus", [False, True])


@pytest.fixture
def table():
    X = np.random.default_rng(0).normal(size=(40, 3))
    return X, (X[:, 0] > 0).astype(int)


def fickle_network(columns, classes):
    """Draws from all three generators; has batch normalization, which takes no single row."""
    random.random(), np.random.random()  # noqa: NPY002 - the global generator
    return torch.nn.Sequential(
        torch.nn.Linear(columns, 8),
        torch.nn.BatchNorm1d(8),
        torch.nn.Dropout(0.5),
        torch.nn.Linear(8, classes),
    )


def generator_states():
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002 - the global generator
    return random.getstate(), kind, keys.tolist(), rest, torch.get_rng_state().tolist()


def test_without_strength_it_is_softmax_regression():
    X, y = load_iris(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    model = EarlyLearningClassifier(
        hidden=(),
        strength=0,
        epochs=300,
        batch_size=150,
        learning_rate=0.1,
        weight_decay=0.05,
        random_state=0,
    )
    found = model.fit(X, y).predict_proba(X)
    # Weight decay holds the intercept as well.
    with_constant = np.column_stack([X, np.ones(len(X))])
    reference = LogisticRegression(C=1 / (0.05 * len(X)), fit_intercept=False, tol=1e-8)
    expected = reference.fit(with_constant, y).predict_proba(with_constant)
    assert found == pytest.approx(expected, abs=1e-4)


@BOTH
@pytest.mark.parametrize("epochs", [1, 4])
def test_disagreement_is_what_the_networks_leave_for_other_classes(table, plus, epochs):
    X, y = table
    named = np.array(["no", "yes"])[y]
    still = EarlyLearningClassifier(
        hidden=(8,), plus=plus, epochs=epochs, learning_rate=1e-12, random_state=0
    ).fit(X, named)
    rows = torch.tensor(StandardScaler().fit_transform(X), dtype=torch.float32)
    with torch.no_grad():
        each = [network(rows).softmax(dim=1).numpy() for network in still.networks_]
    expected = 1 - np.mean(each, axis=0)[np.arange(len(y)), y]
    assert len(each) == 1 + plus
    assert still.label_disagreement_ == pytest.approx(expected, abs=1e-5)


@BOTH
@pytest.mark.parametrize("random_state", [0, None])
def test_a_network_that_draws_leaves_global_generators_alone(table, plus, random_state):
    before = generator_states()
    model = EarlyLearningClassifier(fickle_network, plus=plus, epochs=2, random_state=random_state)
    model.fit(*table).predict(table[0])
    assert generator_states() == before


def test_so_does_training_that_diverges(table):
    before = generator_states()
    with pytest.raises(NonFiniteLossError):
        EarlyLearningClassifier(**QUICK, learning_rate=1e30).fit(*table)
    assert generator_states() == before


def test_random_states(table):
    def probabilities(random_state):
        torch.rand(1), np.random.random()  # noqa: NPY002 - the global generator
        model = EarlyLearningClassifier(fickle_network, epochs=2, random_state=random_state)
        return model.fit(*table).predict_proba(table[0]).tolist()

    shared = np.random.RandomState(0)
    assert probabilities(0) == probabilities(0)
    assert probabilities(None) != probabilities(None)
    assert probabilities(np.random.RandomState(0)) == probabilities(shared)
    assert probabilities(np.random.RandomState(0)) != probabilities(shared)
    with pytest.raises(ValueError, match="cannot be used to seed"):
        probabilities("seed")


@BOTH
def test_labels_keep_their_type(table, plus):
    X, y = table
    for labels in (["no", "yes"], [False, True], [-3, 7], np.array(["a", "b"], dtype=object)):
        named = np.asarray(labels)[y]
        model = EarlyLearningClassifier(**QUICK, plus=plus).fit(X, named)
        predicted = model.predict(X)
        assert predicted.dtype == named.dtype
        assert ((model.decision_function(X) > 0) == (predicted == labels[1])).all()


@BOTH
def test_no_batch_of_a_single_row(table, plus):
    X, y = table[0][:33], table[1][:33]
    model = EarlyLearningClassifier(fickle_network, plus=plus, epochs=2, batch_size=32).fit(X, y)
    assert [row["step"] for row in model.history_] == [1, 2]
    assert model.predict_proba(X[:1]) == pytest.approx(model.predict_proba(X)[:1], abs=1e-6)


def test_predictions_do_not_depend_on_how_rows_are_split(table):
    model = EarlyLearningClassifier(**QUICK).fit(*table)
    expected = np.tile(model.decision_function(table[0]), 150)
    found = model.decision_function(np.tile(table[0], (150, 1)))
    assert found == pytest.approx(expected, abs=1e-5)


def test_units_of_columns_do_not_matter(table):
    X, y = table
    expected = EarlyLearningClassifier(**QUICK).fit(X, y).predict_proba(X)
    moved = X * [1e6, 1.0, 1e-6] + [1e9, 0.0, 5.0]
    found = EarlyLearningClassifier(**QUICK).fit(moved, y).predict_proba(moved)
    assert found == pytest.approx(expected, abs=1e-3)
    raw = EarlyLearningClassifier(**QUICK, standardize=False).fit(X, y)
    assert raw.predict_proba(X) != pytest.approx(expected, abs=1e-3)


def test_columns_of_other_names_are_refused(table):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(table[0], columns=["a", "b", "c"])
    model = EarlyLearningClassifier(**QUICK).fit(frame, table[1])
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame.rename(columns={"a": "z"}))


def test_grid_search(table):
    search = GridSearchCV(
        EarlyLearningClassifier(**QUICK), {"strength": [0.0, 3.0], "plus": [False, True]}, cv=2
    )
    assert set(search.fit(*table).best_params_) == {"strength", "plus"}


def test_a_network_of_ones_own_is_pickled_with_the_estimator(table):
    model = EarlyLearningClassifier(fickle_network, plus=True, epochs=2).fit(*table)
    again = pickle.loads(pickle.dumps(model))
    assert (again.predict_proba(table[0]) == model.predict_proba(table[0])).all()
    assert (again.label_disagreement_ == model.label_disagreement_).all()


def test_the_default_dtype_of_torch_does_not_matter(table):
    torch.set_default_dtype(torch.float64)
    try:
        found = EarlyLearningClassifier(**QUICK).fit(*table).decision_function(table[0])
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.dtype == np.float32


def test_the_table_is_not_changed(table):
    X, y = table[0].astype(np.float32), table[1]

    def in_place(columns, classes):
        return torch.nn.Sequential(torch.nn.ReLU(inplace=True), torch.nn.Linear(columns, classes))

    before = X.tolist()
    EarlyLearningClassifier(in_place, epochs=2, standardize=False).fit(X, y).predict(X)
    assert X.tolist() == before


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"momentum": "much"}, TypeError),
        ({"epochs": 2.5}, TypeError),
        ({"batch_size": 0}, ValueError),
        ({"weight_decay": -0.1}, ValueError),
        ({"hidden": (8, 0)}, ValueError),
        ({"hidden": (8.5,)}, TypeError),
    ],
)
def test_settings_of_a_wrong_kind_are_named(table, settings, error):
    (name,) = settings
    with pytest.raises(error, match=name):
        EarlyLearningClassifier(**settings).fit(*table)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (torch.nn.Linear(3, 2), "network: expected a function .* got a Linear"),
        (lambda columns, classes: None, "network: expected it to make a torch module"),
    ],
)
def test_networks_that_are_none(table, network, message):
    with pytest.raises(InputError, match=message):
        EarlyLearningClassifier(network, epochs=1).fit(*table)


def test_labels_and_numbers_that_cannot_be_used(table):
    X, y = table
    model = EarlyLearningClassifier(**QUICK)
    with pytest.raises(ValueError, match="Unknown label type"):
        model.fit(X, X[:, 0])
    with pytest.raises(ValueError, match="Input y contains NaN"):
        model.fit(X, np.where(y == 1, np.nan, 0))
    with pytest.raises(ValueError, match="could not convert string to float"):
        model.fit([["x"]] * len(y), y)
    large = X.copy()
    large[3, 1] = 1e300
    with pytest.raises(ValueError, match="too large for dtype"):
        EarlyLearningClassifier(**QUICK, standardize=False).fit(large, y)
    with pytest.raises(ValueError, match="too large for dtype"):
        model.fit(X, y).predict(large)
