"""The spherical losses, which see D outputs only through two sums and the label's own output."""

import torch
from torch.nn import functional

from gradatim.core.checks import check_range, check_same_shape, check_shape, reduce
from gradatim.core.errors import InputError
from gradatim.core.precision import at_least_float32

Sums = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Output of the label, sum of the squared outputs, sum of the outputs; each of shape [m]."""


def sums_of_outputs(logits: torch.Tensor, labels: torch.Tensor) -> Sums:
    r"""What a spherical loss sees of the outputs.

    .. math:: a_i = o_{i y_i}, \quad q_i = \sum_k o_{ik}^2, \quad s_i = \sum_k o_{ik}

    Args:
        logits: outputs o, shape [m, D].
        labels: class y of each example, integers, shape [m].

    Returns:
        The label's output a, the sum of squares q and the sum s, in float32 for half precision.

    Raises:
        InputError: the shapes do not fit.

    Source: Vincent et al. 2015, arXiv 1412.7091 (the spherical family).

    >>> [part.item() for part in sums_of_outputs(torch.tensor([[3.0, 1.0]]), torch.tensor([1]))]
    [1.0, 10.0, 4.0]
    """
    check_shape("logits", logits, "m", "D")
    check_shape("labels", labels, len(logits))
    outputs = at_least_float32(logits)
    own = outputs.gather(1, labels[:, None]).squeeze(1)
    return own, outputs.square().sum(1), outputs.sum(1)


def z_score(
    target_out: torch.Tensor,
    sq_sum: torch.Tensor,
    out_sum: torch.Tensor,
    num_classes: int,
    *,
    eps: float = 1e-12,
) -> torch.Tensor:
    r"""How many standard deviations the label's output is above the mean output.

    .. math:: z = \frac{o_y - \mu}{\sigma}, \qquad \mu = \frac{s}{D}, \qquad
        \sigma^2 = \max\Bigl(\frac{q}{D} - \mu^2, \epsilon\Bigr)

    It is between plus and minus the root of D - 1. In float32 the variance cancels where the mean
    is large beside the deviation: give sums in float64, as the factored layer does.

    Args:
        target_out: output of the label, shape [m].
        sq_sum: sum of the squared outputs, shape [m].
        out_sum: sum of the outputs, shape [m].
        num_classes: D, at least 2.
        eps: least variance; outputs that are all equal have z = 0.

    Returns:
        z, shape [m].

    Raises:
        InputError: the shapes differ, or fewer than two classes.

    Source: de Brébisson and Vincent 2016, arXiv 1604.08859.

    >>> one = torch.ones(1, dtype=torch.float64)
    >>> z_score(one, one, one, 10).round(decimals=3)  # one output of 1, nine of 0
    tensor([3.], dtype=torch.float64)
    """
    _check_sums(target_out, sq_sum, out_sum, num_classes)
    mean = at_least_float32(out_sum) / num_classes
    variance = (at_least_float32(sq_sum) / num_classes - mean.square()).clamp(min=eps)
    return (at_least_float32(target_out) - mean) * variance.rsqrt()


def z_score_from_logits(
    logits: torch.Tensor, labels: torch.Tensor, *, eps: float = 1e-12
) -> torch.Tensor:
    """The same of outputs, whose mean is taken away first, so that no variance cancels.

    Args:
        logits: outputs, shape [m, D].
        labels: class of each example, integers, shape [m].
        eps: least variance.

    Returns:
        z, shape [m].

    Raises:
        InputError: the shapes do not fit, or fewer than two classes.

    Source: as :func:`z_score`.

    >>> z_score_from_logits(torch.tensor([[3.0, 1.0]]), torch.tensor([1]))
    tensor([-1.])
    """
    check_shape("logits", logits, "m", "D")
    outputs = at_least_float32(logits)
    sums = sums_of_outputs(outputs - outputs.mean(1, keepdim=True), labels)
    return z_score(*sums, logits.shape[1], eps=eps)


def z_loss(
    target_out: torch.Tensor,
    sq_sum: torch.Tensor,
    out_sum: torch.Tensor,
    num_classes: int,
    *,
    a: float = 1.0,
    b: float = 0.0,
    eps: float = 1e-12,
    reduction: str = "mean",
) -> torch.Tensor:
    r"""The Z-loss: softplus of how far the label's z-score is below a wanted one.

    .. math:: L_i = \frac1a \log\bigl(1 + e^{a (b - z_i)}\bigr)

    It does not change when all outputs are shifted or scaled, as ranks do not.

    Args:
        target_out: output of the label, shape [m].
        sq_sum: sum of the squared outputs, shape [m].
        out_sum: sum of the outputs, shape [m].
        num_classes: D, at least 2.
        a: sharpness, above 0; the larger, the nearer to a hinge at b.
        b: z-score that is wanted of the label. Both are tuned for each figure of merit.
        eps: least variance of the outputs.
        reduction: "mean", "sum" or "none".

    Returns:
        The loss; shape [m] without reduction.

    Raises:
        InputError: the shapes differ, fewer than two classes, or a is not above 0.

    Source: de Brébisson and Vincent 2016, arXiv 1604.08859; the names a and b are theirs.

    >>> z_loss(torch.ones(1), torch.ones(1), torch.ones(1), 10, b=3.0)  # log 2
    tensor(0.6931)
    """
    check_range("a", a, 0, open_low=True)
    z = z_score(target_out, sq_sum, out_sum, num_classes, eps=eps)
    return reduce(functional.softplus(b - z, beta=a, threshold=40), reduction)


def z_loss_from_logits(
    logits: torch.Tensor,
    labels: torch.Tensor,
    *,
    a: float = 1.0,
    b: float = 0.0,
    eps: float = 1e-12,
    reduction: str = "mean",
) -> torch.Tensor:
    """The Z-loss of outputs that a model gives in full.

    Args:
        logits: outputs, shape [m, D].
        labels: class of each example, integers, shape [m].
        a: sharpness, above 0.
        b: z-score that is wanted of the label.
        eps: least variance of the outputs.
        reduction: "mean", "sum" or "none".

    Returns:
        The loss; shape [m] without reduction.

    Raises:
        InputError: the shapes do not fit, fewer than two classes, or a is not above 0.

    Source: as :func:`z_loss`.

    >>> z_loss_from_logits(torch.tensor([[3.0, 1.0]]), torch.tensor([0]), b=1.0)  # log 2
    tensor(0.6931)
    """
    check_range("a", a, 0, open_low=True)
    z = z_score_from_logits(logits, labels, eps=eps)
    return reduce(functional.softplus(b - z, beta=a, threshold=40), reduction)


def mse(
    target_out: torch.Tensor,
    sq_sum: torch.Tensor,
    out_sum: torch.Tensor,
    num_classes: int,
    *,
    reduction: str = "mean",
) -> torch.Tensor:
    r"""Squared distance of the outputs from the label's unit vector.

    .. math:: L_i = \sum_k \bigl(o_{ik} - [k = y_i]\bigr)^2 = q_i - 2 o_{i y_i} + 1

    Args:
        target_out: output of the label, shape [m].
        sq_sum: sum of the squared outputs, shape [m].
        out_sum: sum of the outputs, shape [m]; it does not enter.
        num_classes: D, at least 2.
        reduction: "mean" over examples, "sum" or "none".

    Returns:
        The loss; shape [m] without reduction.

    Raises:
        InputError: the shapes differ, or fewer than two classes.

    Source: Vincent et al. 2015, arXiv 1412.7091.

    >>> mse(*sums_of_outputs(torch.tensor([[3.0, 1.0]]), torch.tensor([1])), 2)
    tensor(9.)
    """
    _check_sums(target_out, sq_sum, out_sum, num_classes)
    return reduce(at_least_float32(sq_sum) - 2 * at_least_float32(target_out) + 1, reduction)


def taylor_softmax(
    target_out: torch.Tensor,
    sq_sum: torch.Tensor,
    out_sum: torch.Tensor,
    num_classes: int,
    *,
    reduction: str = "mean",
) -> torch.Tensor:
    r"""Negative log-likelihood under the softmax whose exponential is its Taylor series.

    .. math:: L_i = - \log \frac{1 + o_{i y_i} + \frac12 o_{i y_i}^2}{D + s_i + \frac12 q_i}

    Args:
        target_out: output of the label, shape [m].
        sq_sum: sum of the squared outputs, shape [m].
        out_sum: sum of the outputs, shape [m].
        num_classes: D, at least 2.
        reduction: "mean", "sum" or "none".

    Returns:
        The loss; shape [m] without reduction.

    Raises:
        InputError: the shapes differ, or fewer than two classes.

    Source: de Brébisson and Vincent 2015, arXiv 1511.05042.

    >>> taylor_softmax(*sums_of_outputs(torch.zeros(1, 4), torch.tensor([1])), 4)  # log 4
    tensor(1.3863)
    """
    _check_sums(target_out, sq_sum, out_sum, num_classes)
    own = at_least_float32(target_out)
    total = num_classes + at_least_float32(out_sum) + at_least_float32(sq_sum) / 2
    return reduce(total.log() - (1 + own + own.square() / 2).log(), reduction)


def spherical_softmax(
    target_out: torch.Tensor,
    sq_sum: torch.Tensor,
    out_sum: torch.Tensor,
    num_classes: int,
    *,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> torch.Tensor:
    r"""Negative log-likelihood where probabilities are as the squares of the outputs.

    .. math:: L_i = - \log \frac{o_{i y_i}^2 + \epsilon}{q_i + D \epsilon}

    Args:
        target_out: output of the label, shape [m].
        sq_sum: sum of the squared outputs, shape [m].
        out_sum: sum of the outputs, shape [m]; it does not enter.
        num_classes: D, at least 2.
        eps: added to every square, above 0.
        reduction: "mean", "sum" or "none".

    Returns:
        The loss; shape [m] without reduction.

    Raises:
        InputError: the shapes differ, fewer than two classes, or eps is not above 0.

    Source: de Brébisson and Vincent 2015, arXiv 1511.05042.

    >>> spherical_softmax(*sums_of_outputs(torch.tensor([[3.0, 1.0]]), torch.tensor([1])), 2)
    tensor(2.3026)
    """
    _check_sums(target_out, sq_sum, out_sum, num_classes)
    check_range("eps", eps, 0, open_low=True)
    total = at_least_float32(sq_sum) + num_classes * eps
    return reduce(total.log() - (at_least_float32(target_out).square() + eps).log(), reduction)


def mse_from_logits(
    logits: torch.Tensor, labels: torch.Tensor, *, reduction: str = "mean"
) -> torch.Tensor:
    """:func:`mse` of outputs of shape [m, D] and labels of shape [m].

    >>> mse_from_logits(torch.tensor([[3.0, 1.0]]), torch.tensor([1]))
    tensor(9.)
    """
    return mse(*sums_of_outputs(logits, labels), logits.shape[1], reduction=reduction)


def taylor_softmax_from_logits(
    logits: torch.Tensor, labels: torch.Tensor, *, reduction: str = "mean"
) -> torch.Tensor:
    """:func:`taylor_softmax` of outputs of shape [m, D] and labels of shape [m].

    >>> taylor_softmax_from_logits(torch.zeros(1, 4), torch.tensor([1]))
    tensor(1.3863)
    """
    return taylor_softmax(*sums_of_outputs(logits, labels), logits.shape[1], reduction=reduction)


def spherical_softmax_from_logits(
    logits: torch.Tensor, labels: torch.Tensor, *, eps: float = 1e-6, reduction: str = "mean"
) -> torch.Tensor:
    """:func:`spherical_softmax` of outputs of shape [m, D] and labels of shape [m].

    >>> spherical_softmax_from_logits(torch.tensor([[3.0, 1.0]]), torch.tensor([1]))
    tensor(2.3026)
    """
    sums = sums_of_outputs(logits, labels)
    return spherical_softmax(*sums, logits.shape[1], eps=eps, reduction=reduction)


def _check_sums(
    target_out: torch.Tensor, sq_sum: torch.Tensor, out_sum: torch.Tensor, num_classes: int
) -> None:
    check_shape("target_out", target_out, "m")
    check_same_shape("sq_sum", sq_sum, "target_out", target_out)
    check_same_shape("out_sum", out_sum, "target_out", target_out)
    if num_classes < 2:
        raise InputError(f"num_classes: expected at least 2, got {num_classes}")
