"""Exact inductive bias: how rare, among hypotheses that fit the training data, good ones are."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradatim.core.checks import check_choice, check_range
from gradatim.core.seeds import numpy_generator
from gradatim.difficulty.scaled_noncentral_chi2 import ScaledNoncentralChi2, positive_sample

ENOUGH = 30
"""Losses below the error from which on their share is told."""

Tail = Literal["exact", "sankaran"]


@dataclass(frozen=True)
class BiasEstimate:
    """The inductive bias that a task demands of a space of hypotheses.

    Attributes:
        nats: minus the natural logarithm of the probability that a hypothesis that fits the
            training data reaches the error.
        low: lower bound, by bootstrap over the losses.
        high: upper bound.
        error: the test error that is to be reached.
        distribution: what was fitted to the losses.
        n: how many losses were given.
        below: how many of them reach the error.
    """

    nats: float
    low: float
    high: float
    error: float
    distribution: ScaledNoncentralChi2
    n: int
    below: int

    @property
    def bits(self) -> float:
        """The same in bits."""
        return self.nats / math.log(2.0)

    @property
    def empirical(self) -> float:
        """Minus the logarithm of the share of losses that reach the error; NaN below 30 of them."""
        return -math.log(self.below / self.n) if self.below >= ENOUGH else math.nan


def required_bias(
    losses: ArrayLike,
    error: float,
    *,
    fit: Literal["moments", "mle"] = "moments",
    tail: Tail = "exact",
    n_bootstrap: int = 200,
    confidence: float = 0.95,
    seed: int = 0,
) -> BiasEstimate:
    r"""Estimate the inductive bias from the test losses of random hypotheses that fit the data.

    .. math:: I(\varepsilon) = - \ln \Pr_{h \sim p(h \mid h \text{ fits})} [ e(h) \le \varepsilon ]
        \approx - \ln F(\varepsilon)

    with F a scaled non-central chi-squared distribution fitted to the losses, so that
    probabilities far below one in as many as there are losses can be told. The fit is exact for
    Gaussian predictions with equal variances, else an approximation: where many losses reach the
    error compare with ``empirical``, and for Gaussian processes with
    :meth:`~gradatim.difficulty.gaussian_process_losses.GaussianProcessLosses.logcdf`. It depends
    on the error and on how many test examples there are; keep both fixed when you compare.

    Args:
        losses: test losses e of independent hypotheses, positive, shape [S].
        error: the loss that is to be reached, on the same scale.
        fit: "moments" or "mle".
        tail: "exact", or "sankaran" as the authors where their distribution function underflows.
        n_bootstrap: resamples of the losses for the interval; 0 for none (NaN).
        confidence: of the interval.
        seed: what the resamples depend on.

    Returns:
        The estimate, in nats and bits.

    Raises:
        InputError: losses that are not positive or all equal, or an error that is not positive.

    Source: Boopathy et al. 2024, arXiv 2406.15941.

    >>> losses = np.random.default_rng(0).chisquare(2, 10_000)
    >>> estimate = required_bias(losses, 0.2)
    >>> bool(abs(estimate.nats + np.log(1 - np.exp(-0.1))) < 0.2), estimate.empirical > 2
    (True, True)
    """
    check_choice("tail", tail, ("exact", "sankaran"))
    check_range("error", error, 0.0, open_low=True)
    check_range("n_bootstrap", n_bootstrap, 0)
    check_range("confidence", confidence, 0.0, 1.0, open_low=True, open_high=True)
    sample = positive_sample("losses", losses)
    distribution = ScaledNoncentralChi2.fit(sample, fit)
    low = high = math.nan
    if n_bootstrap:
        again = [_nats(one, error, tail) for one in _resampled(sample, fit, n_bootstrap, seed)]
        outside = (1.0 - confidence) / 2.0
        low, high = (float(one) for one in np.quantile(again, (outside, 1.0 - outside)))
    return BiasEstimate(
        nats=_nats(distribution, error, tail),
        low=low,
        high=high,
        error=error,
        distribution=distribution,
        n=len(sample),
        below=int((sample <= error).sum()),
    )


def required_bias_curve(
    losses: ArrayLike,
    errors: Sequence[float] | NDArray[np.float64],
    *,
    fit: Literal["moments", "mle"] = "moments",
) -> NDArray[np.float64]:
    """The inductive bias at several errors, from one fit, in nats; it falls as errors rise.

    Args:
        losses: test losses, shape [S].
        errors: errors to be reached, positive, shape [E].
        fit: "moments" or "mle".

    Returns:
        Nats, shape [E].

    Raises:
        InputError: as :func:`required_bias`.

    >>> losses = np.random.default_rng(0).chisquare(2, 1000)
    >>> bool((np.diff(required_bias_curve(losses, [0.1, 1.0, 10.0])) < 0).all())
    True
    """
    for error in errors:
        check_range("errors", float(error), 0.0, open_low=True)
    distribution = ScaledNoncentralChi2.fit(positive_sample("losses", losses), fit)
    nats = -distribution.logcdf(np.asarray(errors, dtype=np.float64))
    return np.asarray(np.maximum(nats, 0.0))


def _nats(distribution: ScaledNoncentralChi2, error: float, tail: Tail) -> float:
    exact = tail == "exact"
    found = distribution.logcdf(error) if exact else distribution.sankaran_logcdf(error)
    return max(0.0, -float(found))


def _resampled(
    sample: NDArray[np.float64], fit: Literal["moments", "mle"], times: int, seed: int
) -> list[ScaledNoncentralChi2]:
    """Fits to resamples; one whose values are all equal is drawn again."""
    random = numpy_generator(seed, "required bias", "bootstrap")
    found: list[ScaledNoncentralChi2] = []
    while len(found) < times:
        drawn = sample[random.integers(0, len(sample), len(sample))]
        if drawn.min() < drawn.max():
            found.append(ScaledNoncentralChi2.fit(drawn, fit))
    return found
