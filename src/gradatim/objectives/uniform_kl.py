"""Ignorance as a target: how far predictions are from the uniform distribution."""

import torch

from gradatim.core.checks import check_same_shape, check_shape, reduce
from gradatim.language.uniform_divergence import uniform_divergence
from gradatim.objectives.tokens import reduce_tokens


def uniform_kl(
    logits: torch.Tensor, *, mask: torch.Tensor | None = None, reduction: str = "mean"
) -> torch.Tensor:
    r"""Loss of a model that is to know nothing of what it reads: predict every token alike.

    .. math:: L = \frac{\sum_{bt} m_{bt} \mathrm{KL}(U \Vert p_{bt})}{\sum_{bt} m_{bt}}

    It is bounded below by 0 and reached by equal logits, unlike the ascent on what is to be
    forgotten. The authors' code averages over padding, too: leave the mask out for that.

    Args:
        logits: of the next token, shape [B, T, V].
        mask: which tokens count, shape [B, T]; None counts all.
        reduction: "mean" over the tokens that count, "sum" or "none".

    Returns:
        The loss, in float32 for half precision; shape [B, T] without reduction.

    Raises:
        InputError: the shapes do not fit, or the reduction is unknown.

    Source: Ji et al. 2024, arXiv 2406.08607, equation 5, and the authors' code.

    >>> logits = torch.tensor([[[0.7, 0.2, 0.1], [0.9, 0.1, 1e-9]]]).log()
    >>> uniform_kl(logits, mask=torch.tensor([[True, False]]))
    tensor(0.3243)
    """
    check_shape("logits", logits, "B", "T", "V")
    values = uniform_divergence(logits)
    if mask is None:
        return reduce(values, reduction)
    check_same_shape("mask", mask, "values", values)
    return reduce_tokens(values, mask, reduction)
