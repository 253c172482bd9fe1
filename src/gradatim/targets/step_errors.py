"""Wrong steps made on purpose in right solutions."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError

S = TypeVar("S")


def corrupt_steps(
    solution: Sequence[S],
    wrong_steps: int,
    error_model: Callable[[S, torch.Generator | None], S],
    *,
    follow: Callable[[S, S], S] | None = None,
    accept: Callable[[list[S]], bool] | None = None,
    tries: int = 100,
    generator: torch.Generator | None = None,
) -> list[S]:
    """Make some steps of a solution wrong, at random places, all equally likely.

    With ``follow`` the errors propagate: a step behind a wrong one is done anew from what is
    written before it, and, where it is chosen itself, made wrong after that. So the steps that do
    not follow are exactly the chosen ones, while later results are off as well.

    Args:
        solution: its steps.
        wrong_steps: how many of them.
        error_model: from a right step to a wrong one; what it draws, it draws from the generator.
        follow: does a step anew behind another one; None leaves later steps as they are.
        accept: whether a corrupted solution will do, such as one whose answer is wrong: two errors
            can cancel. None accepts all.
        tries: how often to draw until one is accepted.
        generator: CPU generator; None draws from torch's global one.

    Returns:
        The steps; with no wrong steps those of the solution.

    Raises:
        InputError: more wrong steps than there are, or none of the draws is accepted.

    Source: He et al. 2024, arXiv 2410.20533, section 3 (there a language model writes them).

    >>> def up(step, generator):
    ...     return step + 10
    >>> corrupt_steps([1, 2, 3], 3, up)
    [11, 12, 13]
    >>> def count(step, before):
    ...     return before + 1
    >>> corrupt_steps([1, 2, 3], 1, up, follow=count, accept=lambda steps: steps[0] > 9)
    [11, 12, 13]
    """
    check_range("wrong_steps", wrong_steps, 0, len(solution))
    check_range("tries", tries, 1)
    for _ in range(tries):
        order = torch.randperm(len(solution), generator=generator).tolist()
        found = _corrupted(solution, frozenset(order[:wrong_steps]), error_model, follow, generator)
        if accept is None or accept(found):
            return found
    raise InputError(
        f"accept: expected one of {tries} draws with {wrong_steps} wrong steps of "
        f"{len(solution)} to be accepted, got none"
    )


def _corrupted(
    solution: Sequence[S],
    chosen: frozenset[int],
    error_model: Callable[[S, torch.Generator | None], S],
    follow: Callable[[S, S], S] | None,
    generator: torch.Generator | None,
) -> list[S]:
    """The solution with wrong steps at the chosen places."""
    found: list[S] = []
    first = min(chosen, default=len(solution))
    for place, step in enumerate(solution):
        if follow is not None and place > first:
            step = follow(step, found[-1])
        found.append(error_model(step, generator) if place in chosen else step)
    return found
