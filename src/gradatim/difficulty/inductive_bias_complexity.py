"""Inductive bias complexity: the bits a learner of any kind must bring beyond its training data."""

import math
import warnings
from dataclasses import dataclass

from scipy.special import gammaln

from gradatim.core.checks import check_range

_LARGEST = 1023.0
"""Bits up to two to this power fit a float; beyond it only their logarithm does."""


@dataclass(frozen=True)
class InductiveBias:
    """A complexity, and what it is made of.

    Attributes:
        log2_bits: its logarithm to base 2; NaN where the bound says nothing.
        log2_parameters: of the dimensions of the space of hypotheses that fit the training data.
        bits_each: how many bits each of these dimensions must be told to.
        degree: highest degree of the eigenfunctions that hypotheses are made of.
    """

    log2_bits: float
    log2_parameters: float
    bits_each: float
    degree: float

    @classmethod
    def of(
        cls, hypotheses: float, fitted: float, bits_each: float, degree: float
    ) -> "InductiveBias":
        """Multiply free parameters by the bits of each.

        Args:
            hypotheses: parameters, as a logarithm to base 2.
            fitted: how many of them the training data fix, as a logarithm to base 2.
            bits_each: bits of each.
            degree: highest degree of the eigenfunctions.

        Returns:
            The complexity; NaN, with a warning, where there is no free parameter or no bit.

        >>> InductiveBias.of(4.0, 3.0, 2.0, 1.0).bits
        16.0
        """
        if hypotheses <= fitted or bits_each <= 0.0:
            many = hypotheses > fitted
            why = "alone reach the error" if many else "fix every parameter"
            warnings.warn(
                f"the bound on inductive bias says nothing here: the training data {why}",
                RuntimeWarning,
                stacklevel=3,
            )
            return cls(math.nan, math.nan, bits_each, degree)
        free = hypotheses + math.log2(-math.expm1((fitted - hypotheses) * math.log(2.0)))
        return cls(free + math.log2(bits_each), free, bits_each, degree)

    @property
    def bits(self) -> float:
        """The complexity in bits; infinity beyond what a float can hold."""
        return math.inf if self.log2_bits > _LARGEST else 2.0**self.log2_bits

    @property
    def log10_bits(self) -> float:
        """Logarithm of the bits to base 10."""
        return self.log2_bits * math.log10(2.0)


def harmonic_degree(dimension: float, frequency: float) -> float:
    r"""Highest degree of the spherical harmonics up to a frequency on the unit sphere.

    .. math:: K = \tfrac12 \Bigl( \sqrt{(m - 1)^2 + 4 M^2} - (m - 1) \Bigr), \qquad
        K (K + m - 1) = M^2

    Args:
        dimension: m, of the sphere, above 0.
        frequency: M, at least 0; its square is the largest eigenvalue of the Laplacian.

    Returns:
        K, not rounded.

    Raises:
        InputError: a number out of range.

    Source: Boopathy et al. 2023, arXiv 2305.01034, and its code.

    >>> harmonic_degree(1, 5)
    5.0
    """
    check_range("dimension", dimension, 0.0, open_low=True)
    check_range("frequency", frequency, 0.0)
    less = dimension - 1.0
    root = math.hypot(less, 2.0 * frequency)
    if less <= 0.0:
        return (root - less) / 2.0
    return 2.0 * frequency * (frequency / (root + less))


def log2_harmonic_count(dimension: float, frequency: float) -> float:
    r"""Number of spherical harmonics up to a frequency, as a logarithm to base 2.

    .. math:: E = \binom{m + K}{m} + \binom{m + K - 1}{m}

    Args:
        dimension: m, of the sphere; need not be whole.
        frequency: M.

    Returns:
        :math:`\log_2 E`.

    Raises:
        InputError: a number out of range.

    Source: Boopathy et al. 2023, arXiv 2305.01034, and its code.

    >>> round(2 ** log2_harmonic_count(1, 5))
    11
    """
    degree = harmonic_degree(dimension, frequency)
    first = _log_binomial(dimension + degree, dimension)
    share = degree / (dimension + degree) if degree else 0.0  # the second binomial by the first
    return (first + math.log1p(share)) / math.log(2.0)


def inductive_bias_complexity(
    *,
    error: float,
    n: float,
    dimension: float,
    radius: float,
    resolution: float,
    outputs: float,
    combinations: float = 1.0,
    bound: float = 1.0,
) -> InductiveBias:
    r"""Bits of inductive bias that a task demands of a learner of any kind.

    Hypotheses are functions on d spheres of m dimensions and radius R, made of spherical harmonics
    fine enough for details of size :math:`\delta`. The measure is an upper bound of minus the
    logarithm of the share, among those that fit n training examples, that generalize with error
    :math:`\varepsilon`:

    .. math:: I = (2 D d E - n D) \bigl( \log_2 B + \tfrac12 \log_2 (D d) - \log_2 \varepsilon
        + \log_2 L_f + \log_2 W \bigr), \qquad L_f = K \sqrt D / R

    .. math:: \ln W = \tfrac12 \ln \tfrac m6 + \tfrac1m \Bigl( \ln 2 + \tfrac{m + 1}{2} \ln \pi
        + \ln d - \ln \Gamma \bigl( \tfrac{m + 1}{2} \bigr) - \ln n \Bigr) + \ln R

    with K and E those of :func:`harmonic_degree` and :func:`log2_harmonic_count` at the frequency
    :math:`M = 2 \pi R / \delta`. It grows exponentially with m, and like a polynomial of degree m
    with :math:`1 / \delta`; it falls with n and with the error that is allowed. Use it to put
    tasks in order, not as the bits that some network needs.

    Args:
        error: loss that is tolerated, by the loss's Lipschitz constant; above 0.
        n: training examples, above 0.
        dimension: m, intrinsic dimension of the inputs; need not be whole.
        radius: R, largest norm of an input.
        resolution: the distance within which the target may have to change.
        outputs: D, numbers that are predicted.
        combinations: d, product of the numbers of values of discrete factors, such as the class.
        bound: B, largest size of a prediction.

    Returns:
        The complexity, with its parts. Where there are as many constraints as parameters, or each
        parameter needs no bits, the bound says nothing: it is NaN then, with a warning.

    Raises:
        InputError: a number out of range (its name is told).

    Source: Boopathy et al. 2023, arXiv 2305.01034.

    >>> circle = dict(error=0.1, n=200, radius=1.0, resolution=0.1, outputs=1, combinations=2)
    >>> round(inductive_bias_complexity(dimension=1, **circle).bits)
    1383
    """
    given = {
        "error": error,
        "n": n,
        "dimension": dimension,
        "radius": radius,
        "resolution": resolution,
        "outputs": outputs,
        "combinations": combinations,
        "bound": bound,
    }
    for name, value in given.items():
        check_range(name, value, 0.0, open_low=True)
    return complexity_from_logarithms(
        error=error,
        n=n,
        dimension=dimension,
        radius=radius,
        resolution=resolution,
        log2_outputs=math.log2(outputs),
        log2_combinations=math.log2(combinations),
        log2_bound=math.log2(bound),
    )


def complexity_from_logarithms(
    *,
    error: float,
    n: float,
    dimension: float,
    radius: float,
    resolution: float,
    log2_outputs: float,
    log2_combinations: float = 0.0,
    log2_bound: float = 0.0,
) -> InductiveBias:
    """As :func:`inductive_bias_complexity`, for outputs beyond what a float can hold.

    Args:
        error: loss that is tolerated.
        n: training examples.
        dimension: intrinsic dimension of the inputs.
        radius: largest norm of an input.
        resolution: the distance within which the target may have to change.
        log2_outputs: numbers that are predicted, as a logarithm to base 2.
        log2_combinations: values of discrete factors, likewise.
        log2_bound: largest size of a prediction, likewise.

    Returns:
        The complexity.

    >>> task = dict(error=0.1, n=200, dimension=2.0, radius=1.0, resolution=0.1)
    >>> complexity_from_logarithms(**task, log2_outputs=3.0) == inductive_bias_complexity(
    ...     **task, outputs=8)
    True
    """
    frequency = 2.0 * math.pi * (radius / resolution)
    degree = harmonic_degree(dimension, frequency)
    hypotheses = 1.0 + log2_outputs + log2_combinations + log2_harmonic_count(dimension, frequency)
    lipschitz = math.log2(degree) + 0.5 * log2_outputs - math.log2(radius)
    wasserstein = log_wasserstein(n, dimension, radius, log2_combinations * math.log(2.0))
    bits_each = (
        log2_bound
        + 0.5 * (log2_outputs + log2_combinations)
        - math.log2(error)
        + lipschitz
        + wasserstein / math.log(2.0)
    )
    return InductiveBias.of(hypotheses, math.log2(n) + log2_outputs, bits_each, degree)


def log_wasserstein(
    n: float, dimension: float, radius: float, log_combinations: float = 0.0
) -> float:
    r"""Natural logarithm of the bound on the distance from test points to n training points.

    The equation is that of W in :func:`inductive_bias_complexity`, with :math:`\ln d` given.

    Source: Boopathy et al. 2023, arXiv 2305.01034.

    >>> log_wasserstein(800, 3, 1.0) < log_wasserstein(100, 3, 1.0)
    True
    """
    m = dimension
    area = math.log(2.0) + 0.5 * (m + 1.0) * math.log(math.pi) - float(gammaln(0.5 * (m + 1.0)))
    return 0.5 * math.log(m / 6.0) + (area + log_combinations - math.log(n)) / m + math.log(radius)


def _log_binomial(n: float, k: float) -> float:
    return float(gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0))
