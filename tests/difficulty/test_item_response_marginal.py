import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from gradatim.core.errors import InputError
from gradatim.difficulty.item_response_curves import MODELS, log_curves
from gradatim.difficulty.item_response_marginal import (
    MarginalModel,
    Population,
    fit_marginal,
)
from gradatim.difficulty.item_response_priors import ItemPriors
from gradatim.difficulty.item_response_quadrature import enough_nodes, quadrature
from gradatim.difficulty.item_response_uncertainty import item_deviations, observed_information
from gradatim.difficulty.response_table import ResponseTable

FINE = np.linspace(-7, 7, 701)
STANDARD = Population()


def simulated(subjects, items, seed=0, c=0.0, missing=0.2):
    random = np.random.default_rng(seed)
    theta, b = random.normal(size=(subjects, 1)), random.normal(size=items)
    a = np.exp(0.3 * random.normal(size=items))
    p = c + (1 - c) / (1 + np.exp(-a * (theta - b)))
    responses = (random.random((subjects, items)) < p).astype(float)
    responses[random.random(responses.shape) < missing] = np.nan
    return responses


def brute_log_likelihood(responses, parameters, population=STANDARD):
    """Sum over subjects of the logarithm of an integral over a fine grid, cell by cell."""
    right, wrong = log_curves(
        parameters[:, None], population.mean + population.spread * torch.from_numpy(FINE)
    )
    right, wrong = right.detach().numpy(), wrong.detach().numpy()
    weight = norm.pdf(FINE) * (FINE[1] - FINE[0])
    total = 0.0
    for row in responses:
        likelihood = np.ones_like(FINE)
        for item, response in enumerate(row):
            if not np.isnan(response):
                likelihood *= np.exp(right[item] if response else wrong[item])
        total += math.log((likelihood * weight).sum())
    return total


def some_parameters(items, model, seed=1):
    random = np.random.default_rng(seed)
    columns = np.stack(
        [
            random.normal(size=items),
            0.3 * random.normal(size=items),
            -1.5 + 0.3 * random.normal(size=items),
            3 + 0.3 * random.normal(size=items),
        ],
        1,
    )
    fixed = np.array([0.0, 0.0, -np.inf, np.inf])
    free = [column in MODELS[model] for column in range(4)]
    return torch.from_numpy(np.where(free, columns, fixed))


def test_rules_integrate_the_normal_distribution():
    for kind, count in (("equal", 48), ("gauss-hermite", 41)):
        rule = quadrature(count, kind)
        for power, moment in enumerate((1, 0, 1, 0, 3)):
            found = float((rule.log_weights.exp() * rule.nodes**power).sum())
            assert found == pytest.approx(moment, abs=2e-3 if kind == "equal" else 1e-9)
    with pytest.raises(InputError, match="quadrature: expected one of equal, gauss-hermite"):
        quadrature(9, "simpson")
    assert enough_nodes(0) <= enough_nodes(100) <= enough_nodes(2000) <= enough_nodes(1e9) == 256


@pytest.mark.parametrize("model", sorted(MODELS))
@pytest.mark.parametrize("kind", ["equal", "gauss-hermite"])
def test_likelihood_is_that_of_brute_force(model, kind):
    responses = simulated(12, 5)
    parameters = some_parameters(5, model)
    marginal = MarginalModel(
        ResponseTable.of(responses), MODELS[model], None, quadrature(60, kind), block=7
    )
    for population in (STANDARD, Population(0.3, 1.6)):
        found = marginal.expectation(parameters, population).log_likelihood
        expected = brute_log_likelihood(responses, parameters, population)
        assert found == pytest.approx(expected, abs=1e-4)


def test_expected_counts_are_those_of_a_loop():
    responses, parameters = simulated(9, 4), some_parameters(4, "3pl")
    rule = quadrature(21)
    marginal = MarginalModel(ResponseTable.of(responses), MODELS["3pl"], None, rule)
    found = marginal.expectation(parameters, STANDARD)
    right, wrong = log_curves(parameters[:, None], rule.nodes)
    expected = torch.zeros(2, 4, 21, dtype=torch.float64)
    first = second = 0.0
    for row in responses:
        log = rule.log_weights.clone()
        for item, response in enumerate(row):
            if not np.isnan(response):
                log += right[item] if response else wrong[item]
        posterior = log.softmax(0)
        first += float(posterior @ rule.nodes) / len(responses)
        second += float(posterior @ rule.nodes**2) / len(responses)
        for item, response in enumerate(row):
            if not np.isnan(response):
                expected[int(response), item] += posterior
    torch.testing.assert_close(found.wrong, expected[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.right, expected[1], atol=1e-5, rtol=1e-4)
    assert found.mean == pytest.approx(first, abs=1e-6)
    assert found.variance == pytest.approx(second - first**2, rel=1e-5)


@pytest.mark.parametrize("model", sorted(MODELS))
def test_gradient_of_the_m_step(model):
    marginal = MarginalModel(
        ResponseTable.of(simulated(30, 4)), MODELS[model], ItemPriors(), quadrature(21)
    )
    parameters = some_parameters(4, model)
    found = marginal.expectation(parameters, STANDARD)
    parameters.requires_grad_()
    value = marginal.objective(parameters, found, STANDARD).sum()
    (expected,) = torch.autograd.grad(value, parameters)
    score, information = marginal.gradient(parameters.detach(), found, STANDARD)
    torch.testing.assert_close(score, expected[:, list(MODELS[model])])
    assert (torch.linalg.eigvalsh(information) > 0).all()


@pytest.mark.parametrize("model", sorted(MODELS))
def test_the_m_step_never_lowers_the_objective(model):
    marginal = MarginalModel(
        ResponseTable.of(simulated(40, 6)), MODELS[model], None, quadrature(21)
    )
    parameters = some_parameters(6, model)
    for _ in range(5):
        found = marginal.expectation(parameters, STANDARD)
        moved = marginal.maximization(parameters, found, STANDARD)
        before, after = (marginal.objective(one, found, STANDARD) for one in (parameters, moved))
        assert (after >= before - 1e-6).all()
        parameters = moved


@pytest.mark.parametrize("model", ["1pl", "2pl", "3pl"])
def test_the_fit_is_a_maximum_of_the_brute_force_density(model):
    responses, free = simulated(150, 5, c=0.1), list(MODELS[model])
    priors = ItemPriors()
    fit = fit_marginal(ResponseTable.of(responses), model, priors, quadrature(64), tol=1e-5)
    mean, precision = priors.columns(free)

    def density(parameters, population):
        apart = parameters[:, free] - mean
        prior = -0.5 * float((apart.square() * precision).sum())
        prior -= 0.5 * (math.log(population.spread) / 0.5) ** 2
        return brute_log_likelihood(responses, parameters, population) + prior

    best, at = density(fit.parameters, fit.population), fit.population
    for item in range(5):
        for column in free:
            for move in (-0.15, 0.15):
                other = fit.parameters.clone()
                other[item, column] += move
                assert density(other, fit.population) < best
    for factor in (0.9, 1.1):
        assert density(fit.parameters, Population(at.mean, at.spread * factor)) < best
    for move in (-0.1, 0.1):
        assert density(fit.parameters, Population(at.mean + move, at.spread)) < best
        # Along the ridge, where responses are equally likely and only priors differ.
        other = fit.parameters.clone()
        other[:, 0] += move
        assert density(other, Population(at.mean + move, at.spread)) < best
        if model != "1pl":
            other = fit.parameters.clone()
            other[:, 0], other[:, 1] = other[:, 0] * math.exp(-move), other[:, 1] + move
            moved = Population(at.mean * math.exp(-move), at.spread * math.exp(-move))
            assert density(other, moved) < best
    assert fit.converged


@pytest.mark.parametrize("model", ["1pl", "1pl-guessing", "2pl", "4pl"])
def test_settling_on_a_scale_leaves_the_likelihood_alone(model):
    responses = simulated(30, 5)
    marginal = MarginalModel(
        ResponseTable.of(responses), MODELS[model], ItemPriors(), quadrature(64)
    )
    parameters, population = some_parameters(5, model), Population(0.4, 1.7)
    moved, settled = marginal.settled(parameters, population)
    before, after = (
        brute_log_likelihood(responses, *pair)
        for pair in ((parameters, population), (moved, settled))
    )
    assert after == pytest.approx(before, abs=1e-8)

    def prior(parameters, population):
        return float(marginal.log_prior(parameters).sum()) - 2 * math.log(population.spread) ** 2

    assert prior(moved, settled) > prior(parameters, population)
    again, unmoved = marginal.settled(moved, settled)
    torch.testing.assert_close(again, moved, atol=1e-6, rtol=1e-6)
    assert unmoved.spread == pytest.approx(settled.spread)


def test_blocks_do_not_matter():
    table = ResponseTable.of(simulated(200, 12))
    whole, cut = (
        fit_marginal(table, "2pl", ItemPriors(), quadrature(48), tol=1e-4, block=size)
        for size in (None, 64)
    )
    assert len(cut.marginal.blocks) > 20
    torch.testing.assert_close(cut.parameters, whole.parameters, atol=1e-3, rtol=1e-3)


def test_three_parameters_without_guessing_are_two():
    table = ResponseTable.of(simulated(200, 10))
    rule = quadrature(48)
    two = fit_marginal(table, "2pl", ItemPriors(), rule, tol=1e-5)
    no_guessing = ItemPriors(logit_guessing=(-12.0, 1e-3))
    three = fit_marginal(table, "3pl", no_guessing, rule, tol=1e-5)
    torch.testing.assert_close(three.parameters[:, :2], two.parameters[:, :2], atol=2e-3, rtol=0)
    flat = ItemPriors(log_discrimination=(0.0, 1e-4))
    found = fit_marginal(table, "2pl", flat, rule, tol=1e-5)
    one = fit_marginal(table, "1pl", ItemPriors(), rule, tol=1e-5)
    torch.testing.assert_close(found.parameters[:, 0], one.parameters[:, 0], atol=2e-3, rtol=0)
    assert found.parameters[:, 1].abs().max() < 1e-3


@pytest.mark.parametrize("model", ["1pl", "2pl", "3pl"])
def test_information_is_minus_the_second_difference_of_brute_force(model):
    responses, free = simulated(60, 3, missing=0.1), list(MODELS[model])
    table = ResponseTable.of(responses)
    fit = fit_marginal(table, model, ItemPriors(), quadrature(64))
    found = observed_information(fit)
    precision = ItemPriors().columns(free)[1]
    step = 1e-3

    def value(item, moves):
        other = fit.parameters.clone()
        for column, move in moves:
            other[item, column] += move
        return brute_log_likelihood(responses, other, fit.population)

    for item in range(3):
        for i, one in enumerate(free):
            for j, two in enumerate(free):
                second = sum(
                    s * t * value(item, [(one, s * step), (two, t * step)])
                    for s in (-1, 1)
                    for t in (-1, 1)
                ) / (4 * step**2)
                expected = -second + (precision[i] if i == j else 0)
                assert found[item, i, j] == pytest.approx(float(expected), abs=2e-2)


def test_deviations_of_bounds_and_of_what_is_not_determined():
    items = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, math.log(25.0)], [0.0, 0.0]])
    items = torch.cat([items, torch.tensor([[-math.inf, math.inf]]).repeat(4, 1)], 1)
    information = torch.tensor([[4.0, 1.0], [1.0, 2.0]]).repeat(4, 1, 1)
    information[3] = torch.tensor([[1.0, 2.0], [2.0, 1.0]])
    found = item_deviations(information, items, (0, 1))
    expected = torch.tensor([[2.0, 4.0], [math.inf, 3.5], [7 / 4, math.inf]]) / 7
    torch.testing.assert_close(found[:3].square(), expected)
    assert torch.isinf(found[3]).all()
