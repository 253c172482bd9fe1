"""At which share of wrong hard labels clean easy ones are as good."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradatim.core.checks import check_finite, check_range
from gradatim.core.errors import InputError
from gradatim.core.seeds import numpy_generator


@dataclass(frozen=True, slots=True)
class NoiseCrossing:
    """Where training on hard examples with wrong labels falls to what easy clean ones give.

    Attributes:
        rate: the share of wrong labels; 0 if easy ones are at least as good from the start, NaN if
            hard ones stay better up to the largest share that was tried.
        low: lower end of its interval; 0 where draws have no crossing above 0.
        high: upper end; infinity where draws have none up to the largest share.
        confidence: the covered probability.
        largest: the largest share that was tried.
    """

    rate: float
    low: float
    high: float
    confidence: float
    largest: float

    def sentence(self) -> str:
        """The finding in words.

        >>> noise_crossing([0.0, 0.5], [[0.7, 0.7]], [[0.8, 0.75]]).sentence()
        'hard labels stay better up to a share of 50% wrong ones'
        """
        if math.isnan(self.rate):
            return f"hard labels stay better up to a share of {self.largest:.0%} wrong ones"
        if self.rate == 0.0:
            return "easy labels are at least as good even if no hard label is wrong"
        high = "more" if math.isinf(self.high) else f"{self.high:.0%}"
        return (
            f"from about {self.rate:.0%} wrong hard labels on, easy clean ones are as good "
            f"({self.confidence:.0%} interval {self.low:.0%} to {high})"
        )


def noise_crossing(
    rates: ArrayLike,
    easy: ArrayLike,
    hard: ArrayLike,
    *,
    n_boot: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> NoiseCrossing:
    r"""Find the share of wrong labels at which two curves of accuracy cross.

    .. math:: q^* = \min \{ q : \bar h(q) \le \bar e(q) \}

    with accuracies on hard test examples after training on hard examples, q of whose labels are
    wrong, and on easy ones; between the shares that were tried the means run straight. The interval
    is that of percentiles of a bootstrap over runs, in which easy and hard are paired.

    Args:
        rates: shares of wrong labels, ascending, shape [K].
        easy: accuracy of each run, shape [S, K]; [S] or [S, 1] if easy labels are clean throughout.
        hard: accuracy of each run at each share, shape [S, K].
        n_boot: draws of the bootstrap.
        confidence: covered probability, in (0, 1).
        seed: what the draws depend on.

    Returns:
        The crossing.

    Raises:
        InputError: shapes that do not fit, shares that do not ascend, or a number that is not
            finite.

    Source: Hase et al. 2024, arXiv 2401.06751 (there easy labels are noisy at half
    the rate; pass that curve as ``easy``).

    >>> found = noise_crossing([0.0, 0.2, 0.4], [0.7, 0.7], [[0.8, 0.74, 0.6], [0.8, 0.74, 0.6]])
    >>> round(found.rate, 3)
    0.257
    """
    shares = np.asarray(rates, dtype=np.float64)
    on_easy, on_hard = np.asarray(easy, dtype=np.float64), np.asarray(hard, dtype=np.float64)
    on_easy = on_easy[:, None] if on_easy.ndim == 1 else on_easy
    if shares.ndim != 1 or len(shares) < 2 or (np.diff(shares) <= 0).any():
        raise InputError(f"rates: expected at least 2 ascending shares, got {shares.tolist()}")
    if on_hard.ndim != 2 or on_hard.shape[1] != len(shares) or not len(on_hard):
        raise InputError(f"hard: expected shape [runs, {len(shares)}], got {list(on_hard.shape)}")
    if on_easy.shape not in (on_hard.shape, (len(on_hard), 1)):
        raise InputError(
            f"easy: expected shape {list(on_hard.shape)} or [{len(on_hard)}], "
            f"got {list(on_easy.shape)}"
        )
    check_finite("rates", shares)
    check_finite("easy", on_easy)
    check_finite("hard", on_hard)
    check_range("confidence", confidence, 0.0, 1.0, open_low=True, open_high=True)
    ahead = on_hard - on_easy
    random = numpy_generator(seed, "noise crossing")
    drawn = random.integers(len(ahead), size=(n_boot, len(ahead)))
    found = np.array([_crossing(shares, ahead[rows].mean(axis=0)) for rows in drawn])
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(found, (tail, 1.0 - tail), method="nearest")
    rate = _crossing(shares, ahead.mean(axis=0))
    return NoiseCrossing(
        rate if math.isfinite(rate) else math.nan,
        float(low),
        float(high),
        confidence,
        float(shares[-1]),
    )


def _crossing(shares: NDArray[np.float64], ahead: NDArray[np.float64]) -> float:
    """The first share at which a straight run of differences reaches 0, or infinity."""
    reached = np.flatnonzero(ahead <= 0.0)
    if not len(reached):
        return math.inf
    place = int(reached[0])
    if place == 0:
        return 0.0
    part = ahead[place - 1] / (ahead[place - 1] - ahead[place])
    return float(shares[place - 1] + part * (shares[place] - shares[place - 1]))
