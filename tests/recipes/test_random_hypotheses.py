import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from gradatim.core.errors import InputError
from gradatim.core.seeds import derive_seed, torch_generator
from gradatim.networks.reference import MLP
from gradatim.recipes.random_hypotheses import train_hypotheses


def task(rows=24, seed=0):
    generator = torch_generator(seed, "task")
    X = torch.randn(rows, 1, 6, 6, generator=generator)
    Y = functional.one_hot((X.sum((1, 2, 3)) > 0).long(), 2).float()
    return X[: rows // 2], Y[: rows // 2], X[rows // 2 :], Y[rows // 2 :]


def convolutional():
    return nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))


def one_by_one(make, X, Y, X_test, Y_test, *, n, steps, lr, batch_size=None, seed=0):
    """The same trainings, each alone."""
    losses = []
    for number in range(n):
        torch.manual_seed(derive_seed(seed, "hypotheses", number))
        model = make()
        adam = torch.optim.Adam(model.parameters(), lr)
        for step in range(steps):
            rows = torch.arange(len(X))
            if batch_size:
                generator = torch_generator(seed, "order", number, step)
                rows = torch.randperm(len(X), generator=generator)[:batch_size]
            loss = functional.mse_loss(model(X[rows]), Y[rows])
            adam.zero_grad()
            loss.backward()
            adam.step()
        with torch.no_grad():
            losses.append(float(functional.mse_loss(model(X_test), Y_test)))
    return losses


@pytest.mark.parametrize("make", [lambda: MLP((36, 8, 2)), convolutional])
@pytest.mark.parametrize("batch_size", [None, 5])
def test_each_network_is_trained_as_if_alone(make, batch_size):
    data = task()
    options = {"n": 3, "lr": 0.01, "batch_size": batch_size, "seed": 4}
    found = train_hypotheses(make, *data, tolerance=0.05, steps=400, **options)
    assert 0 < found.steps < 400 and (found.training_losses <= 0.05).all()
    expected = one_by_one(make, *data, steps=found.steps, **options)
    np.testing.assert_allclose(found.losses, expected, rtol=1e-3)


def test_a_network_does_not_depend_on_how_many_there_are():
    data = task()
    few = train_hypotheses(lambda: MLP((36, 8, 2)), *data, n=2, lr=0.02, steps=300)
    many = train_hypotheses(lambda: MLP((36, 8, 2)), *data, n=5, at_once=2, lr=0.02, steps=300)
    np.testing.assert_allclose(few.training_losses, many.training_losses[:2], rtol=1e-3)
    assert len(many.losses) == 5 and len(set(many.losses)) == 5
    assert (many.training_losses <= 1e-3).all()


def test_networks_that_do_not_fit_are_left_out():
    X, Y, X_test, Y_test = task()
    found = train_hypotheses(
        lambda: MLP((36, 3, 2)), X, Y, X_test, Y_test, n=8, steps=60, lr=0.02, tolerance=0.02
    )
    fits = found.training_losses <= 0.02
    assert 0 < fits.sum() < 8 and len(found.losses) == fits.sum()
    with pytest.raises(InputError, match="steps: expected enough for a network to fit"):
        train_hypotheses(lambda: MLP((36, 3, 2)), X, Y, X_test, Y_test, n=2, steps=1)


def test_the_global_generator_is_left_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    train_hypotheses(lambda: MLP((36, 4, 2)), *task(), n=1, steps=2, tolerance=9.0)
    assert torch.equal(before, torch.get_rng_state())


def test_bad_input():
    X, Y, X_test, Y_test = task()
    with pytest.raises(InputError, match=r"without buffers.*running_mean"):
        train_hypotheses(
            lambda: nn.Sequential(nn.Flatten(), nn.BatchNorm1d(36)), X, Y, X_test, Y_test
        )
    with pytest.raises(InputError, match=r"Y: expected the shape of the network's outputs"):
        train_hypotheses(lambda: MLP((36, 4, 3)), X, Y, X_test, Y_test)
    with pytest.raises(InputError, match="expected equal lengths, but X has 12, Y has 11"):
        train_hypotheses(lambda: MLP((36, 4, 2)), X, Y[:-1], X_test, Y_test)
    with pytest.raises(InputError, match="batch_size: expected a number in"):
        train_hypotheses(lambda: MLP((36, 4, 2)), X, Y, X_test, Y_test, batch_size=13)
