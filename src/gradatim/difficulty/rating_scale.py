"""Ratings on a common scale, and their ranks."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from gradatim.core.checks import check_finite, check_range, check_same_length
from gradatim.core.errors import InputError


class NormalisedRatings(NamedTuple):
    """Ratings on the common scale.

    Attributes:
        rating: shape [N].
        deviation: by the same factor, shape [N]; None where none was given.
    """

    rating: NDArray[np.float64]
    deviation: NDArray[np.float64] | None


def normalise_ratings(
    ratings: ArrayLike,
    deviations: ArrayLike | None = None,
    *,
    low: float = 500.0,
    high: float = 2500.0,
    q: tuple[float, float] = (0.01, 0.99),
) -> NormalisedRatings:
    r"""Move and stretch ratings so that data sets can be compared.

    .. math:: r' = (r - \operatorname{median}) \, \frac{h - l}{Q_{q_2} - Q_{q_1}}
        + \frac{l + h}{2}

    The median comes to the middle, and the range between the two quantiles is h - l wide; where
    ratings are skewed, the quantiles themselves are not l and h.

    Args:
        ratings: finite, of items or of subjects, not both, shape [N].
        deviations: their standard deviations, shape [N].
        low: l.
        high: h, above ``low``.
        q: the two quantiles.

    Returns:
        Ratings and deviations.

    Raises:
        InputError: no rating, one that is not finite, bad settings, or quantiles that are equal.

    Source: Ding et al. 2024, arXiv 2409.18433.

    >>> normalise_ratings([0.0, 1.0, 2.0], q=(0.0, 1.0)).rating.tolist()
    [500.0, 1500.0, 2500.0]
    """
    values = _ratings("ratings", ratings)
    check_range("low", low)
    check_range("high", high, low, open_low=True)
    check_range("q", q[0], 0, 1)
    check_range("q", q[1], q[0], 1, open_low=True)
    lower, middle, upper = np.quantile(values, [q[0], 0.5, q[1]])
    if not upper > lower:
        raise InputError(
            f"ratings: expected different quantiles at {q[0]} and {q[1]}, got {lower} for both"
        )
    factor = (high - low) / (upper - lower)
    moved = (values - middle) * factor + (low + high) / 2
    if deviations is None:
        return NormalisedRatings(moved, None)
    spread = np.asarray(deviations, dtype=np.float64)
    check_same_length(ratings=values, deviations=spread)
    return NormalisedRatings(moved, spread * factor)


def quantile_rank(scores: ArrayLike) -> NDArray[np.float64]:
    r"""The share of scores below each, equal ones counted half.

    .. math:: \rho_i = \frac{\#\{j : s_j < s_i\} + \frac12 \#\{j : s_j = s_i\}}{N}

    Args:
        scores: finite, shape [N].

    Returns:
        Ranks strictly between 0 and 1, with mean one half, shape [N].

    Raises:
        InputError: no score, or one that is not finite.

    >>> quantile_rank([30.0, 10.0, 10.0, 20.0]).tolist()
    [0.875, 0.25, 0.25, 0.625]
    """
    values = _ratings("scores", scores)
    return np.asarray((rankdata(values) - 0.5) / len(values))


def _ratings(name: str, values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not len(array):
        raise InputError(
            f"{name}: expected at least one number in one dimension, got shape {list(array.shape)}"
        )
    check_finite(name, array)
    return array
