"""Intrinsic dimension: along how many directions data vary, from distances to neighbours."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse, special

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError
from gradatim.core.search import top_k
from gradatim.core.seeds import numpy_generator
from gradatim.difficulty.points import as_points, distinct_rows, power_of_two

if TYPE_CHECKING:
    import pandas as pd

KS = (3, 5, 10, 20)
FRACTIONS = (0.25, 0.5, 1.0)


@dataclass(frozen=True)
class DimensionEstimate:
    """An intrinsic dimension with the interval that the choice of query points leaves.

    Attributes:
        estimate: the dimension.
        low: lower bound.
        high: upper bound; infinite if the query points are too few to tell.
        k: how many neighbours were looked at.
        n_points: different points among which neighbours were sought.
        n_queries: points whose neighbours were sought.
        ties: share of the neighbours that are as far as the next one. Whole numbers and categories
            make ties, and ties make the estimate too high.
    """

    estimate: float
    low: float
    high: float
    k: int
    n_points: int
    n_queries: int
    ties: float


@dataclass(frozen=True)
class DimensionSensitivity:
    """How an intrinsic dimension changes with the number of neighbours and with the sample.

    Attributes:
        estimates: one for each sample size and k.
    """

    estimates: tuple[DimensionEstimate, ...]

    @property
    def low(self) -> float:
        """The smallest estimate."""
        return min(one.estimate for one in self.estimates)

    @property
    def high(self) -> float:
        """The largest estimate."""
        return max(one.estimate for one in self.estimates)

    def at(self, k: int) -> DimensionEstimate:
        """The estimate for k neighbours in the largest sample.

        Raises:
            InputError: there is none for this k.
        """
        found = [one for one in self.estimates if one.k == k]
        if not found:
            known = sorted({one.k for one in self.estimates})
            raise InputError(f"k: expected one of {known}, got {k}")
        return max(found, key=lambda one: one.n_points)

    def table(self) -> "pd.DataFrame":
        """A row for each sample size and k: points, k, dimension, low, high, ties."""
        import pandas as pd

        rows = [
            (one.n_points, one.k, one.estimate, one.low, one.high, one.ties)
            for one in self.estimates
        ]
        return pd.DataFrame(rows, columns=["points", "k", "dimension", "low", "high", "ties"])


def intrinsic_dimension(
    X: Any, *, k: int = 5, n_queries: int = 10_000, confidence: float = 0.95, seed: int = 0
) -> DimensionEstimate:
    r"""Maximum-likelihood estimate of the dimension of the manifold that points lie on.

    .. math:: \hat m = \Bigl[ \frac{1}{Q (k - 1)} \sum_{i=1}^{Q} \sum_{j=1}^{k-1}
        \ln \frac{T_k(x_i)}{T_j(x_i)} \Bigr]^{-1}

    with :math:`T_j(x)` the distance to the j-th neighbour. It changes neither with the scale nor
    under rotations. Equal rows count once. The interval is that of the mean of Q terms, of which
    those of points that are neighbours of each other depend on each other; it does not hold the
    bias of the estimator, which is too low where the dimension is large and points are few
    (uniform in a cube of 10 dimensions, 1,000 points: 8.3): see :func:`dimension_sensitivity`.

    Args:
        X: features, an array, tensor or data frame of numbers, shape [N, ...].
        k: how many neighbours, at least 2.
        n_queries: points whose neighbours are sought, at most; the neighbours come from all.
        confidence: probability that the interval covers the estimator's mean.
        seed: what the choice of query points depends on.

    Returns:
        The estimate. Neighbours are found exactly, in O(Q N F) time.

    Raises:
        InputError: fewer than k + 1 different rows, neighbours that are all equally far, or a
            number that is not finite.

    Source: Levina and Bickel 2004; averaged as by MacKay and Ghahramani 2005; used by Boopathy
    et al. 2023, arXiv 2305.01034.

    >>> angle = np.random.default_rng(0).uniform(0, 6.28, 500)
    >>> circle = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    >>> round(intrinsic_dimension(circle, k=20).estimate, 1)
    1.0
    """
    neighbours = _Neighbours.of(X, k, n_queries, seed)
    return neighbours.dimension(k, confidence)


def local_dimension(X: Any, *, k: int = 20) -> NDArray[np.float64]:
    r"""Dimension of the neighbourhood of each point, without bias for uniform neighbourhoods.

    .. math:: \hat m_i = \Bigl[ \frac{1}{k - 2} \sum_{j=1}^{k-1}
        \ln \frac{T_k(x_i)}{T_j(x_i)} \Bigr]^{-1}

    As a score of difficulty: an example in whose surroundings more directions vary is harder to
    predict from its neighbours. A single value has a standard deviation of about
    :math:`m / \sqrt{k - 3}`.

    Args:
        X: features, shape [N, ...].
        k: how many neighbours, at least 3.

    Returns:
        The dimension at each row, shape [N]; equal rows have the same, and one whose neighbours
        are all equally far has infinity.

    Raises:
        InputError: fewer than k + 1 different rows, or a number that is not finite.

    Source: Levina and Bickel 2004.

    >>> line = np.stack([np.arange(100.0) ** 1.1, np.zeros(100)], axis=1)
    >>> bool(abs(np.median(local_dimension(line, k=20)) - 1) < 0.2)
    True
    """
    check_range("k", k, 3)
    points = as_points("X", X)
    found = _Neighbours.of(points, k, len(points), 0)
    sums = found.log_ratios(k) * (k - 1)
    per_point = np.divide(k - 2.0, sums, out=np.full(len(sums), np.inf), where=sums > 0)
    return np.asarray(per_point[distinct_rows(points).place])


def dimension_sensitivity(
    X: Any,
    *,
    ks: Sequence[int] = KS,
    fractions: Sequence[float] = FRACTIONS,
    n_queries: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> DimensionSensitivity:
    """Estimate the intrinsic dimension for several numbers of neighbours and sample sizes.

    A dimension that keeps rising with the sample, or that falls much with k, is not settled: few
    points in many dimensions, noise around a manifold, or a manifold that bends.

    Args:
        X: features, shape [N, ...].
        ks: numbers of neighbours; those that the smallest sample cannot give are left out there.
        fractions: shares of the different rows, in (0, 1]; nested random samples.
        n_queries: points whose neighbours are sought, at most, in each sample.
        confidence: of the intervals.
        seed: what samples and query points depend on.

    Returns:
        The estimates, by rising sample size and k.

    Raises:
        InputError: no k or fraction, one out of range, or as :func:`intrinsic_dimension`.

    >>> X = np.random.default_rng(0).random((400, 2))
    >>> dimension_sensitivity(X, ks=(5, 10), fractions=(0.5, 1.0)).table()["points"].tolist()
    [200, 200, 400, 400]
    """
    for name, given in (("ks", ks), ("fractions", fractions)):
        if not len(given):
            raise InputError(f"{name}: expected at least one number, got none")
    for k in ks:
        check_range("ks", k, 2)
    for fraction in fractions:
        check_range("fractions", fraction, 0.0, 1.0, open_low=True)
    points = as_points("X", X)
    points = points[distinct_rows(points).first]
    if len(points) <= min(ks):
        raise _too_few(len(points), min(ks))
    order = numpy_generator(seed, "dimension", "sample").permutation(len(points))
    found = []
    for fraction in sorted(fractions):
        part = points[np.sort(order[: max(min(ks) + 1, round(fraction * len(points)))])]
        usable = sorted({k for k in ks if k < len(part)})
        neighbours = _Neighbours.of(part, usable[-1], n_queries, seed)
        found += [neighbours.dimension(k, confidence) for k in usable]
    return DimensionSensitivity(tuple(found))


@dataclass(frozen=True)
class _Neighbours:
    """Distances from query points to their neighbours among different points, nearest first."""

    queries: NDArray[np.int64]  # positions among the different points, [Q]
    log_distance: NDArray[np.float64]  # [Q, k]
    index: NDArray[np.int64]  # [Q, k]
    n_points: int

    @classmethod
    def of(cls, X: Any, k: int, n_queries: int, seed: int) -> "_Neighbours":
        check_range("k", k, 2)
        check_range("n_queries", n_queries, 2)
        points = as_points("X", X)
        points = points[distinct_rows(points).first]
        if len(points) <= k:
            raise _too_few(len(points), k)
        queries = np.arange(len(points))
        if n_queries < len(points):
            random = numpy_generator(seed, "dimension", "queries")
            queries = np.sort(random.choice(len(points), n_queries, replace=False))
        scaled = torch.from_numpy(points / points.dtype.type(power_of_two(points)))
        own = torch.from_numpy(queries)
        best = top_k(scaled[own], scaled, k, metric="l2", exclude=own[:, None])
        tiny = float(torch.finfo(torch.float32).tiny)  # rows that differ have no distance of 0
        squared = np.maximum(-best.scores.numpy().astype(np.float64), tiny)
        return cls(queries, 0.5 * np.log(squared), best.index.numpy(), len(points))

    def log_ratios(self, k: int) -> NDArray[np.float64]:
        """Of each query, the mean of ln(T_k / T_j) over j < k, shape [Q]."""
        means: NDArray[np.float64] = (
            self.log_distance[:, k - 1 : k] - self.log_distance[:, : k - 1]
        ).mean(axis=1)
        return means

    def dimension(self, k: int, confidence: float) -> DimensionEstimate:
        """The inverse of the mean log ratio, with the interval of that mean inverted."""
        check_range("confidence", confidence, 0.0, 1.0, open_low=True, open_high=True)
        values = self.log_ratios(k)
        mean = float(values.mean())
        if mean <= 0.0:
            raise InputError(
                f"X: expected neighbours at different distances, got the {k} nearest of every "
                "point equally far, as on a grid"
            )
        freedom = max(1, len(values) - 1)
        half = float(special.stdtrit(freedom, 0.5 + confidence / 2.0)) * self._error(values, k)
        return DimensionEstimate(
            estimate=1.0 / mean,
            low=1.0 / (mean + half),
            high=1.0 / (mean - half) if mean > half else math.inf,
            k=k,
            n_points=self.n_points,
            n_queries=len(self.queries),
            ties=float((np.diff(self.log_distance[:, :k], axis=1) == 0.0).mean()),
        )

    def _error(self, values: NDArray[np.float64], k: int) -> float:
        """Standard error of the mean, with the covariance of queries that are neighbours."""
        rest = values - values.mean()
        place = np.full(self.n_points, -1)
        place[self.queries] = np.arange(len(self.queries))
        to = place[self.index[:, :k]]
        row, column = np.nonzero(to >= 0)
        shape = (len(values), len(values))
        links = sparse.csr_matrix((np.ones(len(row)), (row, to[row, column])), shape=shape)
        both = links.maximum(links.T)
        alone = float(rest @ rest)
        return math.sqrt(max(alone, alone + float(rest @ (both @ rest)))) / len(values)


def _too_few(rows: int, k: int) -> InputError:
    return InputError(f"X: expected at least {k + 1} different rows for {k} neighbours, got {rows}")
