"""What an order of training does: how difficulty rises, and how groups come and go."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy import stats

from gradatim.core.checks import check_finite, check_same_length
from gradatim.core.errors import InputError


class Progression(NamedTuple):
    """Figures of one order.

    Attributes:
        kendall_tau: rank correlation of difficulty with time, ties in difficulty left out: 1 where
            no later example is easier, 0 for a random order, NaN where all are equally difficult.
        mean_run_length: examples of one group in a row, on average over runs.
        mean_revisit_gap: examples of other groups between leaving a group and coming back to it,
            on average over returns; NaN where no group comes back.
    """

    kendall_tau: float
    mean_run_length: float
    mean_revisit_gap: float


def progression_report(
    order: ArrayLike | torch.Tensor,
    group: ArrayLike | torch.Tensor | Sequence[str],
    difficulty: ArrayLike | torch.Tensor,
) -> Progression:
    r"""Describe an order of training by difficulty over time and by groups.

    .. math:: \tau = \frac{C - D}{C + D}

    with C the pairs of examples whose later one is harder and D those whose later one is easier.

    Args:
        order: positions in the order of training (a permutation, or draws), shape [T].
        group: label of each example, shape [n].
        difficulty: of each example, finite, higher = harder, shape [n].

    Returns:
        The figures.

    Raises:
        InputError: no position, a position that no example has, group and difficulty of different
            lengths, or difficulty that is not finite.

    Source: Lee et al. 2023, arXiv 2310.09518 (local and global progression of difficulty).

    >>> progression_report([0, 2, 1, 3], ["a", "a", "b", "b"], [0, 1, 0, 1])
    Progression(kendall_tau=1.0, mean_run_length=1.0, mean_revisit_gap=1.0)
    """
    values = np.asarray(difficulty, dtype=np.float64)
    check_finite("difficulty", values)
    codes = np.unique(np.asarray(group), return_inverse=True)[1]
    n = check_same_length(group=codes, difficulty=values)
    places = np.asarray(order, dtype=np.int64)
    if places.ndim != 1 or not len(places):
        raise InputError(f"order: expected positions of shape [T], got {list(places.shape)}")
    if places.min() < 0 or places.max() >= n:
        raise InputError(
            f"order: expected positions 0 to {n - 1}, got {places.min()} to {places.max()}"
        )
    groups = codes[places]
    starts = np.flatnonzero(np.concatenate([[True], groups[1:] != groups[:-1]]))
    return Progression(_tau(values[places]), len(places) / len(starts), _mean_gap(groups, starts))


def _tau(values: np.ndarray) -> float:
    """Concordant minus discordant pairs over their sum, ties in the values left out."""
    counts = np.unique(values, return_counts=True)[1].astype(np.float64)
    pairs = len(values) * (len(values) - 1) / 2
    untied = pairs - float((counts * (counts - 1) / 2).sum())
    if not untied:
        return math.nan
    # tau-b divides by the geometric mean of all pairs and the untied ones
    tau_b = float(stats.kendalltau(np.arange(len(values)), values).statistic)
    return tau_b * math.sqrt(pairs / untied)


def _mean_gap(groups: np.ndarray, starts: np.ndarray) -> float:
    """Mean distance from the end of a run to the next run of the same group."""
    ends = np.append(starts[1:], len(groups))
    by_group = np.lexsort((starts, groups[starts]))
    same = groups[starts][by_group][1:] == groups[starts][by_group][:-1]
    gaps = starts[by_group][1:] - ends[by_group][:-1]
    return float(gaps[same].mean()) if same.any() else math.nan
