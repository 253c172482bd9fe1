"""Accuracy against difficulty, in bins of about equally many examples."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from gradatim.core.checks import check_finite, check_range, check_same_length
from gradatim.core.errors import InputError
from gradatim.core.statistics import ProportionInterval, proportion_interval


@dataclass(frozen=True, slots=True)
class DifficultyBin:
    """Examples of like difficulty.

    Attributes:
        low: the smallest difficulty among them.
        high: the largest.
        mean: the mean.
        accuracy: the share that is solved, with Wilson's interval.
    """

    low: float
    high: float
    mean: float
    accuracy: ProportionInterval


def accuracy_by_difficulty(
    correct: ArrayLike, difficulty: ArrayLike, *, bins: int = 10, confidence: float = 0.95
) -> list[DifficultyBin]:
    r"""The share of solved examples among those of like difficulty.

    .. math:: \hat p_b = \operatorname*{mean}_{i : Q_{(b-1)/B} < d_i \le Q_{b/B}} c_i

    Bins are bounded by quantiles; equal difficulties share a bin, so there may be fewer bins.

    Args:
        correct: whether each example is solved, booleans or numbers 0 and 1, shape [N].
        difficulty: of each, finite, higher = harder, shape [N].
        bins: B, how many at most.
        confidence: covered probability, in (0, 1).

    Returns:
        The bins, from easy to hard.

    Raises:
        InputError: unequal lengths, no example, values other than 0 and 1, or a difficulty that is
            not finite (its row is named).

    Source: Hase et al. 2024, arXiv 2401.06751 (accuracies by hardness).

    >>> found = accuracy_by_difficulty([1, 1, 1, 0], [0.1, 0.2, 0.8, 0.9], bins=2)
    >>> [(one.low, one.high, one.accuracy.estimate) for one in found]
    [(0.1, 0.2, 1.0), (0.8, 0.9, 0.5)]
    """
    check_range("bins", bins, 1)
    solved = np.asarray(correct, dtype=np.float64)
    level = np.asarray(difficulty, dtype=np.float64)
    check_same_length(correct=solved, difficulty=level)
    if not len(level):
        raise InputError("difficulty: expected at least one example, got none")
    check_finite("difficulty", level)
    odd = np.flatnonzero((solved != 0) & (solved != 1))
    if len(odd):
        raise InputError(f"correct: expected booleans, got {solved[odd[0]]} at row {odd[0]}")
    edges = np.unique(np.quantile(level, np.arange(1, bins) / bins, method="lower"))
    place = np.searchsorted(edges, level, side="left")
    found = []
    for one in np.unique(place):
        chosen = place == one
        part = level[chosen]
        rate = proportion_interval(int(solved[chosen].sum()), int(chosen.sum()), confidence)
        found.append(DifficultyBin(float(part.min()), float(part.max()), float(part.mean()), rate))
    return found
