"""Coupled estimation against two losses written out, each moving its own model alone."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from gradatim.core.errors import InputError
from gradatim.core.examples import TensorExamples
from gradatim.recipes.coupled_estimation import MODELS, CoupledEstimation
from gradatim.training.fit import fit

GENERATOR = torch.Generator().manual_seed(0)
BATCH = {
    f"{name}_{side}": torch.randn(5, 3, dtype=torch.float64, generator=GENERATOR)
    for name in MODELS
    for side in ("positive", "negative")
}


def _models(dropout=0.0):
    torch.manual_seed(0)
    return {
        name: nn.Sequential(nn.Dropout(dropout), nn.Linear(3, 1, dtype=torch.float64))
        for name in MODELS
    }


def _scores(models):
    return {
        key: functional.linear(value, models[key.split("_")[0]][1].weight).flatten()
        + models[key.split("_")[0]][1].bias
        for key, value in BATCH.items()
    }


@pytest.mark.parametrize("dropout", [True, False])
def test_both_losses_and_their_gradients(dropout):
    models = _models()
    loss = CoupledEstimation(temperature=2.0, dropout=dropout).step(models, BATCH, None)
    s = _scores(models)
    wanted = {}
    for name, other in zip(MODELS, reversed(MODELS), strict=True):
        weight = 1 + (s[f"{other}_negative"].detach() / 2).exp()
        wanted[name] = weight * functional.softplus(s[f"{name}_negative"] - s[f"{name}_positive"])
        torch.testing.assert_close(loss.logs[f"{name}_loss"].double(), wanted[name].mean())
    torch.testing.assert_close(loss.sum, sum(wanted.values()).sum())
    loss.sum.backward()
    for name, model in models.items():
        alone = torch.autograd.grad(wanted[name].sum(), model[1].weight)[0]
        torch.testing.assert_close(model[1].weight.grad, alone)


def test_posterior_weights_turn_the_roles_round():
    models = _models()
    recipe = CoupledEstimation(temperature=1.0, mode="posterior")
    loss = recipe.step(models, BATCH, None)
    s = _scores(models)
    rho, judged = (torch.sigmoid(s[f"{name}_negative"]) for name in MODELS)
    losses = [functional.softplus(s[f"{m}_negative"] - s[f"{m}_positive"]) for m in MODELS]
    weights = [(1 - rho) / (1 - rho * judged), (1 - judged) / (1 - rho * judged)]
    wanted = sum(weight * value for weight, value in zip(weights, losses, strict=True))
    torch.testing.assert_close(loss.sum, wanted.sum())


def test_weights_come_from_evaluation_mode_and_modes_are_restored():
    models = _models(dropout=0.9)
    models["selection"][1].eval()
    torch.manual_seed(1)
    loss = CoupledEstimation(temperature=2.0).step(models, BATCH, None)
    weight = 1 + (_scores(models)["selection_negative"] / 2).exp()
    torch.testing.assert_close(loss.logs["weight"].double(), weight.mean())
    assert models["relevance"].training and models["selection"][0].training
    assert not models["selection"][1].training


def test_self_normalized_weights_at_a_high_temperature_are_plain_training():
    models = _models()
    recipe = CoupledEstimation(1e9, self_normalize=True)
    s = _scores(models)
    wanted = sum(functional.softplus(s[f"{m}_negative"] - s[f"{m}_positive"]) for m in MODELS)
    torch.testing.assert_close(recipe.step(models, BATCH, None).sum, wanted.sum())


def test_max_weight_bounds_the_loss():
    models = _models()
    loss = CoupledEstimation(max_weight=0.5).step(models, BATCH, None)
    assert float(loss.logs["weight"]) == 0.5


def test_a_negative_that_would_have_been_judged_is_trusted():
    """Half of the negatives are relevant; the pool shows which, and the ranker sees relevance."""
    generator = torch.Generator().manual_seed(0)
    size = 4000
    wrong = torch.rand(size, generator=generator) < 0.5
    features = {
        "relevance_positive": torch.ones(size, 1),
        "relevance_negative": wrong[:, None].float(),
        "selection_positive": torch.ones(size, 1),
        "selection_negative": (~wrong)[:, None].float(),
    }
    models = {name: nn.Linear(1, 1) for name in MODELS}
    optimizers = {name: torch.optim.Adam(m.parameters(), 0.02) for name, m in models.items()}
    recipe = CoupledEstimation(temperature=1.0, dropout=False)
    fit(models, TensorExamples(**features), recipe.step, optimizer=optimizers, epochs=5)
    weights = 1 + models["selection"](features["selection_negative"]).exp().flatten()
    assert weights[~wrong].mean() > 1.5 * weights[wrong].mean()


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: CoupledEstimation(0.0), "temperature: expected"),
        (lambda: CoupledEstimation(mode="ipw"), "mode: expected one of"),
        (lambda: CoupledEstimation(max_weight=-1.0), "max_weight: expected"),
        (
            lambda: CoupledEstimation().step(nn.Linear(3, 1), BATCH, None),
            "model: expected models named relevance and selection",
        ),
    ],
)
def test_bad_input_is_told(act, message):
    with pytest.raises(InputError, match=message):
        act()
