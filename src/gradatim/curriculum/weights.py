"""Weights of examples in the loss: by difficulty, by the current loss, by the rate of success."""

import math
from typing import Literal

import torch

from gradatim.core.checks import check_choice, check_range
from gradatim.core.errors import InputError
from gradatim.curriculum.ramps import linear_ramp


def fading_weights(
    difficulty: torch.Tensor,
    progress: float,
    *,
    end: float = 1.0,
    smooth: float = 1e-8,
    anti: bool = False,
) -> torch.Tensor:
    r"""Weigh easy examples more at first, and all alike from ``end`` on.

    .. math:: w_i(t) = (1 - s) \, (1 - d_i + \epsilon) + s, \quad s = \min(1, t / \text{end})

    The paper divides the weighted sum by the number of examples, not by the sum of the weights, so
    early steps are smaller too: ``Loss(sum=(w * losses).sum(), count=len(losses))``. With
    ``Loss.of(losses, weights=w)`` they are not. The released code multiplies the mean loss by the
    mean of the weights instead, and never ends the curriculum if its end is 0.

    Args:
        difficulty: d in [0, 1], higher = harder, any shape.
        progress: t; below 0 counts as 0, above 1 as 1.
        end: progress from which all weights are 1, in [0, 1]; 0 weighs all alike throughout.
        smooth: :math:`\epsilon`, which keeps the hardest from weighing nothing.
        anti: weigh hard examples more at first instead.

    Returns:
        Weights of the shape and type of ``difficulty``.

    Raises:
        InputError: progress that is not finite, an end outside [0, 1], or a negative smooth.

    Source: MacAvaney et al. 2020, arXiv 2004.14269, section 3.

    >>> fading_weights(torch.tensor([0.125]), 0.25)
    tensor([0.9062])
    """
    check_range("end", end, 0.0, 1.0)
    check_range("smooth", smooth, 0.0)
    moment = linear_ramp(progress)
    share = 1.0 if moment >= end else moment / end
    if share == 1.0:
        return torch.ones_like(difficulty)
    easiness = difficulty if anti else 1.0 - difficulty
    return (easiness + smooth) * (1.0 - share) + share


def self_paced_weights(
    losses: torch.Tensor,
    threshold: float,
    *,
    kind: Literal["hard", "linear", "mixture"] = "hard",
    lower: float | None = None,
) -> torch.Tensor:
    r"""Weigh examples by their own current loss: those above a threshold wait.

    With :math:`\lambda` the threshold:

    .. math::
        \text{hard: } v = [l < \lambda], \qquad
        \text{linear: } v = \max(0, 1 - l / \lambda), \qquad
        \text{mixture: } v = \begin{cases}
            1 & l \le \lambda_2 \\
            \zeta (1 / l - 1 / \lambda) & \lambda_2 < l < \lambda \\
            0 & l \ge \lambda
        \end{cases}, \quad \zeta = \frac{\lambda \lambda_2}{\lambda - \lambda_2}

    The threshold grows as training goes on; :func:`self_paced_threshold` sets it by a share.

    Args:
        losses: l, non-negative, any shape; no gradient flows through the weights.
        threshold: :math:`\lambda`, above 0.
        kind: how weights fall towards the threshold.
        lower: :math:`\lambda_2`, up to which a loss counts in full, for "mixture" only; in
            (0, threshold).

    Returns:
        Weights in [0, 1] of the shape and type of ``losses``.

    Raises:
        InputError: an unknown kind, a threshold of 0 or less, or a lower one that is missing,
            not below the threshold, or given for another kind.

    Source: Kumar, Packer and Koller 2010 (hard); Jiang et al. 2014, "Easy samples first:
    self-paced reranking for zero-example multimedia search" (linear, mixture).

    >>> self_paced_weights(torch.tensor([0.5, 1.5, 4.0]), 3.0, kind="mixture", lower=1.0)
    tensor([1.0000, 0.5000, 0.0000])
    """
    check_choice("kind", kind, ("hard", "linear", "mixture"))
    check_range("threshold", threshold, 0.0, open_low=True)
    values = losses.detach()
    if (kind == "mixture") != (lower is not None):
        raise InputError(f"lower: expected for kind 'mixture' alone, got {lower} for {kind!r}")
    if kind == "hard":
        return (values < threshold).to(values.dtype)
    if lower is None:
        return (1.0 - values / threshold).clamp(0.0, 1.0)
    check_range("lower", lower, 0.0, threshold, open_low=True, open_high=True)
    zeta = threshold * lower / (threshold - lower)
    between = zeta / values.clamp(min=lower) - zeta / threshold
    return between.clamp(0.0, 1.0)


def self_paced_threshold(losses: torch.Tensor, share: float) -> float:
    """The threshold below which a share of the losses lies, for self-paced weights.

    Args:
        losses: of all examples, or of the latest batches, shape [n].
        share: in (0, 1]; at least one example is below the threshold, at 1 all are.

    Returns:
        The smallest number above the ``ceil(share * n)`` smallest losses (and above all that are
        equal to the largest of them).

    Raises:
        InputError: no losses, or a share outside (0, 1].

    >>> losses = torch.tensor([4.0, 1.0, 2.0, 3.0])
    >>> self_paced_weights(losses, self_paced_threshold(losses, 0.5)).tolist()
    [0.0, 1.0, 1.0, 0.0]
    """
    check_range("share", share, 0.0, 1.0, open_low=True)
    if losses.ndim != 1 or not len(losses):
        raise InputError(f"losses: expected shape [n], got {list(losses.shape)}")
    count = min(len(losses), math.ceil(share * len(losses) - 1e-6))
    largest = losses.detach().float().cpu().kthvalue(max(1, count)).values
    return float(torch.nextafter(largest, torch.tensor(math.inf)))


def success_band_weights(
    rate: torch.Tensor, low: float = 0.2, high: float = 0.8, *, outside: float = 0.0
) -> torch.Tensor:
    r"""Keep what is solved sometimes: neither too easy nor too hard to learn from.

    .. math:: w(p) = 1 \text{ if } \text{low} \le p \le \text{high, else outside}

    Args:
        rate: p, share of attempts that succeeded, in [0, 1], any shape.
        low: smallest rate kept.
        high: largest rate kept, at least ``low``.
        outside: weight of the rest; above 0, they are tried again now and then.

    Returns:
        Weights of the shape and type of ``rate``.

    Raises:
        InputError: bounds that are not ordered in [0, 1], or ``outside`` not in [0, 1].

    >>> success_band_weights(torch.tensor([0.0, 0.2, 0.5, 0.9]))
    tensor([0., 1., 1., 0.])
    """
    check_range("high", high, 0.0, 1.0)
    check_range("low", low, 0.0, high)
    check_range("outside", outside, 0.0, 1.0)
    inside = (rate >= low) & (rate <= high)
    return torch.where(inside, 1.0, outside).to(rate.dtype)


def success_target_weights(
    rate: torch.Tensor, target: float = 0.5, width: float = 0.2
) -> torch.Tensor:
    r"""Prefer examples whose rate of success is near a target.

    .. math:: w(p) = \exp \Bigl( -\tfrac12 \bigl( (p - p^*) / \sigma \bigr)^2 \Bigr)

    Args:
        rate: p, share of attempts that succeeded, in [0, 1], any shape.
        target: :math:`p^*`, in [0, 1].
        width: :math:`\sigma`, above 0.

    Returns:
        Weights in (0, 1] of the shape and type of ``rate``.

    Raises:
        InputError: a target outside [0, 1], or a width of 0 or less.

    >>> success_target_weights(torch.tensor([0.5, 0.7]))
    tensor([1.0000, 0.6065])
    """
    check_range("target", target, 0.0, 1.0)
    check_range("width", width, 0.0, open_low=True)
    return torch.exp(-0.5 * ((rate - target) / width) ** 2)
