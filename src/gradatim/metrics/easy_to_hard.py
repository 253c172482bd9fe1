"""How far accuracy falls from easy to hard examples."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike

from gradatim.core.checks import check_finite, check_range, check_same_length
from gradatim.core.errors import InputError
from gradatim.core.statistics import Interval, ProportionInterval, proportion_interval


@dataclass(frozen=True, slots=True)
class EasyToHardReport:
    """Accuracy on easy and on hard examples, each with an interval over examples.

    Attributes:
        overall: all examples, those between easy and hard too.
        easy: the easy ones.
        hard: the hard ones.
        drop: accuracy on easy less accuracy on hard ones.
        levels: every difficulty that occurs, in ascending order.
    """

    overall: ProportionInterval
    easy: ProportionInterval
    hard: ProportionInterval
    drop: Interval
    levels: Mapping[float, ProportionInterval]


def easy_to_hard_report(
    correct: ArrayLike | torch.Tensor,
    difficulty: ArrayLike | torch.Tensor,
    *,
    easy: float,
    hard: float | None = None,
    confidence: float = 0.95,
) -> EasyToHardReport:
    r"""Accuracy overall, on easy and hard examples and a level, and the drop between them.

    .. math:: \Delta = \hat p_{easy} - \hat p_{hard}

    Accuracies have Wilson's interval, and the drop Newcombe's, made of both: for rates of 0 and 1
    too they stay inside [-1, 1]. They hold for one model and other examples of the same kind; how
    much a training run varies is seen only over seeds.

    Args:
        correct: whether each example is solved, booleans or numbers 0 and 1, shape [N].
        difficulty: of each example, finite, higher = harder, shape [N]. Every value is a level;
            put continuous difficulties into bins first.
        easy: the largest difficulty that counts as easy.
        hard: the smallest that counts as hard; None takes all that is not easy.
        confidence: covered probability, in (0, 1).

    Returns:
        The report.

    Raises:
        InputError: unequal lengths, values other than 0 and 1, a difficulty that is not finite
            (its row is named), hard not above easy, or no easy or no hard example.

    Source: Sun et al. 2024, arXiv 2403.09472 (accuracies by level); the interval of the drop:
    R. G. Newcombe (1998), Statistics in Medicine 17, 873-890, method 10.

    >>> correct, level = [1, 1, 1, 0, 1, 0, 0, 0], [1, 1, 2, 2, 4, 4, 5, 5]
    >>> report = easy_to_hard_report(correct, level, easy=3)
    >>> report.easy.estimate, report.hard.estimate, report.drop.estimate
    (0.75, 0.25, 0.5)
    >>> {level: accuracy.estimate for level, accuracy in report.levels.items()}
    {1.0: 1.0, 2.0: 0.5, 4.0: 0.5, 5.0: 0.0}
    """
    solved, level = _row("correct", correct), _row("difficulty", difficulty)
    check_same_length(correct=solved, difficulty=level)
    odd = np.flatnonzero((solved != 0) & (solved != 1))
    if len(odd):
        raise InputError(f"correct: expected booleans, got {solved[odd[0]]} at row {odd[0]}")
    check_range("easy", easy)
    is_easy = level <= easy
    is_hard = ~is_easy
    if hard is not None:
        check_range("hard", hard, easy, open_low=True)
        is_hard = level >= hard
    for name, chosen in (("easy", is_easy), ("hard", is_hard)):
        if not chosen.any():
            raise InputError(f"difficulty: expected at least one {name} example, got none")

    def accuracy(chosen: np.ndarray) -> ProportionInterval:
        return proportion_interval(int(solved[chosen].sum()), int(chosen.sum()), confidence)

    on_easy, on_hard = accuracy(is_easy), accuracy(is_hard)
    return EasyToHardReport(
        overall=accuracy(np.ones_like(is_easy)),
        easy=on_easy,
        hard=on_hard,
        drop=_difference(on_easy, on_hard),
        levels={float(value): accuracy(level == value) for value in np.unique(level)},
    )


def _difference(first: ProportionInterval, second: ProportionInterval) -> Interval:
    """Newcombe's interval of the difference of two independent proportions."""
    difference = first.estimate - second.estimate
    down = math.hypot(first.estimate - first.low, second.high - second.estimate)
    up = math.hypot(first.high - first.estimate, second.estimate - second.low)
    error = math.hypot(first.standard_error, second.standard_error)
    return Interval(
        difference, difference - down, difference + up, first.confidence, first.n + second.n, error
    )


def _row(name: str, values: ArrayLike | torch.Tensor) -> np.ndarray:
    """One row of finite float64."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().double().numpy()
    row = np.asarray(values, dtype=np.float64)
    if row.ndim != 1:
        raise InputError(f"{name}: expected shape [N], got {list(row.shape)}")
    check_finite(name, row)
    return row
