"""Choosing an answer by the scores of those that gave it: most, highest, in sum or on average."""

import math
from collections.abc import Hashable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike

from gradatim.core.checks import check_choice, check_finite, check_same_length
from gradatim.core.errors import InputError

RULES = ("majority", "max", "sum", "avg")

Answer = TypeVar("Answer", bound=Hashable)


def select_by_score(
    answers: Sequence[Answer | None], scores: ArrayLike, *, how: str = "sum"
) -> Answer | None:
    r"""The answer that stands out by its candidates' scores; ties go to the more frequent answer.

    Shares of nine exams that add up to one another are a tie, though their floating-point sums
    differ: figures closer than 1e-9 of the largest score are equal.

    .. math:: \arg\max_a n_a, \quad \arg\max_a \max_{a_k = a} \ell_k, \quad
        \arg\max_a \sum_{a_k = a} \ell_k, \quad \arg\max_a \tfrac{1}{n_a} \sum_{a_k = a} \ell_k

    for "majority", "max", "sum" and "avg".

    Args:
        answers: one answer a candidate, hashable; None is one that could not be read.
        scores: l, finite, shape [K].
        how: the rule.

    Returns:
        The answer; of several that are still equal the one that occurs first; None if all are None
        or there is none.

    Raises:
        InputError: unequal lengths, a score that is not finite, or an unknown rule.

    Source: Ning et al. 2024, arXiv 2406.14629, section 3 (M1), and the authors' code, where full
    ties go to the answer seen last.

    >>> answers, scores = [7, 7, 7, 5], [4, 4, 4, 9]
    >>> [select_by_score(answers, scores, how=rule) for rule in RULES]
    [7, 5, 7, 5]
    """
    check_choice("how", how, RULES)
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1:
        raise InputError(f"scores: expected shape [{len(answers)}], got {list(values.shape)}")
    check_same_length(answers=answers, scores=values)
    check_finite("scores", values)
    largest = float(np.abs(values).max(initial=0.0)) or 1.0
    groups: dict[Answer, list[float]] = {}
    for answer, value in zip(answers, (values / largest).tolist(), strict=True):
        if answer is not None:
            groups.setdefault(answer, []).append(value)
    worth = {"majority": len, "max": max, "sum": math.fsum, "avg": np.mean}[how]
    return max(
        groups,
        key=lambda answer: (round(float(worth(groups[answer])), 9), len(groups[answer])),  # type: ignore[operator]
        default=None,
    )
