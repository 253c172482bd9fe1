import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch.distributions import Gamma, Normal

from gradatim.core.seeds import torch_generator
from gradatim.difficulty.item_response import ItemResponseModel
from gradatim.difficulty.item_response_curves import FIXED, MODELS, log_curves
from gradatim.difficulty.item_response_joint import JointModel, fit_joint
from gradatim.difficulty.item_response_marginal import (
    MarginalModel,
    Population,
    fit_marginal,
)
from gradatim.difficulty.item_response_priors import ItemPriors, priors_of
from gradatim.difficulty.item_response_quadrature import quadrature
from gradatim.difficulty.item_response_variational import VariationalModel, fit_variational
from gradatim.difficulty.response_table import ResponseTable


def simulated(subjects=60, items=12, seed=0):
    random = np.random.default_rng(seed)
    theta, b = random.normal(size=(subjects, 1)), random.normal(size=items)
    p = 1 / (1 + np.exp(-(theta - b)))
    responses = (random.random(p.shape) < p).astype(float)
    responses[random.random(p.shape) < 0.1] = np.nan
    return b, ResponseTable.of(responses)


@pytest.mark.parametrize("model", ["1pl", "1pl-guessing", "2pl", "3pl", "4pl"])
def test_gradients_of_the_joint_density_are_those_of_autograd(model):

    _, table = simulated()
    free = MODELS[model]
    joint = JointModel(table, free, ItemPriors())
    random = torch.Generator().manual_seed(0)
    ability = torch.randn(60, generator=random, dtype=torch.float64)
    parameters = torch.tensor(FIXED, dtype=torch.float64).repeat(12, 1)
    parameters[:, list(free)] = 0.3 * torch.randn(12, len(free), generator=random).double()

    def density(parameters, ability):
        total = -0.5 * ability.square().sum()
        mean, precision = ItemPriors().columns(free)
        total = total - 0.5 * ((parameters[:, list(free)] - mean).square() * precision).sum()

        for s, j, right in zip(table.subjects, table.items, table.correct, strict=True):
            total = total + log_curves(parameters[j], ability[s])[0 if right else 1]
        return total

    value = float(density(parameters, ability))
    assert joint.objective(parameters, ability) == pytest.approx(value)
    ability.requires_grad_(), parameters.requires_grad_()
    expected = torch.autograd.grad(density(parameters, ability), (parameters, ability))
    found = joint.item_terms(parameters.detach(), ability.detach())[0]
    torch.testing.assert_close(found, expected[0][:, list(free)])
    found = joint.subject_terms(parameters.detach(), ability.detach())[0]
    torch.testing.assert_close(found, expected[1])


@pytest.mark.parametrize("model", ["1pl", "2pl"])
def test_the_joint_fit_is_where_gradients_vanish(model):
    _, table = simulated(150, 40)
    fit = fit_joint(table, model, ItemPriors(), tol=1e-6)
    assert fit.converged

    joint = JointModel(table, MODELS[model], ItemPriors())
    for score, information in (
        joint.subject_terms(fit.parameters, fit.ability),
        joint.item_terms(fit.parameters, fit.ability),
    ):
        move = score / information if score.ndim == 1 else torch.linalg.solve(information, score)
        assert move.abs().max() < 1e-3


@pytest.mark.parametrize("model", ["1pl", "2pl", "3pl"])
def test_the_bound_lies_below_the_likelihood(model):
    _, table = simulated()
    fit = fit_variational(table, model, ItemPriors(), epochs=400)
    marginal = MarginalModel(table, (0,), None, quadrature(64))
    # Each item's posterior mean is one point; the bound also pays for not knowing the items.
    assert fit.elbo < marginal.expectation(fit.parameters, Population()).log_likelihood


def test_the_bound_is_the_expected_density_less_the_divergence():
    _, table = simulated(6, 3)
    variational = VariationalModel(table, "2pl", ItemPriors())
    generator = torch_generator(0)
    found = torch.stack([variational.elbo(generator).detach() for _ in range(1000)])

    def density(name, values):
        prior = {"theta": (0.0, 1.0), "b": (0.0, 2.0), "log_a": (0.0, 0.5)}[name]
        return Normal(*prior).log_prob(values) - variational.posterior(name).log_prob(values)

    totals = []
    for _ in range(1000):
        draws = {
            name: variational.posterior(name).mean
            + variational.posterior(name).stddev * torch.randn(size, generator=generator).double()
            for name, size in variational.latent.items()
        }
        z = draws["log_a"].exp()[variational.items] * (
            draws["theta"][variational.subjects] - draws["b"][variational.items]
        )
        fit = torch.nn.functional.logsigmoid(torch.where(variational.correct, z, -z)).sum()
        totals.append(fit + sum(density(name, values).sum() for name, values in draws.items()))
    totals = torch.stack(totals).detach()
    error = (found.var() / len(found) + totals.var() / len(totals)).sqrt()
    assert abs(found.mean() - totals.mean()) < 4 * error


def test_divergences_are_in_closed_form():
    m, s = torch.tensor(0.7).double(), torch.tensor(0.4).double()
    found = torch.distributions.kl_divergence(Normal(m, s), Normal(0.0, 1.0))
    assert found.item() == pytest.approx(0.5 * (0.4**2 + 0.7**2 - 1) - np.log(0.4))
    # Of the hyperparameters: a log-normal posterior against Gamma(1, 1), by a long sum.
    _, table = simulated(4, 3)
    variational = VariationalModel(table, "1pl", "hierarchical")
    with torch.no_grad():
        variational.values["b log u mean"].fill_(0.3)
    _, found = variational.prior("b", torch_generator(0))
    rate, place = variational.posterior("b log u"), variational.posterior("b mu")
    log_u = rate.mean + rate.stddev * torch.linspace(-8, 8, 4001).double()
    weight = rate.log_prob(log_u).exp() * (log_u[1] - log_u[0])
    prior = Gamma(1.0, 1.0).log_prob(log_u.exp()) + log_u  # density of the logarithm
    expected = (weight * (rate.log_prob(log_u) - prior)).sum()
    expected = expected + torch.distributions.kl_divergence(place, Normal(0.0, 1e6))
    assert found.item() == pytest.approx(expected.item(), abs=1e-3)


def test_variational_fits_agree_with_the_marginal_and_repeat_themselves():
    _, table = simulated(150, 20)
    columns = (table.subjects, table.items, table.correct)
    marginal = ItemResponseModel("1pl").fit(columns)
    found = [
        ItemResponseModel("1pl", "vi", priors=priors, epochs=300).fit(columns)
        for priors in ("default", "default", "hierarchical")
    ]
    np.testing.assert_array_equal(found[0].difficulty_, found[1].difficulty_)
    for model in found:
        assert spearmanr(model.difficulty_, marginal.difficulty_).statistic > 0.97
        assert model.ability_.mean() == pytest.approx(0, abs=1e-9)
        assert (model.difficulty_std_ > 0.02).all()
    other = ItemResponseModel("1pl", "vi", epochs=300, random_state=1).fit(columns)
    assert (other.difficulty_ != found[0].difficulty_).any()


def test_vague_priors_of_two_parameters_shrink():
    _, table = simulated(100, 10)
    rule = quadrature(48)

    default = fit_marginal(table, "2pl", ItemPriors(), rule)
    vague = fit_marginal(table, "2pl", priors_of("vague", "2pl"), rule)
    assert vague.parameters[:, 0].std() < 0.5 * default.parameters[:, 0].std()


def test_the_variational_models_of_guessing_start_where_gradients_are():
    _, table = simulated(80, 8)
    fit = fit_variational(table, "4pl", ItemPriors(), epochs=200)
    guessing, feasible = fit.parameters[:, 2].sigmoid(), fit.parameters[:, 3].sigmoid()
    assert guessing.min() > 0.01 and guessing.max() < 0.7
    assert feasible.min() > 0.6 and (guessing.std() > 0.005)
