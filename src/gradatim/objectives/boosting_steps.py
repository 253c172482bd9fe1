"""Gradient boosting of a network's outputs: start, residuals and step for three losses."""

import torch
from torch.nn import functional

from gradatim.core.checks import check_choice, check_range, check_same_shape, check_shape, reduce
from gradatim.core.errors import InputError
from gradatim.core.precision import at_least_float32

LOSSES = ("squared", "logistic", "softmax")
"""Losses that can be boosted, by the targets they take: numbers, -1 and 1, shares of classes."""


def boosting_loss(
    targets: torch.Tensor, outputs: torch.Tensor, loss: str, *, reduction: str = "mean"
) -> torch.Tensor:
    r"""The loss of each row, whose negative gradient :func:`pseudo_residuals` is.

    .. math:: L_{squared} = \tfrac12 \lVert y - F \rVert^2, \qquad
        L_{logistic} = \log (1 + e^{-2 y F}), \qquad
        L_{softmax} = - \sum_c y_c \log p_c, \quad p = \mathrm{softmax}(F)

    Args:
        targets: y, shape [N, K], or [N] where there is one output: numbers for "squared", -1 and
            1 for "logistic", one-hot rows or other shares of the classes for "softmax".
        outputs: F, of the same shape.
        loss: "squared", "logistic" or "softmax".
        reduction: "mean" over the rows, "sum" or "none".

    Returns:
        The loss, a number or of shape [N]; of several logistic outputs, their sum.

    Raises:
        InputError: another loss, or shapes that do not fit.

    Source: Emami and Martínez-Muñoz 2019, arXiv 1909.12098, and the authors' code.

    >>> boosting_loss(torch.tensor([1.0, -1.0]), torch.zeros(2), "logistic", reduction="none")
    tensor([0.6931, 0.6931])
    """
    y, f = _checked(targets, outputs, loss)
    if loss == "softmax":
        return reduce(-(y * f.log_softmax(dim=-1)).sum(-1), reduction)
    each = functional.softplus(-2 * y * f) if loss == "logistic" else (y - f).square() / 2
    return reduce(each if each.ndim == 1 else each.sum(-1), reduction)


def initial_outputs(targets: torch.Tensor, loss: str) -> torch.Tensor:
    r"""The constant output of least mean loss, from which boosting starts.

    .. math:: F_{squared} = \bar y, \qquad
        F_{logistic} = \tfrac12 \log \frac{1 + \bar y}{1 - \bar y}, \qquad
        F_{softmax, c} = \log \bar y_c - \frac1C \sum_k \log \bar y_k

    The authors' code starts several classes from 0 instead.

    Args:
        targets: as in :func:`boosting_loss`, shape [N, K] or [N].
        loss: "squared", "logistic" or "softmax".

    Returns:
        Shape [K], or a number for targets of shape [N]. A class of "softmax" without any target
        counts as one of a share of rounding error.

    Raises:
        InputError: another loss, no rows, or only one class for "logistic".

    Source: Emami and Martínez-Muñoz 2019, arXiv 1909.12098.

    >>> initial_outputs(torch.tensor([1.0, 1.0, 1.0, -1.0]), "logistic")  # half the log of 3
    tensor(0.5493)
    """
    y, _ = _checked(targets, targets, loss)
    if not len(y):
        raise InputError("targets: expected at least one row, got none")
    mean = y.mean(dim=0)
    if loss == "squared":
        return mean
    if loss == "softmax":
        shares = mean.clamp(min=torch.finfo(mean.dtype).eps).log()
        return shares - shares.mean()
    if bool((mean.abs() >= 1).any()):
        raise InputError("targets: expected both -1 and 1, got one of them alone")
    return torch.atanh(mean)


def pseudo_residuals(targets: torch.Tensor, outputs: torch.Tensor, loss: str) -> torch.Tensor:
    r"""What is still wrong with the outputs: the negative gradient of the loss.

    .. math:: r_{squared} = y - F, \qquad r_{logistic} = \frac{2 y}{1 + e^{2 y F}}, \qquad
        r_{softmax} = y - p

    Args:
        targets: as in :func:`boosting_loss`, shape [N, K] or [N].
        outputs: F, of the same shape.
        loss: "squared", "logistic" or "softmax".

    Returns:
        Residuals, of the same shape.

    Raises:
        InputError: another loss, or shapes that do not fit.

    Source: Emami and Martínez-Muñoz 2019, arXiv 1909.12098, and the authors' code.

    >>> pseudo_residuals(torch.tensor([1.0, -1.0]), torch.zeros(2), "logistic")
    tensor([ 1., -1.])
    """
    y, f = _checked(targets, outputs, loss)
    if loss == "squared":
        return y - f
    return y - f.softmax(dim=-1) if loss == "softmax" else 2 * y * torch.sigmoid(-2 * y * f)


def newton_step(
    targets: torch.Tensor,
    outputs: torch.Tensor,
    direction: torch.Tensor,
    loss: str,
    *,
    limit: float = 10.0,
) -> torch.Tensor:
    r"""How far to go along a direction: one Newton step with the diagonal of the Hessian.

    .. math:: \rho = \frac{\sum r h}{\sum h^2 w}, \qquad
        w_{logistic} = |r| (2 - |r|), \qquad w_{softmax} = p (1 - p)

    with sums over rows and outputs, r as in :func:`pseudo_residuals`; for "squared" it is 1, since
    there the direction was fitted to what is missing. Where the loss is flat, or the direction 0,
    the quotient would explode: the denominator has a floor and the step a bound.

    Args:
        targets: as in :func:`boosting_loss`, shape [N, K] or [N].
        outputs: F, of the same shape.
        direction: h, what is to be added, of the same shape.
        loss: "squared", "logistic" or "softmax".
        limit: the largest size of a step, above 0.

    Returns:
        The step, a number; 0 along a direction of zeros, 1 for "squared".

    Raises:
        InputError: another loss, shapes that do not fit, or a limit outside its range.

    Source: Emami and Martínez-Muñoz 2019, arXiv 1909.12098, and the authors' code.

    >>> y, h = torch.tensor([1.0, -1.0]), torch.tensor([0.5, -0.5])
    >>> newton_step(y, torch.zeros(2), h, "logistic")
    tensor(2.)
    """
    y, f = _checked(targets, outputs, loss)
    check_same_shape("direction", direction, "outputs", outputs)
    check_range("limit", limit, 0, open_low=True)
    h = at_least_float32(direction)
    if loss == "squared":
        return torch.ones_like(h.sum())
    if loss == "softmax":
        p = f.softmax(dim=-1)
        slope, curvature = y - p, p * (1 - p)
    else:
        wrong = torch.sigmoid(-2 * y * f)
        slope, curvature = 2 * y * wrong, 4 * wrong * torch.sigmoid(2 * y * f)
    size = h.abs().max().clamp(min=torch.finfo(h.dtype).tiny) if h.numel() else h.sum()
    unit = h / size  # squares neither overflow nor vanish
    limits = torch.finfo(h.dtype)
    floor = limits.eps * unit.square().sum() + limits.tiny
    step = (slope * unit).sum() / (curvature * unit.square()).sum().clamp(min=floor) / size
    return step.nan_to_num(0.0).clamp(-limit, limit)


def _checked(
    targets: torch.Tensor, outputs: torch.Tensor, loss: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Targets and outputs as floating point, once their shapes fit the loss."""
    check_choice("loss", loss, LOSSES)
    check_same_shape("outputs", outputs, "targets", targets)
    check_shape("targets", targets, *(("N",) if targets.ndim == 1 and loss != "softmax" else "NK"))
    dtype = torch.promote_types(outputs.dtype, torch.float32)
    return targets.to(dtype), outputs.to(dtype)
