"""Inductive bias complexity of kinds of tasks: classes, few-shot learners, unions, policies."""

import math
from collections.abc import Mapping

from scipy.special import gammaln

from gradatim.core.checks import check_choice, check_range
from gradatim.difficulty.inductive_bias_complexity import (
    InductiveBias,
    complexity_from_logarithms,
    inductive_bias_complexity,
    log2_harmonic_count,
)

PUBLISHED_TASKS: Mapping[str, Mapping[str, float]] = {
    "MNIST": {
        "n": 60_000,
        "classes": 10,
        "dimension": 14,
        "radius": 17.179046,
        "resolution": 2.3987085,
    },
    "SVHN": {
        "n": 73_257,
        "classes": 10,
        "dimension": 19,
        "radius": 53.869325,
        "resolution": 1.5766998,
    },
    "CIFAR-10": {
        "n": 50_000,
        "classes": 10,
        "dimension": 27,
        "radius": 54.915679,
        "resolution": 2.7506415,
    },
    "ImageNet": {
        "n": 1_280_901,
        "classes": 1000,
        "dimension": 48,
        "radius": 943.5923,
        "resolution": 65.0,
    },
}
"""What the authors measured of well-known data, to be given to :func:`classification_complexity`.

Source: Boopathy et al. 2023, arXiv 2305.01034, and its code.
"""


def published_complexity(name: str, error: float) -> InductiveBias:
    """Complexity of a task whose inputs the authors published.

    Args:
        name: MNIST, SVHN, CIFAR-10 or ImageNet.
        error: error rate that is tolerated. The authors take 0.001 for MNIST, 0.01 for SVHN and
            CIFAR-10, 0.1 for ImageNet.

    Raises:
        InputError: another name.

    >>> [f"{published_complexity(name, 0.01).log10_bits:.1f}" for name in PUBLISHED_TASKS]
    ['16.1', '31.1', '32.5', '41.6']
    """
    check_choice("name", name, PUBLISHED_TASKS)
    return classification_complexity(error=error, **PUBLISHED_TASKS[name])


def classification_complexity(
    *, error: float, n: float, classes: float, dimension: float, radius: float, resolution: float
) -> InductiveBias:
    r"""Complexity of telling C classes apart: :math:`d = C`, :math:`D = C - 1`, :math:`B = 1`.

    Args:
        error: error rate that is tolerated.
        n: training examples.
        classes: C, at least 2.
        dimension: intrinsic dimension of the inputs.
        radius: largest norm of an input.
        resolution: smallest distance between examples of different classes.

    Returns:
        As :func:`inductive_bias_complexity`.

    Source: Boopathy et al. 2023, arXiv 2305.01034.

    >>> round(classification_complexity(error=0.1, n=1_280_901, classes=1000, dimension=48,
    ...                                 radius=943.5923, resolution=65).log10_bits, 2)
    41.55
    """
    check_range("classes", classes, 2)
    return inductive_bias_complexity(
        error=error,
        n=n,
        dimension=dimension,
        radius=radius,
        resolution=resolution,
        outputs=classes - 1,
        combinations=classes,
    )


def meta_learning_complexity(
    *,
    error: float,
    n: float,
    ways: int,
    inner_dimension: float,
    outer_dimension: float,
    radius: float,
    resolution: float,
) -> InductiveBias:
    r"""Complexity of learning to learn classifiers of C classes from one example of each.

    The learner maps C examples to a classifier: inputs of :math:`m_1 + (C - 1) m_0` dimensions and
    radius :math:`R \sqrt C`, and as many outputs as a classifier has parameters,
    :math:`2 C (C - 1) E(m_0, 2 \pi R / \delta)`, with :math:`B = \sqrt{C (C - 1)}`.

    Args:
        error: error rate that is tolerated.
        n: training sets of C examples.
        ways: C, at least 2.
        inner_dimension: m_0, intrinsic dimension of the examples within a task.
        outer_dimension: m_1, intrinsic dimension of the examples across tasks.
        radius: largest norm of an example.
        resolution: smallest distance between examples of different classes.

    Returns:
        As :func:`inductive_bias_complexity`.

    Source: Boopathy et al. 2023, arXiv 2305.01034 (20-way Omniglot).

    >>> meta_learning_complexity(error=0.01, n=1e41, ways=20, inner_dimension=22,
    ...     outer_dimension=29, radius=49.4064, resolution=5.47723).log10_bits > 41.55
    True
    """
    check_range("ways", ways, 2)
    given = {
        "error": error,
        "n": n,
        "inner_dimension": inner_dimension,
        "outer_dimension": outer_dimension,
        "radius": radius,
        "resolution": resolution,
    }
    for name, value in given.items():
        check_range(name, value, 0.0, open_low=True)
    frequency = 2.0 * math.pi * (radius / resolution)
    inner = log2_harmonic_count(inner_dimension, frequency)
    pairs = math.log2(ways) + math.log2(ways - 1)
    return complexity_from_logarithms(
        error=error,
        n=n,
        dimension=outer_dimension + (ways - 1) * inner_dimension,
        radius=radius * math.sqrt(ways),
        resolution=resolution,
        log2_outputs=1.0 + pairs + inner,
        log2_bound=0.5 * pairs,
    )


def union_complexity(
    *,
    error: float,
    n: tuple[float, float],
    classes: tuple[int, int],
    dimension: tuple[float, float],
    radius: tuple[float, float],
    resolution: float,
) -> InductiveBias:
    r"""Complexity of a task whose inputs are pairs: one from each of two tasks.

    .. math:: n = n_1 n_2, \quad m = m_1 + m_2, \quad R = \sqrt{R_1^2 + R_2^2}, \quad
        d = C_1 C_2, \quad D = C_1 - 1

    What is to be told is the class of the first.

    Args:
        error: error rate that is tolerated.
        n: training examples of each task.
        classes: classes of each task.
        dimension: intrinsic dimension of each task's inputs.
        radius: largest norm of an input of each task.
        resolution: of the first task.

    Returns:
        As :func:`inductive_bias_complexity`.

    Source: Boopathy et al. 2023, arXiv 2305.01034; its code has D = C_1 here, which contradicts
    its text.

    >>> alone = dict(n=100, classes=2, dimension=2.0, radius=1.0)
    >>> pair = {name: (value, value) for name, value in alone.items()}
    >>> union_complexity(error=0.1, resolution=0.1, **pair).bits > classification_complexity(
    ...     error=0.1, resolution=0.1, **alone).bits
    True
    """
    for size in classes:
        check_range("classes", size, 2)
    return inductive_bias_complexity(
        error=error,
        n=n[0] * n[1],
        dimension=sum(dimension),
        radius=math.hypot(*radius),
        resolution=resolution,
        outputs=classes[0] - 1,
        combinations=classes[0] * classes[1],
    )


def decision_process_complexity(
    *, error: float, n: float, dimension: float, resolution: float, actions: float = 1.0
) -> InductiveBias:
    r"""Complexity of a policy from continuous observations to continuous actions.

    .. math:: I = D \Bigl( 2 \Bigl( \frac{2 \pi}{\delta} \Bigr)^m \frac{\pi^{m/2}}{\Gamma(m/2 + 1)}
        - n \Bigr) \Bigl( \log_2 \frac{4 \pi^2}{\sqrt 6} + \log_2 D + \tfrac12 \log_2 m
        - \log_2 \delta - \tfrac1m \log_2 n - \log_2 \varepsilon \Bigr)

    Where T observations of two numbers are needed to know the state (T = 1: fully observed),
    :math:`m = 2 T`.

    Args:
        error: distance from the best action that is tolerated.
        n: time steps that were seen.
        dimension: m, of what the policy looks at.
        resolution: change of an observation, in radians, that may ask for another action.
        actions: D, numbers that make an action.

    Returns:
        As :func:`inductive_bias_complexity`; its degree is the largest frequency.

    Raises:
        InputError: a number out of range.

    Source: Boopathy et al. 2023, arXiv 2305.01034 (cart-pole, MuJoCo); its formula for the
    cart-pole is this one with D = 1.

    >>> cart_pole = dict(error=0.001, n=10_000, resolution=0.001)
    >>> [f"{decision_process_complexity(dimension=2 * T, **cart_pole).bits:.2e}" for T in (1, 2)]
    ['4.41e+09', '3.33e+17']
    """
    given = {
        "error": error,
        "n": n,
        "dimension": dimension,
        "resolution": resolution,
        "actions": actions,
    }
    for name, value in given.items():
        check_range(name, value, 0.0, open_low=True)
    m = dimension
    count = math.log2(2.0 * math.pi / resolution) * m + (
        0.5 * m * math.log(math.pi) - float(gammaln(0.5 * m + 1.0))
    ) / math.log(2.0)
    bits_each = (
        math.log2(4.0 * math.pi**2 / math.sqrt(6.0))
        + math.log2(actions)
        + 0.5 * math.log2(m)
        - math.log2(resolution)
        - math.log2(n) / m
        - math.log2(error)
    )
    own = math.log2(actions)
    return InductiveBias.of(
        1.0 + own + count, math.log2(n) + own, bits_each, 2.0 * math.pi / resolution
    )
