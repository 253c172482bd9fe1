"""How wrong supervision is: how often solutions end wrong, and how many of their steps are."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradatim.core.errors import InputError


def outcome_error_rate(right: ArrayLike) -> float:
    r"""Share of the solutions whose final answer is wrong.

    .. math:: \epsilon = \frac{1}{N} \sum_i 1[\text{the answer of } i \text{ is wrong}]

    Args:
        right: whether each solution's final answer is right, booleans or 0 and 1, shape [N].

    Returns:
        A number in [0, 1].

    Raises:
        InputError: no solution, or values that are neither 0 nor 1.

    Source: He et al. 2024, arXiv 2410.20533, section 3.

    >>> outcome_error_rate([True, False, False, False])
    0.75
    """
    return float(1.0 - _flags("right", right).mean())


def step_error_rates(steps_right: Sequence[ArrayLike]) -> NDArray[np.float64]:
    """Share of the wrong steps of each solution: how severe its errors are.

    What a wrong step is, is for the check to say (:func:`gradatim.evaluators.step_checks.
    check_steps`): by the local definition a step that follows from a wrong one is right.

    Args:
        steps_right: for each solution whether its steps are right; at least one step each.

    Returns:
        Numbers in [0, 1], higher is worse, shape [N].

    Raises:
        InputError: no solution, one without steps, or values that are neither 0 nor 1.

    >>> step_error_rates([[True, False, True, True], [False]]).tolist()
    [0.25, 1.0]
    """
    if not len(steps_right):
        raise InputError("steps_right: expected at least one solution, got none")
    flags = [_flags(f"steps_right[{row}]", steps) for row, steps in enumerate(steps_right)]
    return np.array([1.0 - one.mean() for one in flags])


def stepwise_error_rate(steps_right: Sequence[ArrayLike]) -> float:
    r"""The mean share of wrong steps over solutions.

    .. math:: \sigma = \frac{1}{N} \sum_i \frac{\text{wrong steps of } i}{\text{steps of } i}

    Args:
        steps_right: as for :func:`step_error_rates`.

    Returns:
        A number in [0, 1].

    Raises:
        InputError: as for :func:`step_error_rates`.

    Source: He et al. 2024, arXiv 2410.20533, section 3.

    >>> stepwise_error_rate([[True, False, True, True], [False]])
    0.625
    """
    return float(step_error_rates(steps_right).mean())


def _flags(name: str, values: ArrayLike) -> NDArray[np.float64]:
    """One row of zeros and ones."""
    found = np.asarray(values)
    if found.ndim != 1 or not found.size:
        raise InputError(f"{name}: expected one row of at least one value, got shape {found.shape}")
    if not np.isin(found, (0, 1)).all():
        raise InputError(
            f"{name}: expected booleans or 0 and 1, got {found[~np.isin(found, (0, 1))][0]}"
        )
    return found.astype(np.float64)
