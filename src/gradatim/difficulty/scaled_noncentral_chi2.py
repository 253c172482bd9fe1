"""The scaled non-central chi-squared distribution: fits, and log-probabilities far in its tail."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from gradatim.core.checks import check_choice, check_finite, check_range
from gradatim.core.errors import InputError

_UNDERFLOW = 1e-280  # below, log-probabilities are summed as series
_NEGLIGIBLE = 45.0  # terms smaller by this power of e are left out
_TERMS = 256


@dataclass(frozen=True)
class ScaledNoncentralChi2:
    r"""The distribution of :math:`s X` with X non-central chi-squared.

    .. math:: \mu = s (k + \lambda), \qquad v = 2 s^2 (k + 2 \lambda), \qquad
        \kappa = 8 s^3 (k + 3 \lambda)

    are its mean, variance and third central moment.

    Attributes:
        df: k, degrees of freedom, above 0.
        nc: lambda, non-centrality, at least 0.
        scale: s, above 0.

    Raises:
        InputError: a parameter out of range.

    >>> ScaledNoncentralChi2(5.0, 3.0, 2.0).mean
    16.0
    """

    df: float
    nc: float
    scale: float

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_range("df", self.df, 0.0, open_low=True)
        check_range("nc", self.nc, 0.0)
        check_range("scale", self.scale, 0.0, open_low=True)

    @property
    def mean(self) -> float:
        """The mean."""
        return self.scale * (self.df + self.nc)

    @property
    def variance(self) -> float:
        """The variance."""
        return 2.0 * self.scale**2 * (self.df + 2.0 * self.nc)

    @classmethod
    def of_moments(cls, mean: float, variance: float, third: float) -> "ScaledNoncentralChi2":
        r"""The distribution with these moments, or the nearest that there is.

        .. math:: s = \frac{v - \sqrt{v^2 - \mu \kappa / 2}}{2 \mu}, \qquad
            \lambda = \frac{v}{2 s^2} - \frac{\mu}{s}, \qquad k = \frac{\mu}{s} - \lambda

        The third moment of such distributions lies between :math:`\tfrac32 v^2 / \mu` (no degree
        of freedom) and :math:`2 v^2 / \mu` (central). Above, the central one with the same mean
        and variance is taken; below one degree of freedom, the one with k = 1, or, where the
        variance is too large for that, the central one.

        Args:
            mean: positive.
            variance: positive.
            third: third central moment.

        Returns:
            The distribution; mean and variance are always those given.

        Raises:
            InputError: mean or variance not positive.

        >>> fitted = ScaledNoncentralChi2.of_moments(16.0, 88.0, 896.0)
        >>> fitted.df, fitted.nc, fitted.scale
        (5.0, 3.0, 2.0)
        """
        check_range("mean", mean, 0.0, open_low=True)
        check_range("variance", variance, 0.0, open_low=True)
        check_range("third", third)
        inside = variance**2 - mean * third / 2.0
        if inside > 0.0:
            scale = (variance - np.sqrt(inside)) / (2.0 * mean)
            if scale > 0.0:
                nc = variance / (2.0 * scale**2) - mean / scale
                df = mean / scale - nc
                if df >= 1.0 and nc >= 0.0:
                    return cls(float(df), float(nc), float(scale))
            spread = mean**2 - variance / 2.0
            if spread > 0.0:
                scale = variance / 2.0 / (mean + np.sqrt(spread))
                nc = mean / scale - 1.0
                if nc >= 0.0:
                    return cls(1.0, float(nc), float(scale))
        return cls(2.0 * mean**2 / variance, 0.0, variance / (2.0 * mean))

    @classmethod
    def fit(
        cls, values: ArrayLike, method: Literal["moments", "mle"] = "moments"
    ) -> "ScaledNoncentralChi2":
        """Fit to a sample: by its moments, or by maximum likelihood starting from them.

        Args:
            values: positive finite numbers that are not all equal, shape [S].
            method: "moments" (instant) or "mle" (seconds for 10,000 values).

        Returns:
            The distribution.

        Raises:
            InputError: fewer than two values, one that is not positive, or all equal.

        >>> sample = np.random.default_rng(0).chisquare(4, 5000) * 0.5
        >>> round(ScaledNoncentralChi2.fit(sample).mean, 1)
        2.0
        """
        check_choice("method", method, ("moments", "mle"))
        sample = positive_sample("values", values)
        rest = sample - sample.mean()
        start = cls.of_moments(
            float(sample.mean()), float((rest**2).mean()), float((rest**3).mean())
        )
        return start if method == "moments" else _likeliest(start, sample)

    def logcdf(self, x: ArrayLike) -> NDArray[np.float64]:
        r"""Logarithm of the probability of at most x, exact however small it is.

        .. math:: F(x) = \sum_{j \ge 0} e^{-\lambda / 2} \frac{(\lambda / 2)^j}{j!}
            P\Bigl( \frac k2 + j, \frac{x}{2 s} \Bigr)

        with P the regularized incomplete gamma function, summed as logarithms.

        Args:
            x: any shape.

        Returns:
            Log-probabilities of that shape; minus infinity for x at most 0.

        >>> two = ScaledNoncentralChi2(2.0, 0.0, 1.0)
        >>> float(two.logcdf(2e-300).round(6)), float(np.log(1e-300).round(6))
        (-690.775528, -690.775528)
        """
        half = np.asarray(x, dtype=np.float64) / (2.0 * self.scale)
        found = np.full(half.shape, -np.inf)
        for place in np.ndindex(half.shape):
            if half[place] > 0.0:
                found[place] = self._log_probability(float(half[place]))
        return found

    def sankaran_logcdf(self, x: ArrayLike) -> NDArray[np.float64]:
        r"""Sankaran's normal approximation of :meth:`logcdf`, good near the centre only.

        .. math:: z = \frac{ (x / s / (k + \lambda))^h - (1 + h p (h - 1 - \tfrac12 (2 - h) q p)) }
            { h \sqrt{2 p} (1 + \tfrac12 q p) }, \qquad \ln F(x) \approx \ln \Phi(z)

        with :math:`h = 1 - \tfrac23 (k + \lambda)(k + 3 \lambda) / (k + 2 \lambda)^2`, :math:`p =
        (k + 2 \lambda) / (k + \lambda)^2`, :math:`q = (h - 1)(1 - 3 h)`. It cannot fall below its
        value at 0, which is why :meth:`logcdf` does not use it.

        Args:
            x: not negative, any shape.

        Returns:
            Approximate log-probabilities of that shape.

        Source: Sankaran 1963; used where the exact one underflows by Boopathy et al. 2024, arXiv
        2406.15941, with :math:`-z^2/2` for :math:`\ln \Phi(z)`.

        >>> wide = ScaledNoncentralChi2(5.0, 3.0, 2.0)
        >>> bool(abs(wide.sankaran_logcdf(8.0) - wide.logcdf(8.0)) < 0.02)
        True
        """
        k, nc = self.df, self.nc
        h = 1.0 - 2.0 / 3.0 * (k + nc) * (k + 3.0 * nc) / (k + 2.0 * nc) ** 2
        p = (k + 2.0 * nc) / (k + nc) ** 2
        q = (h - 1.0) * (1.0 - 3.0 * h)
        relative = np.asarray(x, dtype=np.float64) / self.mean
        centre = 1.0 + h * p * (h - 1.0 - 0.5 * (2.0 - h) * q * p)
        z = (relative**h - centre) / (h * np.sqrt(2.0 * p) * (1.0 + 0.5 * q * p))
        return np.asarray(special.log_ndtr(z), dtype=np.float64)

    def _log_probability(self, half: float) -> float:
        """Log-sum of the mixture, from its largest term outwards."""
        a, rate = self.df / 2.0, self.nc / 2.0
        if rate == 0.0:
            return float(_log_gamma_share(np.array([a]), half)[0])
        # Terms are log-concave in j; far in the tail they peak where j (j + a) = rate * half.
        peak = min(rate, 2.0 * rate * half / (a + np.sqrt(a**2 + 4.0 * rate * half)))
        total = largest = -np.inf
        for step in (1, -1):
            start = int(peak) + (step > 0)
            while start >= 0:
                index = np.arange(start, start + step * _TERMS, step)
                index = index[index >= 0].astype(np.float64)
                terms = index * np.log(rate) - rate - special.gammaln(index + 1.0)
                terms = terms + _log_gamma_share(np.asarray(a + index, dtype=np.float64), half)
                total = float(np.logaddexp(total, special.logsumexp(terms)))
                largest = max(largest, float(terms.max()))
                if terms[-1] < largest - _NEGLIGIBLE and terms[-1] <= terms[0]:
                    break
                start += step * _TERMS
        return min(total, 0.0)


def positive_sample(name: str, values: ArrayLike) -> NDArray[np.float64]:
    """Check that values are a sample of a positive quantity that varies.

    Raises:
        InputError: fewer than two, not finite, not positive, or all equal.

    >>> positive_sample("losses", [1.0, 2.0]).tolist()
    [1.0, 2.0]
    """
    sample: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or len(sample) < 2:
        raise InputError(
            f"{name}: expected at least two numbers, [S], got shape {list(sample.shape)}"
        )
    check_finite(name, sample)
    if sample.min() <= 0.0:
        row = int(sample.argmin())
        raise InputError(f"{name}: expected positive numbers, got {sample[row]} at row {row}")
    if sample.min() == sample.max():
        raise InputError(f"{name}: expected numbers that differ, got {sample[0]} throughout")
    return sample


def _log_gamma_share(a: NDArray[np.float64], x: float) -> NDArray[np.float64]:
    """Log of the regularized lower incomplete gamma function P(a, x), x above 0."""
    share = special.gammainc(a, x)
    found: NDArray[np.float64] = np.log(np.maximum(share, _UNDERFLOW))
    small = share < _UNDERFLOW
    if small.any():
        shape = a[small]
        term, total, count = np.ones(len(shape)), np.ones(len(shape)), 0
        while (term > 1e-17 * total).any():
            count += 1
            term = term * x / (shape + count)
            total += term
        found[small] = shape * np.log(x) - x - special.gammaln(shape + 1.0) + np.log(total)
    return found


def _likeliest(start: ScaledNoncentralChi2, sample: NDArray[np.float64]) -> ScaledNoncentralChi2:
    """Climb the likelihood from a start, over logarithms of the parameters."""
    from scipy import optimize, stats

    def distribution(logs: Any) -> ScaledNoncentralChi2:
        df, nc, scale = np.exp(np.clip(logs, -40.0, 40.0))
        return ScaledNoncentralChi2(float(df), float(nc), float(scale))

    def cost(logs: Any) -> float:
        one = distribution(logs)
        with np.errstate(all="ignore"):
            value = -float(
                stats.ncx2.logpdf(sample / one.scale, one.df, one.nc).mean() - np.log(one.scale)
            )
        return value if np.isfinite(value) else 1e300

    first = np.log([start.df, max(start.nc, 0.1), start.scale])
    best = optimize.minimize(cost, first, method="Nelder-Mead", options={"maxiter": 400})
    return distribution(best.x) if best.fun < cost(first) else start
