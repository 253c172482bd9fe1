"""Variational estimation of item response models, with py-irt's approximations and priors."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.distributions import Normal, kl_divergence
from torch.nn.functional import logsigmoid, softplus

from gradatim.core.checks import check_range
from gradatim.core.seeds import torch_generator
from gradatim.difficulty.item_response_curves import FIXED, MODELS, log_curves
from gradatim.difficulty.item_response_priors import ItemPriors
from gradatim.difficulty.response_table import ResponseTable

HIERARCHICAL = "hierarchical"


@dataclass(frozen=True)
class VariationalFit:
    """What variational estimation found.

    Attributes:
        parameters: posterior means of b and log a, and logit c and logit d, shape [I, 4].
        deviations: posterior deviations of b and log a, shape [I, 2]; 0 where log a is fixed.
        ability: posterior mean of each subject, shape [S].
        ability_std: posterior deviation, shape [S].
        elbo: the evidence lower bound, averaged over the last tenth of the steps.
    """

    parameters: torch.Tensor
    deviations: torch.Tensor
    ability: torch.Tensor
    ability_std: torch.Tensor
    elbo: float


class VariationalModel:
    r"""The evidence lower bound, estimated with one draw of all latent variables.

    Abilities, difficulties and logarithmic discriminations have independent normal posteriors;
    guessing and feasibility are points under their priors. Under hierarchical priors

    .. math:: \theta \sim N(\mu_\theta, 1/u_\theta), \quad b \sim N(\mu_b, 1/u_b), \quad
        \log a \sim N\bigl(\mathrm{clip}(\mu_a, \pm 5), \min(1/u_a, 2)\bigr), \quad
        \mu \sim N(0, 10^6), \quad u \sim \mathrm{Gamma}(1, 1)

    with deviations as second arguments; mu has a normal posterior and u a log-normal one.

    Args:
        table: the responses.
        model: "1pl", "1pl-guessing", "2pl", "3pl" or "4pl".
        priors: of items, or "hierarchical".

    Source: Lalor and Rodriguez 2023, INFORMS Journal on Computing 35 (py-irt); Natesan et al.
    2016, Frontiers in Psychology 7.
    """

    def __init__(self, table: ResponseTable, model: str, priors: ItemPriors | str) -> None:
        self.free, self.hierarchical = MODELS[model], priors == HIERARCHICAL
        self.priors = priors if isinstance(priors, ItemPriors) else ItemPriors()
        self.subjects = torch.from_numpy(table.subjects).long()
        self.items = torch.from_numpy(table.items).long()
        self.correct = torch.from_numpy(table.correct)
        self.latent = {"theta": table.n_subjects, "b": table.n_items}
        if 1 in self.free:
            self.latent["log_a"] = table.n_items
        mean, _ = self.priors.columns(range(4))
        item = torch.tensor(FIXED, dtype=torch.float64)
        item[list(self.free)] = mean[list(self.free)]
        self.values = {"items": item.repeat(table.n_items, 1)}
        for name, size in self.latent.items():
            self.values[f"{name} mean"] = torch.zeros(size, dtype=torch.float64)
            self.values[f"{name} scale"] = torch.zeros(size, dtype=torch.float64)
            for part in ("mu", "log u") if self.hierarchical else ():
                self.values[f"{name} {part} mean"] = torch.zeros((), dtype=torch.float64)
                self.values[f"{name} {part} scale"] = torch.zeros((), dtype=torch.float64)
        for value in self.values.values():
            value.requires_grad_()

    def posterior(self, name: str) -> Normal:
        """The normal posterior of "theta", "b" or "log_a"."""
        return Normal(
            self.values[f"{name} mean"], softplus(self.values[f"{name} scale"]), validate_args=False
        )

    def prior(self, name: str, generator: torch.Generator) -> tuple[Normal, torch.Tensor]:
        """The prior of a latent variable, and the divergence of its hyperparameters, if any."""
        if not self.hierarchical:
            known = {"theta": (0.0, 1.0), "b": self.priors.difficulty}
            pair = known.get(name, self.priors.log_discrimination)
            values = torch.tensor(pair, dtype=torch.float64)
            return Normal(values[0], values[1]), torch.zeros((), dtype=torch.float64)
        place, rate = self.posterior(f"{name} mu"), self.posterior(f"{name} log u")
        around = Normal(torch.zeros_like(place.mean), torch.full_like(place.mean, 1e6))
        divergence = kl_divergence(place, around)
        # Of exp(N(m, s^2)) and the exponential distribution, in closed form.
        divergence = divergence - _entropy(rate) - rate.mean + (rate.mean + rate.variance / 2).exp()
        mean, deviation = _draw(place, generator), (-_draw(rate, generator)).exp()
        if name == "log_a":
            mean, deviation = mean.clamp(-5, 5), deviation.clamp(max=2)
        return Normal(mean, deviation), divergence

    def elbo(self, generator: torch.Generator) -> torch.Tensor:
        """One draw of the evidence lower bound, a scalar."""
        draws, divergence = {}, torch.zeros((), dtype=torch.float64)
        for name in self.latent:
            posterior = self.posterior(name)
            prior, hyper = self.prior(name, generator)
            draws[name] = _draw(posterior, generator)
            divergence = divergence + kl_divergence(posterior, prior).sum() + hyper
        b, theta = draws["b"], draws["theta"]
        log_a = draws.get("log_a", torch.zeros_like(b))
        z = log_a.exp().index_select(0, self.items) * (
            theta.index_select(0, self.subjects) - b.index_select(0, self.items)
        )
        if not {2, 3} & set(self.free):
            fit = logsigmoid(torch.where(self.correct, z, -z)).sum()
        else:
            unit = torch.stack([torch.zeros_like(z), torch.zeros_like(z)], 1)
            item = torch.cat([unit, self.points().index_select(0, self.items)], 1)
            fit = torch.where(self.correct, *log_curves(item, z)).sum()
        return fit - divergence + self.point_density()

    def point_density(self) -> torch.Tensor:
        """Logarithmic prior of guessing and feasibility, up to a constant, a scalar."""
        mean, precision = self.priors.columns(range(2, 4))
        fitted = torch.tensor([column in self.free for column in (2, 3)])
        return -0.5 * ((self.points() - mean).square() * precision)[:, fitted].sum()

    def points(self) -> torch.Tensor:
        """Logits of guessing and feasibility, shape [I, 2], finite so that gradients are."""
        return self.values["items"][:, 2:].clamp(-40, 40)


def fit_variational(
    table: ResponseTable,
    model: str,
    priors: ItemPriors | str,
    *,
    epochs: int = 2000,
    learning_rate: float = 0.1,
    decay: float = 0.9999,
    seed: int = 0,
    watch: Callable[[int, float], None] | None = None,
) -> VariationalFit:
    """Fit independent normal posteriors by Adam on one draw of the bound a step.

    All responses take part in each step. Guessing and feasibility start at their priors' means,
    0.2 and 0.95, and not at 1, where py-irt starts them and gradients vanish.

    Args:
        table: the responses.
        model: "1pl", "1pl-guessing", "2pl", "3pl" or "4pl".
        priors: of items, or "hierarchical".
        epochs: steps.
        learning_rate: of Adam.
        decay: factor of the learning rate a step.
        seed: of the draws.
        watch: called with each step's number and bound.

    Returns:
        The fit.

    Source: as for :class:`VariationalModel`; settings of Ding et al. 2024, arXiv 2409.18433.

    >>> table = ResponseTable.of([[1, 1, 0], [1, 0, 0], [1, 1, 1], [1, 0, 0]])
    >>> fit = fit_variational(table, "1pl", ItemPriors(), epochs=300)
    >>> (fit.parameters[:, 0].diff() > 0).tolist()
    [True, True]
    """
    check_range("epochs", epochs, 1)
    variational = VariationalModel(table, model, priors)
    optimizer = torch.optim.Adam(variational.values.values(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, decay)
    generator, bounds = torch_generator(seed, "variational"), []
    for epoch in range(epochs):
        optimizer.zero_grad()
        bound = variational.elbo(generator)
        (-bound).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        bounds.append(bound.item())
        if watch is not None:
            watch(epoch, bounds[-1])
    last = bounds[-max(1, epochs // 10) :]
    found = {name: variational.posterior(name) for name in variational.latent}
    b = found["b"]
    flat = Normal(torch.zeros_like(b.mean), torch.ones_like(b.mean))
    log_a = found.get("log_a", flat)
    items = variational.values["items"].detach().clone()
    items[:, 0], items[:, 1] = b.mean.detach(), log_a.mean.detach()
    known = log_a.stddev if "log_a" in found else torch.zeros_like(b.mean)
    deviations = torch.stack([b.stddev, known], 1).detach()
    theta = found["theta"]
    return VariationalFit(
        items, deviations, theta.mean.detach(), theta.stddev.detach(), sum(last) / len(last)
    )


def _draw(distribution: Normal, generator: torch.Generator) -> torch.Tensor:
    mean: torch.Tensor = distribution.loc
    noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype)
    return mean + distribution.scale * noise


def _entropy(distribution: Normal) -> torch.Tensor:
    return 0.5 * (2 * math.pi * math.e * distribution.variance).log()
