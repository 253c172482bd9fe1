"""Which steps of a solution are right, by one of two definitions."""

import operator
from collections.abc import Callable, Sequence
from typing import TypeVar

from gradatim.core.checks import check_choice
from gradatim.core.errors import InputError

S = TypeVar("S")


def check_steps(
    solution: Sequence[S],
    *,
    follows: Callable[[S | None, S], bool] | None = None,
    reference: Sequence[S] | None = None,
    definition: str = "local",
    same: Callable[[S, S], bool] = operator.eq,
) -> list[bool]:
    """Judge each step of a solution.

    By the local definition a step is right if it follows from what is written before it; by the
    global one, if it is that of the reference at its place. After a single slip that is then
    computed with, the local one finds one wrong step, and the global one all from there on.

    Args:
        solution: its steps.
        follows: whether a step follows from the one before it, which is None for the first; for
            "local".
        reference: the steps of a right solution; for "global". Steps beyond its end are wrong.
        definition: "local" or "global".
        same: whether two steps are one; for "global".

    Returns:
        Whether each step is right.

    Raises:
        InputError: an unknown definition, or what it needs is missing.

    Source: the two readings of the step-wise error rate of He et al. 2024, arXiv 2410.20533.

    >>> steps = [2, 5, 6]  # should count up by one from 2
    >>> check_steps(steps, follows=lambda before, step: step == (before or 1) + 1)
    [True, False, True]
    >>> check_steps(steps, reference=[2, 3, 4], definition="global")
    [True, False, False]
    """
    check_choice("definition", definition, ("local", "global"))
    if definition == "local":
        if follows is None:
            raise InputError("follows: expected a function for the local definition, got None")
        before: list[S | None] = [None, *solution]
        return [bool(follows(one, step)) for one, step in zip(before, solution, strict=False)]
    if reference is None:
        raise InputError("reference: expected a right solution for the global definition, got None")
    judged = [bool(same(step, right)) for step, right in zip(solution, reference, strict=False)]
    return judged + [False] * (len(solution) - len(judged))
