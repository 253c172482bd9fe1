"""A boosted head takes the place of the last layers of a trained network."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes, load_wine

from gradatim.core.errors import InputError
from gradatim.learners.boosted_head import boosted_head
from gradatim.learners.gradient_boosted_network import (
    GradientBoostedMLPClassifier,
    GradientBoostedMLPRegressor,
)
from gradatim.networks.reference import MLP

OPTIONS = {"n_hidden": 8, "learning_rate": 0.5, "random_state": 0}


def test_classes_are_those_of_the_estimator():
    X, y = load_wine(return_X_y=True)
    for labels in (y, np.minimum(y, 1)):
        head = boosted_head(torch.from_numpy(X), torch.from_numpy(labels), **OPTIONS)
        model = GradientBoostedMLPClassifier(**OPTIONS).fit(X, labels)
        logits = head(torch.from_numpy(X))
        assert logits.shape == (len(X), labels.max() + 1)
        np.testing.assert_allclose(logits.softmax(1).detach().numpy(), model.predict_proba(X))


def test_numbers_are_those_of_the_estimator():
    X, y = load_diabetes(return_X_y=True)
    for targets in (y, np.column_stack([y, X[:, 0]])):
        head = boosted_head(torch.from_numpy(X), torch.from_numpy(targets), **OPTIONS)
        model = GradientBoostedMLPRegressor(**OPTIONS).fit(X, targets)
        found = head(torch.from_numpy(X)).detach().numpy()
        np.testing.assert_allclose(found, model.predict(X).reshape(len(X), -1), rtol=1e-9)


def test_it_replaces_the_head_of_a_network_and_can_be_trained():
    X, y = load_wine(return_X_y=True)
    inputs = torch.from_numpy((X - X.mean(axis=0)) / X.std(axis=0)).float()
    labels = torch.from_numpy(y)
    torch.manual_seed(0)
    network = MLP((13, 16, 8, 3))
    features = network.features(inputs)
    network.head = boosted_head(features, labels, **OPTIONS)
    assert (network(inputs).argmax(1) == labels).float().mean() > 0.9
    assert features.requires_grad and network(inputs).dtype == torch.float32
    torch.nn.functional.cross_entropy(network(inputs), labels).backward()
    assert all(one.grad.abs().sum() > 0 for one in network.head.parameters())
    assert set(network.state_dict()) >= {"head.0.weight", "head.2.bias"}


def test_half_precision_features_make_a_head_of_float32():
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)).bfloat16()
    head = boosted_head(x, (x[:, 0] > 0).long(), **OPTIONS)
    assert head[0].weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("features", "y", "named"),
    [
        (torch.ones(4), torch.ones(4), "features"),
        (torch.ones(4, 2), torch.ones(3), "y: expected shape"),
        (torch.ones(4, 2), torch.ones(4, 1, 1), "y: expected shape"),
        (torch.full((4, 2), torch.nan), torch.ones(4), "features: expected finite"),
        (torch.ones(4, 2), torch.full((4,), torch.inf), "y: expected finite"),
        (torch.ones(4, 2), torch.tensor([0, 0, 2, 2]), "each of the labels"),
        (torch.ones(4, 2), torch.tensor([1, 1, 2, 2]), "each of the labels"),
        (torch.ones(4, 2), torch.zeros(4).long(), "each of the labels"),
        (torch.ones(4, 2), torch.zeros(4, 1).long(), "each of the labels"),
    ],
)
def test_bad_arguments(features, y, named):
    with pytest.raises(InputError, match=named):
        boosted_head(features, y)
