"""Supervision gap recovered: how much of what hard labels bring, easy labels bring too."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from gradatim.core.checks import check_finite, check_range, check_same_length
from gradatim.core.errors import InputError
from gradatim.core.seeds import numpy_generator
from gradatim.core.statistics import Interval, paired_interval

_CHUNK = 200


@dataclass(frozen=True, slots=True)
class SupervisionGap:
    """The share of the gap that is recovered, with its interval.

    Attributes:
        estimate: (easy - unsupervised) / (hard - unsupervised); NaN if it is undefined.
        low: lower end of its interval; NaN if it is undefined.
        high: upper end.
        confidence: the covered probability.
        gap: hard - unsupervised, what the share is of, with an interval.
        gain: easy - unsupervised.
        defined: whether the interval of the gap excludes 0. If it does not, there may be no gap
            to recover, and no ratio is told.
    """

    estimate: float
    low: float
    high: float
    confidence: float
    gap: Interval
    gain: float
    defined: bool

    def sentence(self) -> str:
        """The finding in words.

        >>> supervision_gap_of_runs([0.5, 0.5], [0.6, 0.7], [0.51, 0.49]).sentence()
        'undefined: the 95% interval of the gap between ... [-0.127, 0.127], includes 0'
        """
        if not self.defined:
            return (
                f"undefined: the {self.confidence:.0%} interval of the gap between hard-trained "
                f"and unsupervised accuracy, [{self.gap.low:.3f}, {self.gap.high:.3f}], includes 0"
            )
        return f"{self.estimate:.2f} [{self.low:.2f}, {self.high:.2f}]"


def supervision_gap_recovered(
    unsupervised: ArrayLike,
    easy: ArrayLike,
    hard: ArrayLike,
    *,
    n_boot: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> SupervisionGap:
    r"""How much of the gap that training on hard examples closes, training on easy ones closes.

    .. math:: SGR = \frac{\bar e - \bar u}{\bar h - \bar u}

    where u, e and h say whether a hard test example is solved without training, after training on
    easy, and after training on hard examples. The interval is that of percentiles of a bootstrap
    which draws test rows, the same for the three, and training runs, for each on its own.

    Args:
        unsupervised: whether row r is solved, numbers in [0, 1], shape [R] or [R, runs].
        easy: the same after training on easy examples, shape [R, runs]. NaN where a run did not
            test a row.
        hard: after training on hard examples, shape [R, runs].
        n_boot: draws of the bootstrap.
        confidence: covered probability, in (0, 1).
        seed: what the draws depend on.

    Returns:
        The share; undefined if the interval of the gap includes 0.

    Raises:
        InputError: unequal numbers of rows, a value outside [0, 1], or a row that no run tested.

    Source: Hase et al. 2024, arXiv 2401.06751 (the share and its bootstrap).

    >>> hit = np.arange(100)[:, None]
    >>> found = supervision_gap_recovered(hit < 50, hit < 68, hit < 70)
    >>> round(found.estimate, 6), found.defined
    (0.9, True)
    """
    check_range("n_boot", n_boot, 100)
    check_range("confidence", confidence, 0.0, 1.0, open_low=True, open_high=True)
    arms = [
        _arm(name, values)
        for name, values in (("unsupervised", unsupervised), ("easy", easy), ("hard", hard))
    ]
    check_same_length(unsupervised=arms[0], easy=arms[1], hard=arms[2])
    base, on_easy, on_hard = (float(_means(arm, np.ones((1, len(arm))))[0].mean()) for arm in arms)
    drawn = _bootstrap(arms, n_boot, seed)
    gaps, gains = drawn[2] - drawn[0], drawn[1] - drawn[0]
    tail = (1.0 - confidence) / 2.0
    gap_low, gap_high = np.quantile(gaps, (tail, 1.0 - tail))
    gap = Interval(
        on_hard - base,
        float(gap_low),
        float(gap_high),
        confidence,
        len(arms[0]),
        float(gaps.std(ddof=1)),
    )
    gain = on_easy - base
    if not (gap_low > 0.0 or gap_high < 0.0):
        return SupervisionGap(math.nan, math.nan, math.nan, confidence, gap, gain, False)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = gains / gaps
    low, high = np.quantile(shares[np.isfinite(shares)], (tail, 1.0 - tail))
    return SupervisionGap(gain / gap.estimate, float(low), float(high), confidence, gap, gain, True)


def supervision_gap_of_runs(
    unsupervised: ArrayLike, easy: ArrayLike, hard: ArrayLike, *, confidence: float = 0.95
) -> SupervisionGap:
    r"""The same share from one accuracy a seed, with Fieller's t interval of a ratio of means.

    With gains :math:`g_s = e_s - u_s` and gaps :math:`h_s - u_s` the interval holds every r for
    which a t test does not reject that the mean of :math:`g_s - r (h_s - u_s)` is 0. It is bounded
    exactly where the t interval of the gap excludes 0; elsewhere the share is undefined.

    Args:
        unsupervised: accuracy of each seed on hard test examples, shape [S].
        easy: after training on easy examples, shape [S].
        hard: after training on hard ones, shape [S].
        confidence: covered probability, in (0, 1).

    Returns:
        The share.

    Raises:
        InputError: unequal lengths, fewer than two seeds, or a number that is not finite.

    Source: Hase et al. 2024, arXiv 2401.06751; E. C. Fieller (1954), Journal of the
    Royal Statistical Society B 16.

    >>> round(supervision_gap_of_runs([0.5, 0.5], [0.6, 0.7], [0.9, 0.9]).estimate, 6)
    0.375
    """
    gap = paired_interval(hard, unsupervised, confidence)
    gains = paired_interval(easy, unsupervised, confidence)
    gain, n = gains.estimate, gains.n
    if not gap.excludes(0.0):
        return SupervisionGap(math.nan, math.nan, math.nan, confidence, gap, gain, False)
    t = float(special.stdtrit(n - 1, 0.5 + confidence / 2.0))
    both = np.cov(
        np.asarray(easy, float) - np.asarray(unsupervised, float),
        np.asarray(hard, float) - np.asarray(unsupervised, float),
    )
    spread = both * (t * t / n)
    a = gap.estimate**2 - spread[1, 1]
    b = gain * gap.estimate - spread[0, 1]
    c = gain**2 - spread[0, 0]
    root = math.sqrt(max(0.0, b * b - a * c))
    return SupervisionGap(
        gain / gap.estimate, (b - root) / a, (b + root) / a, confidence, gap, gain, True
    )


def _arm(name: str, values: ArrayLike) -> NDArray[np.float64]:
    """Outcomes of rows and runs, shape [R, runs]."""
    array = np.asarray(values, dtype=np.float64)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or not array.size:
        raise InputError(f"{name}: expected shape [rows, runs], got {list(array.shape)}")
    check_finite(name, array[~np.isnan(array)])
    odd = np.argwhere((array < 0.0) | (array > 1.0))
    if len(odd):
        row, run = odd[0]
        raise InputError(f"{name}: expected numbers in [0, 1], got {array[row, run]} at row {row}")
    empty = np.flatnonzero(np.isnan(array).all(axis=0))
    if len(empty):
        raise InputError(f"{name}: expected runs that test rows, but run {empty[0]} tests none")
    return array


def _means(arm: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of every run under every row of weights, shape [draws, runs]."""
    there = ~np.isnan(arm)
    with np.errstate(invalid="ignore"):
        return np.asarray((weights @ np.where(there, arm, 0.0)) / (weights @ there))


def _bootstrap(arms: list[NDArray[np.float64]], n_boot: int, seed: int) -> NDArray[np.float64]:
    """Accuracies of the three arms in every draw, shape [3, n_boot]."""
    random = numpy_generator(seed, "supervision gap")
    rows = len(arms[0])
    drawn = np.empty((3, n_boot))
    for start in range(0, n_boot, _CHUNK):
        size = min(_CHUNK, n_boot - start)
        weights = random.multinomial(rows, np.full(rows, 1.0 / rows), size).astype(np.float64)
        for place, arm in enumerate(arms):
            means = _means(arm, weights)
            runs = random.integers(arm.shape[1], size=(size, arm.shape[1]))
            picked = np.take_along_axis(means, runs, axis=1)
            drawn[place, start : start + size] = np.nanmean(picked, axis=1)
    return drawn
