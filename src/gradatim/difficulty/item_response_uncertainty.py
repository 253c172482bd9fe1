"""How well responses determine item parameters: the observed information of the marginal."""

from collections.abc import Iterator

import torch

from gradatim.difficulty.item_response_curves import HIGHEST, LOWEST, log_curves, log_gradients
from gradatim.difficulty.item_response_marginal import Expectation, MarginalFit, Tables

_CHUNK = 1 << 16
_ITEMS = 1 << 12
_FAR = 40.0


def observed_information(fit: MarginalFit) -> torch.Tensor:
    r"""Minus the second derivatives of the marginal log-likelihood and prior, item by item.

    With the posterior mean of the score of one response,
    :math:`\bar g_{sj} = \sum_q p_{sq} \, \partial \log P(r_{sj} \mid x_q) / \partial u_j`,

    .. math:: I_j = - \sum_s \sum_q p_{sq} \Bigl( \frac{\partial^2 \log P(r_{sj} \mid x_q)}
        {\partial u_j \partial u_j^\top} + g g^\top \Bigr)
        + \sum_s \bar g_{sj} \bar g_{sj}^\top - \frac{\partial^2 \log p(u_j)}
        {\partial u_j \partial u_j^\top}

    What two items share through the abilities of the same subjects is left out: the common origin
    and scale of all difficulties is taken as given.

    Args:
        fit: the fit.

    Returns:
        Information of the free parameters, shape [I, p, p].

    Source: Louis 1982, Journal of the Royal Statistical Society B 44.
    """
    marginal = fit.marginal
    found = marginal.expectation(fit.parameters, fit.population)
    total = torch.diag(marginal.prior_precision).repeat(len(fit.parameters), 1, 1)
    total += _complete(fit, found)
    tables = marginal.tables(fit.parameters, fit.population)
    for item, score in _mean_scores(fit, tables):
        outer = (score[:, :, None] * score[:, None, :]).double()
        total.index_add_(0, item, outer)
    return total


def item_deviations(
    information: torch.Tensor, parameters: torch.Tensor, free: tuple[int, ...]
) -> torch.Tensor:
    """Standard deviations of the free parameters, from their information.

    The deviation of a parameter that ended at its bound is infinite, as without priors that of the
    difficulty of an item that nobody solves; the other parameters' are those with it known. All
    are infinite where the information is not positive definite.

    Args:
        information: from :func:`observed_information`, shape [I, p, p].
        parameters: of the items, shape [I, 4].
        free: columns of the p free parameters, the first of them difficulty.

    Returns:
        Deviations, shape [I, p].

    >>> item = torch.tensor([[0.0, 0.0, -torch.inf, torch.inf]])
    >>> item_deviations(torch.tensor([[[4.0, 0.0], [0.0, 25.0]]]), item, (0, 1)).tolist()
    [[0.5, 0.20000000298023224]]
    """
    bounds = torch.tensor([LOWEST, HIGHEST], dtype=parameters.dtype)[:, list(free)]
    value = parameters[:, list(free)]
    known = (value <= bounds[0] + 1e-6) | (value >= bounds[1] - 1e-6)
    both = known[:, :, None] | known[:, None, :]
    information = information.masked_fill(both, 0) + torch.diag_embed(known.to(information))
    factor, failed = torch.linalg.cholesky_ex(information)
    sound = failed == 0
    variance = torch.full_like(value, torch.inf)
    variance[sound] = torch.cholesky_inverse(factor[sound]).diagonal(dim1=1, dim2=2)
    return variance.masked_fill(known, torch.inf).sqrt()


def _complete(fit: MarginalFit, found: Expectation) -> torch.Tensor:
    """Expected second derivatives of responses whose ability is known, and squares of scores."""
    marginal, free = fit.marginal, list(fit.marginal.free)
    ability = marginal.ability(fit.population)
    parts = []
    for start in range(0, len(fit.parameters), _ITEMS):
        rows = slice(start, start + _ITEMS)
        right, wrong = found.right[rows], found.wrong[rows]
        items = fit.parameters[rows].clamp(-_FAR, _FAR)  # second derivatives at infinity are NaN
        chosen = items[:, free].requires_grad_()
        whole = items.index_copy(1, torch.tensor(free), chosen)
        log_right, log_wrong = log_curves(whole[:, None], ability)
        value = (right * log_right + wrong * log_wrong).sum()
        (slope,) = torch.autograd.grad(value, chosen, create_graph=True)
        turns = [
            torch.autograd.grad(slope[:, column].sum(), chosen, retain_graph=True)[0]
            for column in range(len(free))
        ]
        second = torch.stack(turns, 1)
        for count, score in zip(
            (right, wrong), log_gradients(items[:, None], ability, marginal.free), strict=True
        ):
            second += torch.einsum("jq,jqk,jql->jkl", count, score, score)
        parts.append(-second)
    return torch.cat(parts)


def _mean_scores(fit: MarginalFit, tables: Tables) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Item and posterior mean score of every response, in chunks."""
    marginal = fit.marginal
    right, wrong = log_gradients(
        fit.parameters[:, None], marginal.ability(fit.population), marginal.free
    )
    scores = torch.stack([wrong, right], 1).flatten(0, 1).float()
    for block in marginal.blocks:
        posterior = tables.posterior(block)[0]
        ends = torch.cat([block.by_code[1:], torch.tensor([len(block.subjects)])])
        codes = torch.repeat_interleave(ends - block.by_code)
        for start in range(0, len(codes), _CHUNK):
            code = codes[start : start + _CHUNK]
            weight = posterior[block.subjects[start : start + _CHUNK]]
            yield code // 2, torch.einsum("nq,nqk->nk", weight, scores[code])
