"""Fixed points of monotone steps, as those of EM, reached faster by squared extrapolation."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch

Step: TypeAlias = Callable[[torch.Tensor], tuple[torch.Tensor, float]]
"""From a vector to the next one and the objective at the vector it was given."""

LONGEST = 1e3
"""An extrapolation goes so many steps at most."""


@dataclass(frozen=True)
class FixedPoint:
    """Where the steps came to rest.

    Attributes:
        value: the vector, shape [n].
        objective: near it, at the last vector but one.
        steps: how often the step was taken.
        converged: whether it did come to rest, or ``max_iter`` cut it short.
    """

    value: torch.Tensor
    objective: float
    steps: int
    converged: bool


def accelerated(
    step: Step, start: torch.Tensor, *, tol: float = 1e-3, max_iter: int = 500
) -> FixedPoint:
    r"""Repeat a step that never lowers an objective, with extrapolations where they help.

    .. math:: r = F(v) - v, \quad w = F(F(v)) - F(v) - r, \quad
        \alpha = - \max\bigl(1, \lVert r \rVert / \lVert w \rVert\bigr), \quad
        v \leftarrow v - 2 \alpha r + \alpha^2 w

    An extrapolation after which the objective is lower than before it is given up.

    Args:
        step: F, with the objective at its argument.
        start: the first vector, shape [n].
        tol: largest change of an entry by a step that counts as none. Steps end as well when the
            objective has twice in a row gained less than this times 1e-4 of its size: entries that
            still move then do not matter to it.
        max_iter: steps at most.

    Returns:
        The fixed point.

    Source: Varadhan and Roland 2008, Scandinavian Journal of Statistics 35 (SQUAREM, scheme S3).

    >>> found = accelerated(lambda v: (0.9 * v, -float(v @ v)), torch.ones(1), tol=1e-9)
    >>> found.converged, found.steps < 10
    (True, True)
    """
    first, (second, objective) = start, step(start)
    taken, stalled = 1, 0
    while True:
        before = objective
        third, objective = step(second)
        taken += 1
        stalled = stalled + 1 if objective - before < 1e-4 * tol * abs(objective) else 0
        rest = stalled == 2 or float((third - second).abs().max()) < tol
        if rest or taken >= max_iter:
            return FixedPoint(third, objective, taken, rest)
        move = second - first
        turn = third - second - move
        length = min(max(1.0, float(move.norm() / turn.norm().clamp(min=1e-300))), LONGEST)
        jumped = first + 2 * length * move + length**2 * turn
        after, reached = step(jumped)
        taken += 1
        if reached >= objective:
            first, second = jumped, after
        else:
            first = third
            second, _ = step(third)
            taken += 1
