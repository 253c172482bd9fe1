"""What choosing the best of several arms gains, where the choice and the gain share no run."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gradatim.core.checks import check_finite, check_range
from gradatim.core.errors import InputError

Floats = npt.NDArray[np.float64]


class HeldOutWinners(NamedTuple):
    """Gains over the baseline, each of shape [C] (cells).

    Attributes:
        own: of the winner that was chosen in the cell itself.
        shared: of the one winner that was chosen over all cells together.
        transferred: of the winners that were chosen in the other cells, on average; NaN where
            there is a single cell.
        naive: of the arm that is best on the very numbers that tell the gain: too high.
        winners: the arms that were chosen in each cell, by each half of the runs, shape [2, C].
    """

    own: Floats
    shared: Floats
    transferred: Floats
    naive: Floats
    winners: npt.NDArray[np.int64]


def held_out_winners(
    validation: npt.ArrayLike, test: npt.ArrayLike, *, baseline: int = 0
) -> HeldOutWinners:
    r"""Choose arms by some runs on validation data; measure them by other runs on test data.

    The best of several noisy means is too high. Here the runs are split in two halves; with
    :math:`w_c = \arg\max_{a \ne b} \bar v_{ac}` from the validation accuracy of one half, the gain
    is :math:`\bar t_{w_c c} - \bar t_{bc}` in the other half, averaged over both ways. Its expected
    value is 0 if the arms do not differ.

    Args:
        validation: v, higher = better, of each run, arm and cell (a model on a data set, say),
            shape [R, A, C], R at least 2.
        test: t, the same runs on test data, shape [R, A, C].
        baseline: b, the arm that gains are over and that is not chosen.

    Returns:
        The gains.

    Raises:
        InputError: other or different shapes, fewer than two runs or arms, numbers that are not
            finite, or a baseline that is no arm.

    Source: Yang et al. 2024, arXiv 2408.07888, measure the gain of the best order on the runs that
    it is chosen by, which is ``naive``.

    >>> v = [[[0.5], [0.6], [0.7]], [[0.5], [0.8], [0.7]]]
    >>> gains = held_out_winners(v, v)
    >>> gains.winners.tolist(), gains.own.round(2).tolist(), gains.naive.round(2).tolist()
    ([[2], [1]], [0.15], [0.2])
    """
    chosen_by = np.asarray(validation, dtype=np.float64)
    told_by = np.asarray(test, dtype=np.float64)
    if chosen_by.ndim != 3 or 0 in chosen_by.shape or chosen_by.shape != told_by.shape:
        raise InputError(
            "validation, test: expected one shape [R, A, C], got "
            f"{list(chosen_by.shape)} and {list(told_by.shape)}"
        )
    runs, arms = chosen_by.shape[:2]
    check_range("runs", runs, 2)
    check_range("arms", arms, 2)
    check_range("baseline", baseline, 0, arms - 1)
    check_finite("validation", chosen_by.ravel())
    check_finite("test", told_by.ravel())
    first, second = np.array_split(np.arange(runs), 2)
    ways = [
        _one_way(chosen_by[choosing].mean(axis=0), told_by[telling].mean(axis=0), baseline)
        for choosing, telling in ((first, second), (second, first))
    ]
    own, shared, transferred = (np.mean([gains[i] for gains, _ in ways], axis=0) for i in range(3))
    means = told_by.mean(axis=0)
    naive = np.delete(means, baseline, axis=0).max(axis=0) - means[baseline]
    return HeldOutWinners(own, shared, transferred, naive, np.stack([w for _, w in ways]))


def _one_way(
    chosen_by: Floats, told_by: Floats, baseline: int
) -> tuple[tuple[Floats, Floats, Floats], npt.NDArray[np.int64]]:
    """Gains by own, shared and other cells' winners from means of shape [A, C], and winners."""
    candidates = np.delete(np.arange(len(chosen_by)), baseline)
    winners = candidates[chosen_by[candidates].argmax(axis=0)]
    overall = candidates[chosen_by[candidates].mean(axis=1).argmax()]
    gains = told_by - told_by[baseline]
    cells = gains.shape[1]
    own = gains[winners, np.arange(cells)]
    if cells == 1:
        return (own, gains[overall], np.full(1, np.nan)), winners
    others = (gains[winners].sum(axis=0) - own) / (cells - 1)
    return (own, gains[overall], others), winners
