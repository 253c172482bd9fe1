"""How hard the negatives of a contrastive loss are, and how much of the loss looks at each."""

from typing import Literal

import torch
from torch import Tensor

from gradatim.core.checks import check_choice, check_range, check_same_shape, check_shape
from gradatim.core.precision import at_least_float32


def relative_penalty(
    similarity: Tensor, temperature: float, *, mask: Tensor | None = None
) -> Tensor:
    r"""Share of the repulsion that each negative gets from the softmax contrastive loss.

    .. math::
        r_{ij} = \frac{|\partial L / \partial s_{ij}|}{|\partial L / \partial s_{ii}|}
        = \frac{e^{s_{ij} / \tau}}{\sum_k e^{s_{ik} / \tau}}

    a Boltzmann distribution over the negatives k of anchor i; the similarity of the positive has
    no part in it.

    Args:
        similarity: s of each anchor with its negatives, shape [B, K].
        temperature: :math:`\tau`, above 0.
        mask: which entries are negatives, booleans, shape [B, K]; None for all.

    Returns:
        Shares, shape [B, K], in float32 for half precision; each row sums to 1, or is 0 where an
        anchor has no negatives. Higher = harder.

    Raises:
        InputError: shapes that do not fit, or a temperature that is not above 0.

    Source: Wang and Liu 2021, arXiv 2012.09740 (relative penalty).

    >>> relative_penalty(torch.tensor([[0.6, 0.2]]), 0.5)
    tensor([[0.6900, 0.3100]])
    """
    return _log_shares(similarity, temperature, mask).exp()


def hardness_entropy(
    similarity: Tensor, temperature: float, *, mask: Tensor | None = None
) -> Tensor:
    r"""How many negatives the softmax contrastive loss looks at, as an entropy.

    .. math::
        H_i = - \sum_j r_{ij} \log r_{ij}, \qquad
        \frac{dH_i}{d\tau} = \frac{\mathrm{Var}_{r_i}(s)}{\tau^3} \ge 0

    Args:
        similarity: s of each anchor with its negatives, shape [B, K].
        temperature: :math:`\tau`, above 0.
        mask: which entries are negatives, booleans, shape [B, K]; None for all.

    Returns:
        Entropy in nats of each anchor's :func:`relative_penalty`, shape [B]: near 0 where only the
        hardest negative counts, log K where all count alike.

    Raises:
        InputError: as for :func:`relative_penalty`.

    Source: Wang and Liu 2021, arXiv 2012.09740 (entropy of the relative penalty).

    >>> hardness_entropy(torch.tensor([[0.6, 0.2], [0.3, 0.3]]), 0.5).round(decimals=4)
    tensor([0.6191, 0.6931])
    """
    terms: Tensor = torch.special.entr(_log_shares(similarity, temperature, mask).exp())
    return terms.sum(1)


def negative_difficulty(similarity: Tensor, positive: Tensor) -> Tensor:
    r"""Difficulty of negatives: how near they come to the positive, or beyond it.

    .. math:: h_{ij} = s_{ij} - s_i^+

    Args:
        similarity: s of each anchor with its negatives, shape [B, K].
        positive: :math:`s^+` of each anchor with its positive, shape [B].

    Returns:
        Shape [B, K], higher = harder; above 0 the negative is ranked before the positive.

    Raises:
        InputError: shapes that do not fit.

    >>> negative_difficulty(torch.tensor([[0.5, 0.25]]), torch.tensor([0.75]))
    tensor([[-0.2500, -0.5000]])
    """
    check_shape("positive", positive, "B")
    check_shape("similarity", similarity, len(positive), "K")
    return similarity - positive[:, None]


def sample_difficulty(
    similarity: Tensor,
    positive: Tensor,
    *,
    reduce: Literal["max", "softmax_mean"] = "max",
    temperature: float = 0.05,
    mask: Tensor | None = None,
) -> Tensor:
    r"""Difficulty of anchors by that of their negatives.

    .. math::
        \text{max: } h_i = \max_j h_{ij}, \qquad
        \text{softmax mean: } h_i = \sum_j r_{ij} h_{ij}

    with :func:`negative_difficulty` h and :func:`relative_penalty` r. The mean tends to the
    maximum for small temperatures.

    Args:
        similarity: of each anchor with its negatives, shape [B, K].
        positive: of each anchor with its positive, shape [B].
        reduce: by the hardest negative, or by all as the loss sees them.
        temperature: of r, above 0; for "softmax_mean" only.
        mask: which entries are negatives, booleans, shape [B, K]; None for all.

    Returns:
        Shape [B], higher = harder; minus infinity for an anchor without negatives.

    Raises:
        InputError: shapes that do not fit, an unknown reduction, or a temperature that is not
            above 0.

    >>> similarity, positive = torch.tensor([[0.5, 0.25]]), torch.tensor([0.75])
    >>> sample_difficulty(similarity, positive)
    tensor([-0.2500])
    >>> sample_difficulty(similarity, positive, reduce="softmax_mean", temperature=1e6)
    tensor([-0.3750])
    """
    check_choice("reduce", reduce, ("max", "softmax_mean"))
    shares = relative_penalty(similarity, temperature, mask=mask)
    difficulty = at_least_float32(negative_difficulty(similarity, positive))
    allowed = torch.ones_like(difficulty, dtype=torch.bool) if mask is None else mask
    if reduce == "max":
        # a column of its own, so that anchors without any negatives have a maximum too
        nothing = difficulty.new_full((len(difficulty), 1), -torch.inf)
        return torch.cat([difficulty.where(allowed, -torch.inf), nothing], dim=1).amax(1)
    mean = (shares * difficulty.where(allowed, 0.0)).sum(1)
    return mean.where(allowed.any(1), -torch.inf)


def _log_shares(similarity: Tensor, temperature: float, mask: Tensor | None) -> Tensor:
    """Logarithm of the relative penalty; minus infinity for what is no negative."""
    check_range("temperature", temperature, 0.0, open_low=True)
    check_shape("similarity", similarity, "B", "K")
    logits = at_least_float32(similarity) / temperature
    if mask is None:
        return logits.log_softmax(1)
    check_same_shape("mask", mask, "similarity", similarity)
    logits = logits.where(mask, -torch.inf)
    # a row without negatives would be 0/0: it is computed from zeros and then struck out
    safe = logits.where(mask.any(1, keepdim=True), 0.0)
    return safe.log_softmax(1).where(mask, -torch.inf)
