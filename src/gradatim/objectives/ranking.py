"""Losses of rankers: on pairs of a relevant answer and others, and on single answers."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from gradatim.core.checks import check_choice, check_range, check_same_shape, check_shape, reduce
from gradatim.core.errors import InputError
from gradatim.core.precision import at_least_float32

PairLoss = Literal["softmax", "cross_entropy", "hinge", "logistic"]
PointLoss = Literal["mse", "l1", "smooth_l1", "cross_entropy"]


def pairwise_ranking_loss(
    positive: Tensor,
    negative: Tensor,
    *,
    kind: PairLoss = "softmax",
    margin: float = 0.0,
    weights: Tensor | None = None,
    self_normalize: bool = False,
    reduction: str = "mean",
) -> Tensor:
    r"""Rank a relevant answer above K others.

    With :math:`p = \mathrm{softmax}(s^+, s^-_1, \dots, s^-_K)_+`:

    .. math::
        L_{softmax} = w (1 - p), \qquad
        L_{cross\ entropy} = - w \log p, \qquad
        L_{hinge} = \frac{w}{K} \sum_k \max(0, \text{margin} - s^+ + s^-_k), \qquad
        L_{logistic} = \frac{w}{K} \sum_k \log \bigl( 1 + e^{s^-_k - s^+} \bigr)

    "logistic" is the loss of RankNet and of Bayesian personalized ranking; of one other answer it
    is the cross-entropy.

    The mean is the weighted sum over the number of pairs, not over the sum of the weights. The
    released code multiplies the mean loss by the mean weight instead, which no longer tells easy
    pairs from hard ones; give equal weights for that.

    Args:
        positive: scores of the relevant answers, shape [B].
        negative: scores of the others, shape [B], or [B, K].
        kind: "softmax" (bounded: outliers pull little), "cross_entropy", "hinge" or "logistic".
        margin: distance from which "hinge" is 0, at least 0; for "hinge" only.
        weights: w of each pair, at least 0, shape [B]; no gradient flows into them.
        self_normalize: divide the weights by their mean first, so that the mean is over their sum
            and their size does not act as a learning rate.
        reduction: "mean", "sum" or "none".

    Returns:
        The loss, in float32 for half precision; shape [B] without reduction.

    Raises:
        InputError: shapes that do not fit, an unknown kind, or a margin below 0 or for another
            kind.

    Source: MacAvaney et al. 2020, arXiv 2004.14269, section 3.1, and the authors' code; "logistic":
    Burges et al. 2005 (RankNet).

    >>> pairwise_ranking_loss(torch.tensor([2.0]), torch.tensor([2.0]))
    tensor(0.5000)
    """
    check_choice("kind", kind, ("softmax", "cross_entropy", "hinge", "logistic"))
    check_range("margin", margin, 0.0)
    check_shape("positive", positive, "B")
    others = negative[:, None] if negative.ndim == 1 else negative
    check_shape("negative", others, len(positive), "K")
    if not others.shape[1]:
        raise InputError("negative: expected at least one score a pair, got [B, 0]")
    if margin and kind != "hinge":
        raise InputError(f"margin: expected 0 for kind {kind!r}, got {margin}")
    right, wrong = at_least_float32(positive)[:, None], at_least_float32(others)
    if kind == "hinge":
        values = functional.relu(margin - right + wrong).mean(1)
    elif kind == "logistic":
        values = functional.softplus(wrong - right).mean(1)
    elif kind == "softmax":
        values = torch.cat([right, wrong], dim=1).softmax(1)[:, 1:].sum(1)
    else:
        values = -torch.cat([right, wrong], dim=1).log_softmax(1)[:, 0]
    return reduce(_weighted(values, weights, self_normalize), reduction)


def pointwise_ranking_loss(
    scores: Tensor,
    relevance: Tensor,
    *,
    kind: PointLoss = "mse",
    weights: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    r"""Draw every answer's score to its label.

    .. math::
        L_{mse} = w (s - y)^2, \quad
        L_{l1} = w |s - y|, \quad
        L_{cross\ entropy} = - w \log \sigma(s) \text{ if } y > 0, \text{ else } - w \log \sigma(-s)

    "smooth_l1" is :math:`\tfrac12 (s - y)^2` where that distance is below 1, else it less 1/2. The
    mean is the weighted sum over the number of answers.

    Args:
        scores: s, logits for "cross_entropy", shape [B].
        relevance: y, 0 for what is not relevant, grades or 1 for what is, shape [B].
        kind: "mse", "l1", "smooth_l1" or "cross_entropy".
        weights: w of each answer, shape [B]; no gradient flows into them.
        reduction: "mean", "sum" or "none".

    Returns:
        The loss, in float32 for half precision; shape [B] without reduction.

    Raises:
        InputError: shapes that do not fit, or an unknown kind.

    Source: MacAvaney et al. 2020, arXiv 2004.14269, section 3.1, and the authors' code.

    >>> pointwise_ranking_loss(torch.tensor([0.5, 0.0]), torch.tensor([1, 0]))
    tensor(0.1250)
    """
    check_choice("kind", kind, ("mse", "l1", "smooth_l1", "cross_entropy"))
    check_shape("scores", scores, "B")
    check_same_shape("relevance", relevance, "scores", scores)
    given = at_least_float32(scores)
    target = relevance.detach().to(given.dtype)
    if kind == "mse":
        values = (given - target).square()
    elif kind == "l1":
        values = (given - target).abs()
    elif kind == "smooth_l1":
        values = functional.smooth_l1_loss(given, target, reduction="none")
    else:
        values = functional.softplus(torch.where(target > 0, -given, given))
    return reduce(_weighted(values, weights), reduction)


def _weighted(values: Tensor, weights: Tensor | None, self_normalize: bool = False) -> Tensor:
    if weights is None:
        return values
    check_same_shape("weights", weights, "values", values)
    given = weights.detach()
    if self_normalize:
        mean = at_least_float32(given).mean()
        given = given / torch.where(mean > 0, mean, 1.0)
    return values * given
