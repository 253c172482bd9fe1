"""Test losses of all functions of a Gaussian process that fit the training data."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, optimize, special

from gradatim.core.checks import check_finite, check_range
from gradatim.core.errors import InputError
from gradatim.core.seeds import numpy_generator
from gradatim.difficulty.points import as_points

Matrix = NDArray[np.float64]
Kernel = Callable[[Matrix, Matrix], Matrix]
"""From points [A, F] and [B, F] to their covariances [A, B]."""

_DRAWN = 1 << 23  # normal numbers drawn at a time
_CENTRE = 1e-3  # closer to the mean than this, in deviations, the saddlepoint is at a pole


def rbf_kernel(length_scale: float, amplitude: float = 1.0) -> Kernel:
    r"""The squared-exponential kernel.

    .. math:: k(a, b) = A^2 \exp \Bigl( - \frac{\lVert a - b \rVert^2}{2 \sigma^2} \Bigr)

    Args:
        length_scale: sigma, above 0.
        amplitude: A, the standard deviation of a function's values.

    Raises:
        InputError: a number that is not positive.

    >>> rbf_kernel(1.0)(np.zeros((1, 2)), np.zeros((1, 2))).tolist()
    [[1.0]]
    """
    check_range("length_scale", length_scale, 0.0, open_low=True)
    check_range("amplitude", amplitude, 0.0, open_low=True)

    def kernel(a: Matrix, b: Matrix) -> Matrix:
        return np.asarray(amplitude**2 * np.exp(-squared_distances(a, b) / (2 * length_scale**2)))

    return kernel


def laplace_kernel(length_scale: float, amplitude: float = 1.0) -> Kernel:
    r"""The exponential kernel, whose functions are rough.

    .. math:: k(a, b) = A^2 \exp ( - \lVert a - b \rVert / \sigma )

    Args:
        length_scale: sigma, above 0.
        amplitude: A, the standard deviation of a function's values.

    Raises:
        InputError: a number that is not positive.

    >>> laplace_kernel(1.0, 2.0)(np.zeros((1, 2)), np.zeros((1, 2))).tolist()
    [[4.0]]
    """
    check_range("length_scale", length_scale, 0.0, open_low=True)
    check_range("amplitude", amplitude, 0.0, open_low=True)

    def kernel(a: Matrix, b: Matrix) -> Matrix:
        return np.asarray(amplitude**2 * np.exp(-np.sqrt(squared_distances(a, b)) / length_scale))

    return kernel


def median_distance(X: Any, *, most: int = 1000) -> float:
    """Median distance between different points, the usual length scale of a kernel.

    Args:
        X: points, shape [N, ...].
        most: points looked at, evenly spread over the rows.

    Raises:
        InputError: fewer than two different points.

    >>> median_distance([[0.0], [1.0], [3.0]])
    2.0
    """
    points = as_points("X", X).astype(np.float64)
    some = points[np.unique(np.linspace(0, len(points) - 1, most).astype(int))]
    squares = squared_distances(some, some)[np.triu_indices(len(some), 1)]
    apart = squares[squares > 0.0]
    if not len(apart):
        raise InputError("X: expected at least two different points, got one")
    return float(np.sqrt(np.median(apart)))


def squared_distances(a: Matrix, b: Matrix) -> Matrix:
    """Squared Euclidean distances, shape [A, B].

    >>> squared_distances(np.array([[0.0, 0.0]]), np.array([[3.0, 4.0]])).tolist()
    [[25.0]]
    """
    centre = b.mean(axis=0) if len(b) else 0.0
    first, second = a - centre, b - centre
    product = first @ second.T
    squares = (first**2).sum(1)[:, None] + (second**2).sum(1) - 2.0 * product
    return np.asarray(np.maximum(squares, 0.0))


@dataclass(frozen=True)
class GaussianProcessLosses:
    r"""The distribution of the test loss of functions that fit the training data.

    The mean squared error of a Gaussian function is a quadratic form: with eigenvalues
    :math:`\lambda_i` of its covariance at the test points and :math:`b_{ic}` the error of its mean
    along eigenvector i,

    .. math:: e = \frac{1}{N C} \sum_i \lambda_i \sum_c
        \Bigl( z_{ic} + \frac{b_{ic}}{\sqrt{\lambda_i}} \Bigr)^2, \qquad z_{ic} \sim N(0, 1)

    Attributes:
        weights: :math:`\lambda_i / N C`, shape [r].
        shifts: :math:`\sum_c b_{ic}^2 / \lambda_i`, shape [r].
        outputs: C.
        offset: what the directions without variance add to every loss.
    """

    weights: Matrix
    shifts: Matrix
    outputs: int
    offset: float

    @property
    def mean(self) -> float:
        """Mean of the loss."""
        return self.offset + float(self.weights @ (self.outputs + self.shifts))

    @property
    def variance(self) -> float:
        """Variance of the loss."""
        return 2.0 * float(self.weights**2 @ (self.outputs + 2.0 * self.shifts))

    @property
    def third_moment(self) -> float:
        """Third central moment of the loss."""
        return 8.0 * float(self.weights**3 @ (self.outputs + 3.0 * self.shifts))

    def sample(self, n: int, *, seed: int = 0) -> Matrix:
        """Draw the losses of n functions, shape [n]."""
        check_range("n", n, 1)
        random = numpy_generator(seed, "gaussian process", "losses")
        step = max(1, _DRAWN // max(1, len(self.weights)))
        root = np.sqrt(self.shifts)
        found = []
        for start in range(0, n, step):
            count = min(step, n - start)
            moved = random.standard_normal((count, len(self.weights))) + root
            squares = moved**2
            if self.outputs > 1:
                squares += random.chisquare(self.outputs - 1, squares.shape)
            found.append(squares @ self.weights + self.offset)
        return np.concatenate(found)

    def logcdf(self, error: float) -> float:
        r"""Logarithm of the probability of a loss of at most ``error``, however small it is.

        By the saddlepoint :math:`K'(t) = \varepsilon` of the cumulant generating function K:
        :math:`\ln \Phi(w + \ln(u / w) / w)`, :math:`w = \pm \sqrt{2 (t \varepsilon - K(t))}`,
        :math:`u = t \sqrt{K''(t)}`. Nothing is fitted and nothing drawn; it is within about 0.1
        nats of the exact value, more where many directions add up.

        Args:
            error: the loss.

        Returns:
            The logarithm; minus infinity at or below ``offset``.

        Source: Lugannani and Rice 1980; in this form Barndorff-Nielsen 1986.

        >>> one = GaussianProcessLosses(np.ones(5), np.zeros(5), 2, 0.0)
        >>> bool(abs(one.logcdf(1.0) - np.log(special.gammainc(5, 0.5))) < 0.1)
        True
        """
        target = error - self.offset
        if target <= 0.0:
            return -math.inf
        if not len(self.weights):
            return 0.0
        reach = _CENTRE * math.sqrt(self.variance)
        if abs(error - self.mean) < reach:  # the saddlepoint is at 0 there: a line bridges it
            middle = self.mean - self.offset
            low, high = (self._log_probability(middle + move) for move in (-reach, reach))
            return float(np.interp(target, [middle - reach, middle + reach], [low, high]))
        return self._log_probability(target)

    def _log_probability(self, target: float) -> float:
        t = self._saddle(target)
        u = t * math.sqrt(self._second(t))
        w = math.copysign(math.sqrt(max(0.0, 2.0 * (t * target - self._cumulant(t)))), t)
        return float(special.log_ndtr(w + math.log(u / w) / w))

    def _cumulant(self, t: float) -> float:
        left = 1.0 - 2.0 * self.weights * t
        logs = -0.5 * self.outputs * np.log1p(-2.0 * self.weights * t)
        return float((logs + self.weights * self.shifts * t / left).sum())

    def _first(self, t: float) -> float:
        left = 1.0 - 2.0 * self.weights * t
        return float((self.weights / left * (self.outputs + self.shifts / left)).sum())

    def _second(self, t: float) -> float:
        scaled = self.weights / (1.0 - 2.0 * self.weights * t)
        left = 1.0 - 2.0 * self.weights * t
        return float((2.0 * scaled**2 * (self.outputs + 2.0 * self.shifts / left)).sum())

    def _saddle(self, target: float) -> float:
        """Where the first derivative of the cumulant generating function is the target."""
        largest = 0.5 / float(self.weights.max())
        if target > self._first(0.0):
            high = 0.5 * largest
            while self._first(high) < target:
                high = 0.5 * (high + largest)
            return float(optimize.brentq(lambda t: self._first(t) - target, 0.0, high))
        low = -largest
        while self._first(low) > target:
            low *= 4.0
        return float(
            -math.exp(
                optimize.brentq(
                    lambda logs: self._first(-math.exp(logs)) - target,
                    math.log(-low) - 60.0,
                    math.log(-low),
                    xtol=1e-13,
                )
            )
        )


def gaussian_process_losses(
    X: Any,
    Y: Any,
    X_test: Any,
    Y_test: Any,
    *,
    kernel: Kernel,
    jitter: float = 1e-6,
) -> GaussianProcessLosses:
    r"""The losses of the functions of a Gaussian process that pass through the training data.

    .. math:: m = K_{*X} K_{XX}^{-1} Y, \qquad S = K_{**} - K_{*X} K_{XX}^{-1} K_{X*}, \qquad
        f = m + S^{1/2} z, \qquad e = \frac{1}{N C} \lVert f - Y_* \rVert^2

    Args:
        X: training inputs, shape [n, F]; n may be 0, for functions that fit nothing.
        Y: training targets, shape [n, C] or [n].
        X_test: test inputs, shape [N, F].
        Y_test: test targets, shape [N, C] or [N].
        kernel: covariance of a function's values, as :func:`rbf_kernel`.
        jitter: added to the diagonal, as a share of its mean, so that the system can be solved;
            training data are then fitted up to that variance.

    Returns:
        The distribution of the loss. O(n³ + N³) time: 1,000 + 500 points take 0.1 seconds.

    Raises:
        InputError: shapes that do not fit, or numbers that are not finite.

    Source: Boopathy et al. 2024, arXiv 2406.15941, whose code solves the linear systems by
    gradient descent.

    >>> x = np.linspace(0, 1, 6)[:, None]
    >>> losses = gaussian_process_losses(x[:5], np.sin(x[:5]), x[5:], np.sin(x[5:]),
    ...                                  kernel=rbf_kernel(1.0))
    >>> losses.mean < 1e-3
    True
    """
    check_range("jitter", jitter, 0.0)
    inputs, targets = _pair("X", X, "Y", Y, may_be_empty=True)
    tests, wanted = _pair("X_test", X_test, "Y_test", Y_test)
    for name, one, other in (("X_test", tests, inputs), ("Y_test", wanted, targets)):
        if len(inputs) and one.shape[1] != other.shape[1]:
            raise InputError(
                f"{name}: expected {other.shape[1]} columns as in training, got {one.shape[1]}"
            )
    mean, covariance = np.zeros_like(wanted), kernel(tests, tests)
    if len(inputs):
        own, across = kernel(inputs, inputs), kernel(inputs, tests)
        own[np.diag_indices_from(own)] += jitter * float(np.diag(own).mean())
        try:
            factor = linalg.cholesky(own, lower=True)
        except linalg.LinAlgError as error:
            raise InputError(
                f"jitter: expected enough for the kernel of the training inputs, got {jitter}"
            ) from error
        half = linalg.solve_triangular(factor, across, lower=True)
        mean = half.T @ linalg.solve_triangular(factor, targets, lower=True)
        covariance = covariance - half.T @ half
    values, vectors = linalg.eigh((covariance + covariance.T) / 2.0)
    along = ((vectors.T @ (mean - wanted)) ** 2).sum(axis=1)
    size = wanted.size
    there = values > 1e-12 * max(float(values.max()), 1e-300)
    return GaussianProcessLosses(
        weights=values[there] / size,
        shifts=along[there] / values[there],
        outputs=wanted.shape[1],
        offset=float(along[~there].sum()) / size,
    )


def _pair(
    name: str, X: Any, label: str, Y: Any, *, may_be_empty: bool = False
) -> tuple[Matrix, Matrix]:
    """Inputs and targets as matrices of the same length."""
    if may_be_empty and len(X) == 0 and len(Y) == 0:
        return np.zeros((0, 1)), np.zeros((0, 1))
    points = as_points(name, X).astype(np.float64)
    targets = np.asarray(Y, dtype=np.float64)
    targets = targets[:, None] if targets.ndim == 1 else targets
    if targets.ndim != 2 or len(targets) != len(points):
        raise InputError(f"{label}: expected shape [{len(points)}, C], got {list(np.shape(Y))}")
    check_finite(label, targets)
    return points, targets
