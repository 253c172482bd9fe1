"""Ramps: a weight that moves from one value to another as training progresses."""

import math

from gradatim.core.checks import check_range


def linear_ramp(progress: float, start: float = 0.0, end: float = 1.0) -> float:
    r"""Move in a straight line.

    .. math:: r(t) = start + (end - start) \, t

    Args:
        progress: t; below 0 counts as 0, above 1 as 1.
        start: value at t = 0.
        end: value at t = 1, kept from then on.

    Returns:
        The value at this progress.

    Raises:
        InputError: progress is NaN or infinite.

    >>> linear_ramp(0.25, 0.0, 2.0)
    0.5
    """
    return _between(_clip(progress), start, end)


def cosine_ramp(progress: float, start: float = 0.0, end: float = 1.0) -> float:
    r"""Move along half a cosine: slowly, fast, slowly.

    .. math:: r(t) = start + (end - start) \, (1 - \cos \pi t) / 2

    Args:
        progress: t; below 0 counts as 0, above 1 as 1.
        start: value at t = 0.
        end: value at t = 1, kept from then on.

    Returns:
        The value at this progress.

    Raises:
        InputError: progress is NaN or infinite.

    >>> round(cosine_ramp(0.5, 0.0, 2.0), 4)
    1.0
    """
    return _between((1 - math.cos(math.pi * _clip(progress))) / 2, start, end)


def sigmoid_ramp(progress: float, start: float = 0.0, end: float = 1.0) -> float:
    r"""Move along the sigmoid-shaped ramp of semi-supervised learning.

    .. math:: r(t) = start + (end - start) \, e^{-5 (1 - t)^2}

    At t = 0 it stands slightly above the start, at a share of e^-5 (0.0067) of the way.

    Args:
        progress: t; below 0 counts as 0, above 1 as 1.
        start: value that the ramp leaves.
        end: value at t = 1, kept from then on.

    Returns:
        The value at this progress.

    Raises:
        InputError: progress is NaN or infinite.

    Source: Laine and Aila 2017, arXiv 1610.02242.

    >>> sigmoid_ramp(1.0)
    1.0
    >>> round(sigmoid_ramp(0.5), 4)
    0.2865
    """
    return _between(math.exp(-5 * (1 - _clip(progress)) ** 2), start, end)


def _clip(progress: float) -> float:
    check_range("progress", progress)
    return min(max(progress, 0.0), 1.0)


def _between(share: float, start: float, end: float) -> float:
    return start + (end - start) * share
