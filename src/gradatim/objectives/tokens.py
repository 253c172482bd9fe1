"""Losses a token: the mean over the tokens that count."""

import torch

from gradatim.core.checks import check_same_shape, reduce


def reduce_tokens(values: torch.Tensor, mask: torch.Tensor, reduction: str) -> torch.Tensor:
    r"""Apply ``reduction`` to the values of the tokens that count.

    .. math:: \mathrm{mean} = \frac{\sum_{bt} m_{bt} v_{bt}}{\max(1, \sum_{bt} m_{bt})}

    Every token weighs the same, whatever row it stands in. Where no token counts, the mean is 0
    and so is its gradient.

    Args:
        values: v, one number a token, shape [B, T].
        mask: m, which tokens count, booleans or numbers 0 and 1, shape [B, T].
        reduction: "mean", "sum" or "none".

    Returns:
        A scalar, or, without reduction, the values with 0 where a token does not count.

    Raises:
        InputError: the shapes differ, or the reduction is unknown.

    >>> values, mask = torch.tensor([[1.0, 3.0, 9.0]]), torch.tensor([[True, True, False]])
    >>> reduce_tokens(values, mask, "mean"), reduce_tokens(values, mask, "none")
    (tensor(2.), tensor([[1., 3., 0.]]))
    """
    check_same_shape("mask", mask, "values", values)
    kept = hide(values, mask)
    if reduction == "mean":
        return kept.sum() / (mask != 0).sum().clamp(min=1)
    return reduce(kept, reduction)


def hide(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Set the tokens that do not count to 0, so that nothing in them reaches loss or gradient.

    A product with the mask would not do: 0 times NaN or infinity is NaN.

    >>> hide(torch.tensor([2.0, float("nan")]), torch.tensor([True, False]))
    tensor([2., 0.])
    """
    return values.masked_fill(mask == 0, 0)
