"""Intervals, tests and rank statistics for results over seeds and examples."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from gradatim.core.checks import check_finite, check_range, check_same_length
from gradatim.core.errors import InputError


@dataclass(frozen=True)
class Interval:
    """A confidence interval of a mean by Student's t distribution.

    Attributes:
        estimate: the mean.
        low: lower bound.
        high: upper bound.
        confidence: the covered probability, as 0.95.
        n: how many values were seen.
        standard_error: the estimate's standard error.
    """

    estimate: float
    low: float
    high: float
    confidence: float
    n: int
    standard_error: float

    def excludes(self, value: float) -> bool:
        """Whether a value lies outside the interval.

        >>> mean_interval([1.0, 2.0, 3.0, 4.0]).excludes(0.0)
        True
        """
        return value < self.low or value > self.high

    def inside(self, low: float, high: float) -> bool:
        """Whether the whole interval lies within ``[low, high]``.

        >>> mean_interval([1.0, 2.0, 3.0, 4.0]).inside(0.0, 5.0)
        True
        """
        return low <= self.low and self.high <= high

    def p_value(self, threshold: float = 0.0) -> float:
        """Two-sided p value of the t test that the true mean is ``threshold``.

        Without any spread the p value is 1 at the estimate and 0 elsewhere.

        >>> round(mean_interval([1.0, 2.0, 3.0, 4.0]).p_value(0.0), 3)
        0.03
        """
        distance = abs(self.estimate - threshold)
        if self.standard_error == 0.0:
            return float(distance == 0.0)
        return float(2.0 * special.stdtr(self.n - 1, -distance / self.standard_error))


@dataclass(frozen=True)
class ProportionInterval(Interval):
    """A confidence interval of a proportion by Wilson's score method."""

    def p_value(self, threshold: float = 0.0) -> float:
        """Two-sided p value of the score test, which the interval inverts.

        >>> round(proportion_interval(8, 10).p_value(0.5), 3)
        0.058
        """
        check_range("threshold", threshold, 0.0, 1.0)
        distance = abs(self.estimate - threshold)
        error = math.sqrt(threshold * (1.0 - threshold) / self.n)
        if error == 0.0:
            return float(distance == 0.0)
        return float(2.0 * special.ndtr(-distance / error))


def mean_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Confidence interval of the mean of independent values, by Student's t.

    ``mean ± t_{n-1} * s / sqrt(n)``, with s the standard deviation with n - 1 degrees of freedom.

    Args:
        values: [n] at least two finite numbers, as one a seed.
        confidence: covered probability, in (0, 1).

    Returns:
        The interval; its width is zero if all values are equal.

    Raises:
        InputError: fewer than two values, or one that is not finite (its position is named).

    >>> interval = mean_interval([1.0, 2.0, 3.0, 4.0])
    >>> round(interval.low, 3), interval.estimate, round(interval.high, 3)
    (0.446, 2.5, 4.554)
    """
    array = _numbers("values", values)
    check_range("confidence", confidence, 0.0, 1.0, open_low=True, open_high=True)
    n = len(array)
    if n < 2:
        raise InputError(f"values: expected at least 2 numbers for an interval, got {n}")
    if array.min() == array.max():  # the rounded mean of equal numbers may differ from them
        estimate, error = float(array[0]), 0.0
    else:
        estimate, error = float(array.mean()), float(array.std(ddof=1)) / math.sqrt(n)
    half = float(special.stdtrit(n - 1, 0.5 + confidence / 2.0)) * error
    return Interval(estimate, estimate - half, estimate + half, confidence, n, error)


def paired_interval(first: ArrayLike, second: ArrayLike, confidence: float = 0.95) -> Interval:
    """Confidence interval of the mean of ``first - second``, paired by position.

    Args:
        first: [n] finite numbers.
        second: [n] finite numbers; entry i belongs to the same seed as ``first``'s entry i.
        confidence: covered probability, in (0, 1).

    Returns:
        The interval of the mean difference.

    Raises:
        InputError: unequal lengths, fewer than two pairs, or a number that is not finite.

    >>> round(paired_interval([0.9, 0.8, 0.7], [0.6, 0.6, 0.5]).estimate, 3)
    0.233
    """
    a, b = _numbers("first", first), _numbers("second", second)
    check_same_length(first=a, second=b)
    return mean_interval(a - b, confidence)


def equivalence_test(values: ArrayLike, margin: float, centre: float = 0.0) -> float:
    """P value of two one-sided t tests: is the mean within ``margin`` of ``centre``?

    A small p value shows equivalence. It is below ``alpha`` exactly if the interval of confidence
    ``1 - 2 * alpha`` lies inside ``centre ± margin``.

    Args:
        values: [n] at least two finite numbers (for pairs: their differences).
        margin: largest distance that still counts as equal, positive, declared beforehand.
        centre: the mean that would be equality.

    Returns:
        The larger of the two one-sided p values. Without any spread: 0 strictly inside the
        margin, else 1.

    Raises:
        InputError: margin not positive, or values as in :func:`mean_interval`.

    Source: D. J. Schuirmann (1987), Journal of Pharmacokinetics and Biopharmaceutics 15.

    >>> equivalence_test([0.01, -0.02, 0.0, 0.01], margin=0.1) < 0.01
    True
    """
    check_range("margin", margin, 0.0, open_low=True)
    check_range("centre", centre)
    interval = mean_interval(values)
    distance = abs(interval.estimate - centre) - margin
    if interval.standard_error == 0.0:
        return float(distance >= 0.0)
    return float(special.stdtr(interval.n - 1, distance / interval.standard_error))


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """P values adjusted for their number by Holm's step-down method.

    With ``p_(1) <= ... <= p_(m)``: ``adjusted_(i) = min(1, max_{j <= i} (m - j + 1) p_(j))``.

    Args:
        p_values: [m] numbers in [0, 1].

    Returns:
        [m] adjusted p values, in the given order.

    Raises:
        InputError: a p value is not a number in [0, 1]; its position is named.

    Source: S. Holm (1979), Scandinavian Journal of Statistics 6.

    >>> [float(p) for p in holm([0.01, 0.04, 0.03]).round(3)]
    [0.03, 0.06, 0.06]
    """
    array = _numbers("p_values", p_values)
    outside = np.flatnonzero((array < 0.0) | (array > 1.0))
    if len(outside):
        row = int(outside[0])
        raise InputError(f"p_values: expected numbers in [0, 1], got {array[row]} at row {row}")
    order = np.argsort(array, kind="stable")
    factors = np.arange(len(array), 0, -1)
    adjusted = np.empty_like(array)
    adjusted[order] = np.minimum(np.maximum.accumulate(array[order] * factors), 1.0)
    return adjusted


def proportion_interval(
    successes: int, trials: int, confidence: float = 0.95
) -> ProportionInterval:
    """Confidence interval of a proportion by Wilson's score method.

    ``(p + z²/2n ± z sqrt(p(1 - p)/n + z²/4n²)) / (1 + z²/n)`` with ``p = successes / trials``.

    Args:
        successes: how many of the trials succeeded.
        trials: how many there were, at least 1.
        confidence: covered probability, in (0, 1).

    Returns:
        The interval, within [0, 1].

    Raises:
        InputError: no trial, or successes outside [0, trials].

    Source: E. B. Wilson (1927), Journal of the American Statistical Association 22.

    >>> interval = proportion_interval(8, 10)
    >>> round(interval.low, 3), interval.estimate, round(interval.high, 3)
    (0.49, 0.8, 0.943)
    """
    check_range("trials", trials, 1)
    check_range("successes", successes, 0, trials)
    check_range("confidence", confidence, 0.0, 1.0, open_low=True, open_high=True)
    p = successes / trials
    z = float(special.ndtri(0.5 + confidence / 2.0))
    shrink = 1.0 / (1.0 + z * z / trials)
    middle = (p + z * z / (2.0 * trials)) * shrink
    half = z * shrink * math.sqrt(p * (1.0 - p) / trials + (z / (2.0 * trials)) ** 2)
    low = 0.0 if successes == 0 else middle - half  # exact where rounding would not be
    high = 1.0 if successes == trials else middle + half
    error = math.sqrt(p * (1.0 - p) / trials)
    return ProportionInterval(p, low, high, confidence, int(trials), error)


def rank_correlation(a: ArrayLike, b: ArrayLike) -> float:
    """Spearman's rank correlation; ties share their mean rank.

    Args:
        a: [n] finite numbers.
        b: [n] finite numbers.

    Returns:
        The correlation, in [-1, 1].

    Raises:
        InputError: unequal lengths, fewer than two numbers, or all numbers of one side equal.

    >>> round(rank_correlation([1, 2, 3, 4], [1, 3, 2, 4]), 3)
    0.8
    """
    from scipy import stats  # slow to import, and only needed here

    first, second = _numbers("a", a), _numbers("b", b)
    check_same_length(a=first, b=second)
    for name, array in (("a", first), ("b", second)):
        if len(array) < 2 or array.min() == array.max():
            raise InputError(
                f"{name}: expected at least 2 different numbers, got {len(np.unique(array))}"
            )
    return float(np.clip(stats.spearmanr(first, second).statistic, -1.0, 1.0))


def auroc(scores: ArrayLike, positive: ArrayLike) -> float:
    """Area under the ROC curve: how often a positive outscores a negative, ties counting half.

    ``(R - n₊(n₊ + 1)/2) / (n₊ n₋)`` with R the sum of the positives' mean ranks.

    Args:
        scores: [n] finite numbers, higher = more likely positive.
        positive: [n] booleans, or numbers 0 and 1.

    Returns:
        The area, in [0, 1].

    Raises:
        InputError: unequal lengths, a class without example, or labels other than 0 and 1.

    >>> auroc([0.1, 0.4, 0.35, 0.8], [False, False, True, True])
    0.75
    """
    values, labels = _numbers("scores", scores), _numbers("positive", positive)
    check_same_length(scores=values, positive=labels)
    odd = np.flatnonzero((labels != 0.0) & (labels != 1.0))
    if len(odd):
        row = int(odd[0])
        raise InputError(f"positive: expected booleans, got {labels[row]} at row {row}")
    count = int(labels.sum())
    if count in (0, len(labels)):
        missing = "positive" if count == 0 else "negative"
        raise InputError(f"positive: expected examples of both classes, got no {missing} one")
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2.0)[group]
    rank_sum = float(ranks[labels == 1.0].sum())
    return (rank_sum - count * (count + 1) / 2.0) / (count * (len(labels) - count))


def _numbers(name: str, values: ArrayLike) -> NDArray[np.float64]:
    """Return one-dimensional finite float64 numbers, or say what is wrong with them."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: expected numbers, got something else ({error})") from error
    if array.ndim != 1:
        raise InputError(f"{name}: expected one dimension, got shape {list(array.shape)}")
    check_finite(name, array)
    return array
