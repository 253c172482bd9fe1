"""Losses of dense retrieval: random and hard negatives of a batch, and the top of a ranking."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from gradatim.core.checks import check_choice, check_range, check_same_shape, check_shape, reduce
from gradatim.core.errors import InputError
from gradatim.core.precision import at_least_float32

Gain = Literal["mrr", "ndcg"]


def star_loss(
    query: Tensor,
    positive: Tensor,
    hard: Tensor,
    *,
    relevant: Tensor | None = None,
    hard_relevant: Tensor | None = None,
    alpha: float | None = None,
    reduction: str = "mean",
) -> Tensor:
    r"""Rank each query's document above those of the batch, random and hard negatives alike.

    With :math:`s_{ij} = \langle q_i, d_j \rangle`, R the pairs of a query i and the document of
    another one that is not relevant to it, and H those of a query and the hard negatives of all
    queries of the batch:

    .. math::
        \ell_{ij} = \log \bigl( 1 + e^{s_{ij} - s_{ii}} \bigr), \qquad
        L = \frac{\sum_R \ell + \sum_H \ell}{|R| + |H|}, \qquad
        L_\alpha = \frac{1}{|H|} \sum_H \ell + \frac{\alpha}{|R|} \sum_R \ell

    The first form is that of the authors' code, the second that of the paper; :math:`\alpha = 0`
    trains on hard negatives alone.

    Args:
        query: q, embeddings, shape [B, D].
        positive: d, of a relevant document of each, shape [B, D].
        hard: of H hard negatives of each, shape [B, H, D]; H may be 0.
        relevant: whether document j is relevant to query i, booleans, shape [B, B]; a query's own
            always is.
        hard_relevant: whether a hard negative of query j is relevant to query i, shape [B, B, H].
        alpha: weight of the random negatives, at least 0; None for the first form.
        reduction: "mean", "sum" or "none".

    Returns:
        The loss, in float32 for half precision. Without reduction, shape [B]: what each query
        adds to it, times B.

    Raises:
        InputError: shapes that do not fit, or an alpha below 0.

    Source: Zhan et al. 2021, arXiv 2104.08051, section 5.1, and the authors' code.

    >>> query = torch.eye(2)
    >>> star_loss(query, query, torch.zeros(2, 0, 2)).round(decimals=4)
    tensor(0.3133)
    """
    check_shape("query", query, "B", "D")
    check_same_shape("positive", positive, "query", query)
    size, width = query.shape
    check_shape("hard", hard, size, "H", width)
    if alpha is not None:
        check_range("alpha", alpha, 0.0)
    own = torch.eye(size, dtype=torch.bool, device=query.device)
    if relevant is not None:
        check_same_shape("relevant", relevant, "all pairs", own)
    first = own if relevant is None else own | relevant.bool()
    per_query = hard.shape[1]
    second = torch.zeros(size, size, per_query, dtype=torch.bool, device=query.device)
    if hard_relevant is not None:
        check_same_shape("hard_relevant", hard_relevant, "all hard negatives", second)
        second = hard_relevant.bool()
    given = at_least_float32(query)
    scores = given @ at_least_float32(positive).T
    hard_scores = given @ at_least_float32(hard).reshape(-1, width).T
    right = scores.diagonal()[:, None]
    random = functional.softplus(scores - right).masked_fill(first, 0.0).sum(1)
    mined = functional.softplus(hard_scores - right).masked_fill(second.flatten(1), 0.0).sum(1)
    randoms, mineds = (~first).sum(), (~second).sum()
    if alpha is None:
        values = (random + mined) / (randoms + mineds).clamp(min=1)
    else:
        values = mined / mineds.clamp(min=1) + alpha * random / randoms.clamp(min=1)
    return reduce(size * values, reduction)


def lambda_rank(
    scores: Tensor,
    labels: Tensor,
    *,
    ranks: Tensor | None = None,
    mask: Tensor | None = None,
    gain: Gain = "mrr",
    cut: int | None = None,
    sigma: float = 1.0,
    reduction: str = "mean",
) -> Tensor:
    r"""Order each query's list, the more so where a swap of two documents changes the metric most.

    .. math::
        L_q = \frac{1}{|P_q|} \sum_{(a, b) \in P_q} |\Delta_{ab}| \,
        \log \bigl( 1 + e^{-\sigma (s_a - s_b)} \bigr), \qquad
        P_q = \{ (a, b) : y_a > y_b \}

    With :math:`w_r` = 1/r up to the cut and 0 below, "mrr" has :math:`\Delta_{ab} = w_{r_a} -
    w_{r_b}`, which is what a swap changes in the reciprocal rank if one document is relevant. With
    :math:`w_r = 1 / \log_2 (1 + r)` and Z the gain of the ideal list, "ndcg" has
    :math:`\Delta_{ab} = (2^{y_a} - 2^{y_b}) (w_{r_a} - w_{r_b}) / Z`. No gradient flows through
    ranks.

    Args:
        scores: s, shape [Q, K].
        labels: y, grades from 0, for "mrr" relevant if above 0, shape [Q, K].
        ranks: r, from 1, shape [Q, K]; by default those of the scores in the list, where of equal
            scores the earlier comes first.
        mask: what belongs to the list, booleans, shape [Q, K]; by default everything.
        gain: "mrr" or "ndcg".
        cut: last rank that counts; None for no cut (in the authors' code, None makes the loss 0).
        sigma: steepness, above 0.
        reduction: "mean", "sum" or "none".

    Returns:
        The loss, in float32 for half precision; shape [Q] without reduction, 0 for a list without
        pairs.

    Raises:
        InputError: shapes that do not fit, an unknown gain, or a number out of range.

    Source: Burges 2010, MSR-TR-2010-82 (LambdaRank); "mrr", its mean over pairs and ranks as
    retrieved: the authors' code of Zhan et al. 2021, arXiv 2104.08051, section 5.2.

    >>> lambda_rank(torch.tensor([[2.0, 1.5, 1.0]]), torch.tensor([[0, 1, 0]]))
    tensor(0.2830)
    """
    check_choice("gain", gain, ("mrr", "ndcg"))
    check_range("sigma", sigma, 0.0, open_low=True)
    if cut is not None:
        check_range("cut", cut, 1)
    check_shape("scores", scores, "Q", "K")
    for name, value in (("labels", labels), ("ranks", ranks), ("mask", mask)):
        if value is not None:
            check_same_shape(name, value, "scores", scores)
    given = at_least_float32(scores)
    inside = torch.ones_like(labels, dtype=torch.bool) if mask is None else mask.bool()
    if ranks is None:
        ranks = _ranks(given.detach().masked_fill(~inside, -torch.inf))
    elif (ranks < 1).logical_and(inside).any():
        raise InputError("ranks: expected numbers from 1, got less")
    grades = labels.detach().to(given.dtype).masked_fill(~inside, 0.0)
    grades = (grades > 0).to(given.dtype) if gain == "mrr" else grades
    swap = _swap_values(grades, ranks.masked_fill(~inside, 1).to(given.dtype), gain, cut)
    pairs = (grades[:, :, None] > grades[:, None, :]) & inside[:, :, None] & inside[:, None, :]
    costs = functional.softplus(-sigma * (given[:, :, None] - given[:, None, :]))
    total = (swap * costs).masked_fill(~pairs, 0.0).sum((1, 2))
    return reduce(total / pairs.sum((1, 2)).clamp(min=1), reduction)


def _swap_values(grades: Tensor, ranks: Tensor, gain: Gain, cut: int | None) -> Tensor:
    """What a swap of two documents changes in the metric, shape [Q, K, K]."""
    value = 1.0 / ranks if gain == "mrr" else 1.0 / torch.log2(1.0 + ranks)
    if cut is not None:
        value = value.masked_fill(ranks > cut, 0.0)
    change = (value[:, :, None] - value[:, None, :]).abs()
    if gain == "mrr":
        return change
    gains = torch.exp2(grades)
    places = torch.arange(2, grades.shape[1] + 2, device=grades.device, dtype=grades.dtype)
    discount = 1.0 / places.log2()
    if cut is not None:
        discount[cut:] = 0.0
    ideal = ((gains - 1.0).sort(1, descending=True).values * discount).sum(1)
    ideal = torch.where(ideal > 0, ideal, 1.0)
    return change * (gains[:, :, None] - gains[:, None, :]).abs() / ideal[:, None, None]


def _ranks(scores: Tensor) -> Tensor:
    """Ranks from 1 in each row, of equal scores the earlier first."""
    order = scores.sort(dim=1, descending=True, stable=True).indices
    places = torch.arange(1, scores.shape[1] + 1, device=scores.device)
    return torch.empty_like(order).scatter_(1, order, places.expand_as(order))
