"""Easier tasks inside hard ones: parts of a stepwise solution that stand for themselves."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError

P = TypeVar("P")
S = TypeVar("S")


def contiguous_subtasks(
    problem: P,
    solution: Sequence[S],
    restate: Callable[[P, Sequence[S], int, int], P],
    *,
    shortest: int = 1,
    max_fraction: float = 0.75,
    n_parts: int | None = None,
    generator: torch.Generator | None = None,
) -> list[tuple[P, list[S]]]:
    """Cut a problem with a stepwise solution into smaller ones: windows of consecutive steps.

    Args:
        problem: the hard problem.
        solution: its steps.
        restate: from the problem, its solution, and the first step and the end of a window to a
            problem of its own, with all that is needed to solve it.
        shortest: steps of a subtask at least.
        max_fraction: steps of a subtask at most, as a share of the solution, in (0, 1]: a part that
            is nearly all of the problem is not easier.
        n_parts: how many windows to draw; None takes all, the short ones first.
        generator: CPU generator for that; None draws from torch's global one.

    Returns:
        Problems and the steps that solve them.

    Raises:
        InputError: a number outside its range, or fewer windows than are to be drawn.

    Source: the rules of He et al. 2024, arXiv 2410.20533, section 3 (independent subproblems on
    part of the steps, neither one trivial step nor nearly all); there a language model finds them.

    >>> contiguous_subtasks("1+2+3+4", ["a", "b", "c"], lambda p, s, i, j: f"{p}, {i} to {j}",
    ...     shortest=2)
    [('1+2+3+4, 0 to 2', ['a', 'b']), ('1+2+3+4, 1 to 3', ['b', 'c'])]
    """
    check_range("shortest", shortest, 1)
    check_range("max_fraction", max_fraction, 0, 1, open_low=True)
    count = len(solution)
    longest = int(max_fraction * count + 1e-9)
    windows = [
        (start, start + size)
        for size in range(shortest, longest + 1)
        for start in range(count - size + 1)
    ]
    if n_parts is not None:
        check_range("n_parts", n_parts, 1)
        if n_parts > len(windows):
            raise InputError(
                f"n_parts: expected at most {len(windows)}, the windows of {shortest} to {longest} "
                f"of {count} steps, got {n_parts}"
            )
        order = torch.randperm(len(windows), generator=generator)[:n_parts]
        windows = [windows[place] for place in sorted(order.tolist())]
    return [
        (restate(problem, solution, start, end), list(solution[start:end]))
        for start, end in windows
    ]
