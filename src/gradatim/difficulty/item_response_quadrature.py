"""Nodes over ability: how many, where, and with what weights."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import roots_hermitenorm

from gradatim.core.checks import check_choice, check_range

REACH = 5.0
"""Equally spaced nodes lie within so many deviations of the population's mean."""

MOST_NODES = 256


@dataclass(frozen=True)
class Quadrature:
    """Nodes of the standard normal distribution.

    Attributes:
        nodes: ability in deviations, ascending, shape [Q].
        log_weights: their logarithmic probabilities, shape [Q].
    """

    nodes: torch.Tensor
    log_weights: torch.Tensor

    @property
    def spacing(self) -> float:
        """Distance of the two nodes in the middle."""
        middle = len(self.nodes) // 2
        return float(self.nodes[middle] - self.nodes[middle - 1])


def quadrature(count: int, kind: str = "equal") -> Quadrature:
    """Nodes and weights of the standard normal distribution.

    Args:
        count: Q, at least 3.
        kind: "equal" for equally spaced nodes within 5 deviations, whose error falls fastest
            where posteriors are narrow, or "gauss-hermite".

    Raises:
        InputError: another kind, or too few nodes.

    >>> rule = quadrature(41, "gauss-hermite")
    >>> round(float((rule.log_weights.exp() * rule.nodes**4).sum()), 9)
    3.0
    """
    check_choice("quadrature", kind, ("equal", "gauss-hermite"))
    check_range("nodes", count, 3)
    if kind == "equal":
        nodes = np.linspace(-REACH, REACH, count)
        log_weights = -0.5 * nodes**2
    else:
        nodes, weights = roots_hermitenorm(count)
        log_weights = np.log(np.maximum(weights, 1e-300))
    log_weights = log_weights - np.logaddexp.reduce(log_weights)
    return Quadrature(torch.from_numpy(nodes), torch.from_numpy(log_weights))


def enough_nodes(responses: float, information: float = 0.15) -> int:
    """Equally spaced nodes that resolve the posterior of a subject with so many responses.

    A posterior of deviation s needs a spacing of 1.5 s for a relative error of its normal integral
    below 0.001.

    Args:
        responses: of a subject.
        information: of one of them about ability in deviations of the population.

    Returns:
        How many, 48 to 256.

    >>> enough_nodes(20), enough_nodes(1000)
    (48, 96)
    """
    deviation = 1 / math.sqrt(1 + information * responses)
    count = 2 * REACH / (1.5 * deviation) + 1
    return min(MOST_NODES, max(48, 16 * math.ceil(count / 16)))  # a vector register holds 16
