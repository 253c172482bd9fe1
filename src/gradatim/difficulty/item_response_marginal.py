"""Marginal estimation of item response models: EM with ability integrated out."""

import math
from dataclasses import dataclass

import torch

from gradatim.core.checks import check_choice
from gradatim.difficulty.fixed_point import accelerated
from gradatim.difficulty.item_response_curves import (
    FIXED,
    HIGHEST,
    LOWEST,
    MODELS,
    log_curves,
    log_gradients,
)
from gradatim.difficulty.item_response_priors import ItemPriors
from gradatim.difficulty.item_response_quadrature import Quadrature
from gradatim.difficulty.response_table import ResponseBlock, ResponseTable, response_blocks


@dataclass(frozen=True)
class Population:
    """The normal distribution of ability.

    Attributes:
        mean: its mean.
        spread: its standard deviation.
    """

    mean: float = 0.0
    spread: float = 1.0


@dataclass(frozen=True)
class Expectation:
    """Result of an E step.

    Attributes:
        wrong: expected number of wrong responses at each node, shape [I, Q].
        right: of right ones.
        log_likelihood: of the responses.
        mean: of ability over subjects.
        variance: of ability over subjects.
    """

    wrong: torch.Tensor
    right: torch.Tensor
    log_likelihood: float
    mean: float
    variance: float


@dataclass(frozen=True)
class Tables:
    """What the posterior of ability is summed from.

    Attributes:
        apart: log-probability of each code at each node, less that at the middle, shape [2 I, Q].
        middle: that at the middle node, shape [2 I].
        log_weights: of the nodes, shape [Q].
    """

    apart: torch.Tensor
    middle: torch.Tensor
    log_weights: torch.Tensor

    def posterior(self, block: ResponseBlock) -> tuple[torch.Tensor, torch.Tensor]:
        """Posterior of a block's subjects over nodes, [B, Q], and their log evidence, [B].

        The evidence lacks the responses' log-probabilities at the middle node.
        """
        joint = block.subject_sums(self.apart) + self.log_weights
        evidence = joint.logsumexp(1, keepdim=True)
        return (joint - evidence).exp(), evidence[:, 0]


class MarginalModel:
    """The marginal likelihood of responses as a function of item parameters.

    Args:
        table: the responses.
        free: columns of the parameters that are fitted.
        priors: of these, or None.
        rule: the quadrature.
        block: responses in a block, for :func:`~.response_table.response_blocks`.
    """

    def __init__(
        self,
        table: ResponseTable,
        free: tuple[int, ...],
        priors: ItemPriors | None,
        rule: Quadrature,
        block: int | None = None,
    ) -> None:
        self.table, self.free, self.rule = table, free, rule
        self.blocks = response_blocks(table, block)
        mean, precision = (priors or ItemPriors()).columns(free)
        self.prior_mean = mean
        self.prior_precision = precision if priors else torch.zeros_like(precision)
        self.spread_precision = 0.5**-2 if priors else 0.0
        answered, right = map(torch.from_numpy, table.item_counts())
        self.counts = torch.stack([answered - right, right], 1).flatten().double()

    def start(self) -> torch.Tensor:
        """Difficulties from the share of right responses; everything else at its prior's mean."""
        wrong, right = self.counts.view(-1, 2).unbind(1)
        parameters = torch.tensor(FIXED, dtype=torch.float64).repeat(len(wrong), 1)
        parameters[:, list(self.free)] = self.prior_mean
        parameters[:, 0] = ((wrong + 0.5).log() - (right + 0.5).log()).clamp(-4, 4) * 1.2
        return parameters

    def ability(self, population: Population) -> torch.Tensor:
        """Ability at the nodes, shape [Q]."""
        return population.mean + population.spread * self.rule.nodes

    def tables(self, parameters: torch.Tensor, population: Population) -> Tables:
        """Log-probabilities of each code at each node, less those at the middle node.

        Without the middle what is summed in single precision stays small.
        """
        right, wrong = log_curves(parameters[:, None], self.ability(population))
        whole = torch.stack([wrong, right], 1).flatten(0, 1)
        middle = whole[:, whole.shape[1] // 2]
        return Tables((whole - middle[:, None]).float(), middle, self.rule.log_weights.float())

    def expectation(self, parameters: torch.Tensor, population: Population) -> Expectation:
        """The E step: expected counts at each node, in blocks of subjects."""
        tables = self.tables(parameters, population)
        sums = torch.zeros(tables.apart.shape, dtype=torch.float64)
        log_likelihood = float(self.counts @ tables.middle)
        mass = torch.zeros(len(self.rule.nodes), dtype=torch.float64)
        for block in self.blocks:
            posterior, evidence = tables.posterior(block)
            sums += block.code_sums(posterior)
            mass += posterior.sum(0)
            log_likelihood += float(evidence.double().sum())
        wrong, right = sums.view(-1, 2, sums.shape[1]).unbind(1)
        mass /= mass.sum()
        ability = self.ability(population)
        mean = float(mass @ ability)
        variance = float(mass @ (ability - mean) ** 2)
        return Expectation(wrong, right, log_likelihood, mean, variance)

    def log_prior(self, parameters: torch.Tensor) -> torch.Tensor:
        """Of each item, up to a constant, shape [I]."""
        apart = parameters[:, list(self.free)] - self.prior_mean
        return -0.5 * (apart.square() * self.prior_precision).sum(1)

    def objective(
        self, parameters: torch.Tensor, found: Expectation, population: Population
    ) -> torch.Tensor:
        """What the M step maximizes, of each item, shape [I]."""
        right, wrong = log_curves(parameters[:, None], self.ability(population))
        fit = (found.right * right + found.wrong * wrong).sum(1)
        return fit + self.log_prior(parameters)

    def gradient(
        self, parameters: torch.Tensor, found: Expectation, population: Population
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Gradient of the objective, [I, p], and its expected information, [I, p, p]."""
        right, wrong = log_gradients(parameters[:, None], self.ability(population), self.free)
        score = (found.right[..., None] * right + found.wrong[..., None] * wrong).sum(1)
        score = score - (parameters[:, list(self.free)] - self.prior_mean) * self.prior_precision
        total = (found.right + found.wrong)[..., None]
        information = -torch.einsum("jqk,jql->jkl", total * right, wrong)
        return score, information + torch.diag(self.prior_precision)

    def maximization(
        self, parameters: torch.Tensor, found: Expectation, population: Population, steps: int = 2
    ) -> torch.Tensor:
        """The M step: scoring steps of all items at once, halved for those that would fall."""
        best = self.objective(parameters, found, population)
        for _ in range(steps):
            score, information = self.gradient(parameters, found, population)
            ridge = 1e-8 + 1e-6 * information.diagonal(dim1=1, dim2=2)
            move = torch.linalg.solve(information + torch.diag_embed(ridge), score).clamp(-2, 2)
            for _ in range(6):
                tried = self.bounded(parameters, move)
                value = self.objective(tried, found, population)
                fell = value < best - 1e-9 * best.abs()
                parameters = torch.where(fell[:, None], parameters, tried)
                best = torch.where(fell, best, value)
                if not fell.any():
                    break
                move = torch.where(fell[:, None], move / 2, torch.zeros_like(move))
        return parameters

    def repopulated(self, found: Expectation) -> Population:
        r"""The M step of the population: moments of ability, its deviation under a weak prior.

        .. math:: m = \operatorname{E} \theta, \qquad \max_k \; - S \Bigl( k + \tfrac12 e^{-2k}
            \operatorname{Var} \theta \Bigr) - \frac{k^2}{2 \cdot 0.5^2}, \qquad \sigma = e^k
        """
        subjects, k = float(self.table.n_subjects), 0.5 * math.log(max(found.variance, 1e-8))
        for _ in range(8 if self.spread_precision else 0):
            kept = found.variance * math.exp(-2 * k)
            slope = subjects * (kept - 1) - self.spread_precision * k
            k += slope / (2 * subjects * kept + self.spread_precision)
        return Population(found.mean, math.exp(k))

    def settled(
        self, parameters: torch.Tensor, population: Population
    ) -> tuple[torch.Tensor, Population]:
        r"""Of all scales, on which responses are equally likely, the one that priors prefer.

        .. math:: b' = (b - t) e^{-k}, \quad a' = a e^k, \quad m' = (m - t) e^{-k}, \quad
            \sigma' = \sigma e^{-k}

        k is 0 where discrimination is not free. EM alone moves along this ridge very slowly.
        """
        mean, precision = self.prior_mean.tolist(), self.prior_precision.tolist()
        if not self.spread_precision:
            return parameters, population
        b, log_a, k = parameters[:, 0], parameters[:, 1], 0.0
        if 1 in self.free:
            scatter = precision[0] * float((b - b.mean()).square().sum())
            apart, held = float((log_a - mean[1]).sum()), precision[1] * len(b)
            log_spread = math.log(population.spread)
            for _ in range(8):
                pull = scatter * math.exp(-2 * k)
                slope = pull - precision[1] * apart - held * k
                slope += self.spread_precision * (log_spread - k)
                k += slope / (2 * pull + held + self.spread_precision)
        t = float(b.mean()) - mean[0] * math.exp(k)
        moved = parameters.clone()
        moved[:, 0], moved[:, 1] = (b - t) * math.exp(-k), log_a + k
        settled = Population((population.mean - t) * math.exp(-k), population.spread * math.exp(-k))
        return moved, settled

    def step(self, vector: torch.Tensor) -> tuple[torch.Tensor, float]:
        """One EM step of everything that is fitted, and the objective before it."""
        parameters, population = self.parted(vector)
        found = self.expectation(parameters, population)
        objective = found.log_likelihood + float(self.log_prior(parameters).sum())
        objective -= 0.5 * self.spread_precision * math.log(population.spread) ** 2
        parameters = self.maximization(parameters, found, population)
        return self.joined(*self.settled(parameters, self.repopulated(found))), objective

    def joined(self, parameters: torch.Tensor, population: Population) -> torch.Tensor:
        """What is fitted as one vector."""
        scale = torch.tensor([population.mean, math.log(population.spread)], dtype=torch.float64)
        return torch.cat([parameters[:, list(self.free)].flatten(), scale])

    def parted(self, vector: torch.Tensor) -> tuple[torch.Tensor, Population]:
        """The vector's parameters and population, within bounds."""
        parameters = torch.tensor(FIXED, dtype=torch.float64).repeat(self.table.n_items, 1)
        parameters[:, list(self.free)] = vector[:-2].view(-1, len(self.free))
        mean, log_spread = vector[-2:].clamp(-6, 6).tolist()
        return self.bounded(parameters), Population(mean, math.exp(log_spread))

    def bounded(self, parameters: torch.Tensor, move: torch.Tensor | float = 0.0) -> torch.Tensor:
        """Parameters moved in their free columns, within the bounds."""
        moved = parameters.clone()
        moved[:, list(self.free)] += move
        bounds = torch.tensor([LOWEST, HIGHEST], dtype=torch.float64)[:, list(self.free)]
        moved[:, list(self.free)] = moved[:, list(self.free)].clamp(bounds[0], bounds[1])
        return moved

    def abilities(
        self, parameters: torch.Tensor, population: Population
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Posterior mean and deviation of each subject's ability, shape [S] each."""
        tables, nodes = self.tables(parameters, population), self.rule.nodes
        mean = torch.zeros(self.table.n_subjects, dtype=torch.float64)
        variance = torch.zeros_like(mean)
        for block in self.blocks:
            posterior = tables.posterior(block)[0].double()
            mean[block.chosen] = posterior @ nodes
            variance[block.chosen] = posterior @ nodes**2 - mean[block.chosen] ** 2
        # A posterior between two nodes is not known better than their distance allows.
        deviation = variance.clamp(min=self.rule.spacing**2 / 12).sqrt()
        return population.mean + population.spread * mean, population.spread * deviation


@dataclass(frozen=True)
class MarginalFit:
    """What marginal estimation found.

    Attributes:
        marginal: the likelihood that was maximized.
        parameters: b, log a, logit c and logit d of each item, shape [I, 4].
        population: of abilities, on the scale of the priors.
        steps: how many E steps were taken.
        converged: whether parameters came to rest.
    """

    marginal: MarginalModel
    parameters: torch.Tensor
    population: Population
    steps: int
    converged: bool


def fit_marginal(
    table: ResponseTable,
    model: str,
    priors: ItemPriors | None,
    rule: Quadrature,
    *,
    tol: float = 1e-3,
    max_iter: int = 500,
    block: int | None = None,
    start: MarginalFit | None = None,
) -> MarginalFit:
    r"""Estimate items and population with ability integrated out, by accelerated EM.

    .. math:: \max_{u, m, \sigma} \; \sum_s \log \sum_q w_q \prod_{j \in s}
        P(r_{sj} \mid m + \sigma x_q, u_j) + \sum_j \log p(u_j) + \log p(\sigma)

    The population's mean and deviation are estimated with the items: the scale is then that of the
    priors, on which discrimination is about 1, and a long test and few subjects do not pull at one
    another; without this freedom EM moves all items together only very slowly. Without priors and
    with free discrimination the maximum is a ridge, on which the scale is arbitrary.

    Each step costs one addition a response and node for the expectation and one for the counts.
    Memory is 8 bytes a response, about 100 bytes an item and node, and what a block of subjects
    takes.

    Args:
        table: the responses.
        model: "1pl", "1pl-guessing", "2pl", "3pl" or "4pl".
        priors: of item parameters; None for maximum likelihood, which is kept within bounds.
        rule: the quadrature.
        tol: largest change of a parameter by a step that counts as none.
        max_iter: E steps at most.
        block: responses in a block.
        start: a fit of the same model to begin from.

    Returns:
        The fit.

    Raises:
        InputError: an unknown model.

    Source: Bock and Aitkin 1981, Psychometrika 46; priors: Mislevy 1986, Psychometrika 51; the free
    population: Liu, Rubin and Wu 1998, Biometrika 85.

    >>> from gradatim.difficulty.item_response_quadrature import quadrature
    >>> table = ResponseTable.of([[1, 1, 0], [1, 0, 0], [1, 1, 1], [0, 0, 0]])
    >>> fit = fit_marginal(table, "1pl", ItemPriors(), quadrature(41))
    >>> (fit.parameters[:, 0].diff() > 0).tolist()
    [True, True]
    """
    check_choice("model", model, tuple(MODELS))
    marginal = MarginalModel(table, MODELS[model], priors, rule, block)
    begin = (
        (marginal.start(), Population()) if start is None else (start.parameters, start.population)
    )
    end = accelerated(marginal.step, marginal.joined(*begin), tol=tol, max_iter=max_iter)
    return MarginalFit(marginal, *marginal.parted(end.value), end.steps, end.converged)
